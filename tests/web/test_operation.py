"""Health and metrics."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from coordinator.ids import NodeId
from coordinator.nodes import NodeLease
from coordinator.requests import MetricFamily, Sample
from tests.fakes.center import Connect, until
from tests.fakes.web_door import Carrier, Door
from web import metrics
from web.metrics import merge, render


async def test_health_is_for_anybody(door: Door) -> None:
    answer = await door.call("GET", "/healthz", token="")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


async def test_a_process_is_ready_once_a_media_node_is_registered(
    door: Door, connect: Connect
) -> None:
    alone = await door.call("GET", "/readyz", token="")
    assert (alone.status, alone.code) == (503, "no_node")
    lease = NodeLease(await connect("media-0"), kind="media")
    await lease.start()
    assert (await door.call("GET", "/readyz", token="")).status == 200
    await lease.close()
    assert (await door.call("GET", "/readyz", token="")).code == "no_node"


@pytest.mark.usefixtures("carrier")
async def test_a_process_that_goes_is_not_ready(door: Door) -> None:
    # The listening socket is closed by the drain; a connection that stands still gets answers.
    assert (await door.call("GET", "/readyz", token="")).status == 200
    await door.server.drain()
    gone = await door.call("GET", "/readyz", token="")
    assert (gone.status, gone.code) == (503, "server_draining")
    assert (await door.call("GET", "/healthz", token="")).status == 200


async def test_without_redis_a_process_lives_but_is_not_ready(door: Door) -> None:
    await door.server.rooms.center.close()
    assert (await door.call("GET", "/healthz", token="")).status == 200
    answer = await door.call("GET", "/readyz", token="")
    assert (answer.status, answer.code) == (503, "center_unavailable")
    listed = await door.call("GET", "/v1/rooms")
    assert (listed.status, listed.code) == (503, "center_unavailable")


async def test_metrics_hold_this_process_and_every_node(door: Door, carrier: Carrier) -> None:
    await door.call("GET", "/v1/rooms")
    answer = await door.call("GET", "/metrics", token="")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {f.name: f for f in text_string_to_metric_families(answer.body.decode())}
    sample = families["tertulia_test"].samples[0]
    assert sample.labels == {"node": carrier.id, "quote": 'a"b\\c\nd'}
    assert sample.value == 7
    own = {"node": door.server.rooms.center.node_id}
    for name in (
        "tertulia_center_connected",
        "tertulia_lease_registered",
        "tertulia_feeds",
        "tertulia_live_sources",
    ):
        assert families[name].samples[0].labels == own, name
    routes = {
        sample.labels["route"]: sample.value
        for sample in families["tertulia_http_requests"].samples
        if sample.labels["status"] == "2xx"
    }
    assert routes["/v1/rooms"] == 1
    # Whatever people ask for, the label values stay few.
    for number in range(20):
        await door.call("GET", f"/scan/{number}")
    assert door.server.app is not None


async def test_a_node_that_hangs_holds_the_metrics_up_for_a_moment_only(
    door: Door, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "ASK_TIMEOUT_S", 0.05)
    monkeypatch.setattr(metrics, "KEPT_S", 0.0)
    hang = asyncio.Event()
    monkeypatch.setattr(carrier, "_metrics", None)

    async def never(_: object) -> None:
        await hang.wait()

    from coordinator.requests import CollectMetrics

    carrier.center.serve({CollectMetrics: never})
    body = (await door.call("GET", "/metrics", token="")).body.decode()
    assert "tertulia_test{" not in body
    assert "tertulia_center_connected" in body

    async def counted() -> bool:
        again = await door.call("GET", "/metrics", token="")
        return b'outcome="deadline_exceeded"' in again.body

    await until(counted, "the node that hangs to be counted")
    hang.set()


def test_families_that_contradict_each_other_do_not_break_the_page() -> None:
    def family(kind: str, name: str = "a_total") -> MetricFamily:
        sample = Sample(labels={"node": "x", "bad label": "y"}, value=1e15)
        return MetricFamily(name=name, kind=kind, help="Two\nlines\\", samples=(sample,))

    pages = [
        (NodeId("one"), [family("counter"), family("gauge", "no name")]),
        (NodeId("two"), [family("gauge")]),
        (NodeId("three"), [family("counter")]),
    ]
    text = render(merge(pages))
    (found,) = text_string_to_metric_families(text)
    assert [sample.labels for sample in found.samples] == [{"node": "one"}, {"node": "three"}]
    assert found.samples[0].value == 1e15
