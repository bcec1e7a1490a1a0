"""A room's ledger over HTTP: pages, and events that follow as they come."""

import asyncio

import pytest

from coordinator.center import StoredEvent
from coordinator.ids import RoomName
from tests.fakes.center import until
from tests.fakes.web_door import Carrier, Door, JoinAs
from web import feeds
from web.feeds import Feeds
from web.services import SERVICES

EVENTS = "/v1/rooms/tea/events"


@pytest.fixture
async def room(door: Door) -> str:
    """A room with three events: created, a broadcast requested and ended."""
    await door.call("POST", "/v1/rooms", {"name": "tea"})
    await door.call("POST", "/v1/rooms/tea/broadcast")
    await door.call("DELETE", "/v1/rooms/tea/broadcast")
    return "tea"


@pytest.mark.usefixtures("room")
async def test_the_ledger_is_read_page_by_page_as_one_chain(door: Door) -> None:
    events, after = [], "0-0"
    while True:
        page = (await door.call("GET", f"{EVENTS}?after={after}&limit=2")).json
        if page["next_cursor"] is None:
            assert page == {"events": [], "next_after": after, "next_cursor": None}
            break
        events += page["events"]
        after = page["next_after"]
    types = ["room.created", "broadcast.requested", "broadcast.ended"]
    assert [event["type"] for event in events] == types
    assert [event["prev"] for event in events] == ["0-0", *(event["id"] for event in events[:-1])]
    assert all(event["src"].startswith("web-0.") for event in events)
    assert set(events[0]["data"]) == {"sid", "settings"}


@pytest.mark.usefixtures("room")
async def test_bad_positions_and_unknown_rooms_are_told(door: Door) -> None:
    wrong = await door.call("GET", f"{EVENTS}?after=yesterday")
    assert (wrong.status, wrong.code) == (400, "invalid_cursor")
    gone = await door.call("GET", f"{EVENTS}?after=1-0")
    assert (gone.status, gone.code) == (410, "position_trimmed")
    none = await door.call("GET", "/v1/rooms/none/events", headers={"Accept": "text/event-stream"})
    assert (none.status, none.code) == (404, "room_not_found")


@pytest.mark.usefixtures("room")
async def test_events_follow_after_a_position_and_go_on_from_the_last_id(door: Door) -> None:
    events = await door.events(f"{EVENTS}?after=0-0")
    first = await events.next()
    assert first[0] == first[2]["type"] == "room.created"
    assert first[1] == first[2]["id"]
    assert (await events.next())[0] == "broadcast.requested"
    last = await events.next()
    await door.call("DELETE", "/v1/rooms/tea")
    assert (await events.next())[0] == "room.closed"
    events.response.close()
    again = await door.events(f"{EVENTS}?after=0-0", headers={"Last-Event-ID": last[1]})
    assert (await again.next())[0] == "room.closed"


@pytest.mark.usefixtures("room", "carrier")
async def test_without_a_position_events_follow_from_now(door: Door, join_as: JoinAs) -> None:
    events = await door.events(EVENTS)
    await join_as("tea", "ada")
    assert [(await events.next())[0] for _ in range(2)] == ["room.placed", "participant.joined"]


@pytest.mark.usefixtures("room")
async def test_a_position_that_the_ledger_forgot_is_told_by_resync(door: Door) -> None:
    events = await door.events(f"{EVENTS}?after=1-0")
    name, id, data = await events.next()
    assert (name, data["position"]) == ("resync", id)
    await door.call("DELETE", "/v1/rooms/tea")
    assert (await events.next())[0] == "room.closed"


async def test_a_reader_that_fell_behind_gets_everything_from_the_ledger(
    door: Door, carrier: Carrier, join_as: JoinAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MAX_QUEUED", 3)
    joined = await join_as("tea", "ada")
    reading = Feeds(door.server.rooms.center, door.server.rooms)
    async with reading.ledger(RoomName("tea"), joined.event) as reader:
        for number in range(10):
            await carrier.publish(RoomName("tea"), joined, f"TR_{number}")
        found = [await reader.next(5.0) for _ in range(10)]
    sids = [output.envelope.data for output in found if isinstance(output, StoredEvent)]
    assert [f"TR_{number}" in bytes(sid).decode() for number, sid in enumerate(sids)] == [True] * 10
    counts = {
        sample.labels.get("kind"): sample.value
        for family in reading.metrics()
        for sample in family.samples
    }
    assert counts["reader_behind"] >= 1


@pytest.mark.usefixtures("room")
async def test_long_answers_are_bounded(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MAX_READERS", 1)
    events = await door.events(EVENTS)
    accept = {"Accept": "text/event-stream"}
    refused = await door.call("GET", EVENTS, headers=accept)
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert not events.response.closed


@pytest.mark.usefixtures("room")
async def test_events_end_when_the_token_expires_or_the_process_goes(door: Door) -> None:
    short = await door.events(EVENTS, token=door.token(ttl_s=1, roomAdmin=True, room="tea"))
    await short.ended()
    long = await door.events(EVENTS)
    ending = asyncio.create_task(door.server.drain())
    await long.ended()
    await ending


@pytest.mark.usefixtures("room")
async def test_a_head_request_of_events_ends(door: Door) -> None:
    for accept in ("text/event-stream", "application/json"):
        answer = await door.call("HEAD", EVENTS, headers={"Accept": accept})
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Type"].startswith(accept)


async def test_a_client_that_goes_at_once_is_no_error(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    token = door.token(roomJoin=True, room="tea")
    seen = door.server.app[SERVICES].requests

    async def all_answered() -> bool:
        count = sum(sample.value for sample in seen.family().samples)
        return count >= 20

    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", door.server.port)
        request = f"GET /v1/rooms/tea/live?access_token={token} HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(request.encode())
        # Let the server begin; then reset.
        await asyncio.sleep(0)
        writer.transport.abort()
    await door.call("GET", "/healthz")
    await until(all_answered, "the server to have noticed")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
