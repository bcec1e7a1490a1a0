"""The admin API: rooms, participants, tracks, broadcasts, nodes."""

import pytest

from coordinator.ids import RoomName
from tests.fakes.web_door import Carrier, Door, JoinAs

pytestmark = pytest.mark.usefixtures("center")


async def test_a_room_is_created_once_then_shown_listed_and_closed(door: Door) -> None:
    settings = {"max_participants": 2, "metadata": "blue"}
    made = await door.call("POST", "/v1/rooms", {"name": "tea", "settings": settings})
    assert (made.status, made.headers["Location"]) == (201, "/v1/rooms/tea")
    assert made.json["settings"]["max_participants"] == 2
    again = await door.call("POST", "/v1/rooms", {"name": "tea"})
    assert (again.status, again.json["sid"]) == (200, made.json["sid"])
    shown = await door.call("GET", "/v1/rooms/tea")
    assert (shown.status, shown.json) == (200, made.json)
    listed = await door.call("GET", "/v1/rooms")
    assert listed.json == {"rooms": [made.json], "next_cursor": None}
    closed = await door.call("DELETE", "/v1/rooms/tea")
    assert (closed.status, closed.body) == (204, b"")
    for method in ("GET", "DELETE"):
        gone = await door.call(method, "/v1/rooms/tea")
        assert (gone.status, gone.code) == (404, "room_not_found")


async def test_rooms_are_listed_page_by_page(door: Door) -> None:
    for name in ("c", "a", "ü", "b"):
        await door.call("POST", "/v1/rooms", {"name": name})
    names: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await door.call("GET", f"/v1/rooms?limit=2{cursor and f'&cursor={cursor}'}")
        assert len(page.json["rooms"]) <= 2
        names += [room["name"] for room in page.json["rooms"]]
        cursor = page.json["next_cursor"]
    assert names == ["a", "b", "c", "ü"]
    wrong = await door.call("GET", "/v1/rooms?cursor=%C3%BC!")
    assert (wrong.status, wrong.code) == (400, "invalid_cursor")


@pytest.mark.usefixtures("carrier")
async def test_participants_are_listed_in_the_order_they_joined(
    door: Door, join_as: JoinAs
) -> None:
    await door.call("POST", "/v1/rooms", {"name": "tea"})
    for identity in ("zoe", "ada", "max"):
        await join_as("tea", identity)
    first = await door.call("GET", "/v1/rooms/tea/participants?limit=2")
    assert [person["identity"] for person in first.json["participants"]] == ["zoe", "ada"]
    cursor = first.json["next_cursor"]
    rest = await door.call("GET", f"/v1/rooms/tea/participants?limit=2&cursor={cursor}")
    assert [person["identity"] for person in rest.json["participants"]] == ["max"]
    assert rest.json["next_cursor"] is None


@pytest.mark.usefixtures("carrier")
async def test_a_participant_is_shown_and_removed_whatever_signs_are_in_the_identity(
    door: Door, join_as: JoinAs
) -> None:
    joined = await join_as("tea", "ada/lovelace@example.org %2F?")
    path = "/v1/rooms/tea/participants/ada%2Flovelace@example.org%20%252F%3F"
    shown = await door.call("GET", path)
    assert (shown.status, shown.json["sid"]) == (200, joined.participant.sid)
    assert (await door.call("DELETE", path)).status == 204
    assert (await door.call("GET", path)).code == "participant_not_found"
    ledger = await door.call("GET", "/v1/rooms/tea/events")
    assert ledger.json["events"][-1]["data"]["reason"] == "removed"


async def test_an_operator_mutes_a_track_at_its_node(
    door: Door, carrier: Carrier, join_as: JoinAs
) -> None:
    await carrier.publish(RoomName("tea"), await join_as("tea", "ada"), "TR_one")
    path = "/v1/rooms/tea/participants/ada/tracks/TR_one"
    before = await door.call("GET", path)
    assert before.json["muted"] is False
    muted = await door.call("PATCH", path, {"muted": True})
    assert (muted.status, muted.json["muted"]) == (200, True)
    assert [request.by for request in carrier.muted] == ["admin"]
    after = await door.call("GET", path)
    assert after.json["muted"] is True
    assert after.headers["ETag"] == muted.headers["ETag"] != before.headers["ETag"]
    stale = {"If-Match": before.headers["ETag"]}
    late = await door.call("PATCH", path, {"muted": False}, headers=stale)
    assert (late.status, late.code) == (412, "precondition_failed")
    none = await door.call("PATCH", path.replace("one", "two"), {"muted": True})
    assert (none.status, none.code) == (404, "track_not_found")


async def test_a_node_that_does_not_answer_is_told(
    door: Door, carrier: Carrier, join_as: JoinAs
) -> None:
    await carrier.publish(RoomName("tea"), await join_as("tea", "ada"), "TR_one")
    await carrier.center.close()
    path = "/v1/rooms/tea/participants/ada/tracks/TR_one"
    answer = await door.call("PATCH", path, {"muted": True})
    assert (answer.status, answer.code) == (503, "no_responder")
    assert answer.headers["Retry-After"] == "2"


async def test_a_broadcast_is_requested_and_stopped(door: Door) -> None:
    await door.call("POST", "/v1/rooms", {"name": "tea"})
    path = "/v1/rooms/tea/broadcast"
    assert (await door.call("GET", path)).code == "broadcast_not_found"
    started = await door.call("POST", path)
    assert (started.status, started.json["state"]) == (201, "requested")
    assert started.headers["Location"] == path
    again = await door.call("POST", path, {})
    assert (again.status, again.code) == (409, "broadcast_exists")
    assert (await door.call("GET", path)).json == started.json
    assert (await door.call("DELETE", path)).status == 204
    assert (await door.call("DELETE", path)).code == "broadcast_not_found"


async def test_nodes_are_listed_with_both_kinds(door: Door, carrier: Carrier) -> None:
    first = await door.call("GET", "/v1/nodes?limit=1")
    assert [node["id"] for node in first.json["nodes"]] == [carrier.id]
    cursor = first.json["next_cursor"]
    rest = await door.call("GET", f"/v1/nodes?cursor={cursor}")
    assert [node["kind"] for node in rest.json["nodes"]] == ["web"]
    assert rest.json["next_cursor"] is None


async def test_a_create_with_a_key_is_done_once(door: Door) -> None:
    key = {"Idempotency-Key": "one"}
    made = await door.call("POST", "/v1/rooms", {"name": "tea"}, headers=key)
    await door.call("DELETE", "/v1/rooms/tea")
    again = await door.call("POST", "/v1/rooms", {"name": "tea"}, headers=key)
    assert (again.status, again.json) == (201, made.json)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == "/v1/rooms/tea"
    assert (await door.call("GET", "/v1/rooms/tea")).status == 404
    other = await door.call("POST", "/v1/rooms", {"name": "rum"}, headers=key)
    assert (other.status, other.code) == (422, "idempotency_mismatch")
    # Another caller's key is another key.
    token = door.token("somebody else", roomCreate=True)
    fresh = await door.call("POST", "/v1/rooms", {"name": "tea"}, headers=key, token=token)
    assert fresh.json["sid"] != made.json["sid"]
    # What failed is tried again.
    path = "/v1/rooms/none/broadcast"
    assert (await door.call("POST", path, headers=key)).code == "room_not_found"
    await door.call("POST", "/v1/rooms", {"name": "none"})
    assert (await door.call("POST", path, headers=key)).status == 201
