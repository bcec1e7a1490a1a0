"""PROTOCOL.md and schema.json are true: examples, keys, scripts, promises, the life of a room."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from coordinator import keys, lua, schema
from coordinator.center import Center
from coordinator.envelope import (
    EVENT_TYPES,
    REQUEST_TYPES,
    decode,
    event_in,
    request_in,
    unknown_members,
)
from coordinator.errors import CODES
from coordinator.ids import START, NodeId, RoomName, new_track_sid
from coordinator.model import TrackInfo
from coordinator.rooms import Rooms
from tests.fakes.center import Join, StartNode

ROOT = Path(lua.__file__).parent
TEXT = (ROOT / "PROTOCOL.md").read_text("utf-8")
DEMO = RoomName("demo")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.M | re.S)


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_the_schema_file_is_current() -> None:
    assert schema.FILE.read_text("utf-8") == schema.render(), "run: python -m coordinator.schema"


@pytest.mark.parametrize("example", blocks("json"))
def test_examples_can_be_read_and_fit_the_schema(example: str) -> None:
    envelope = decode(example.encode())
    jsonschema.Draft202012Validator(schema.schema()).validate(json.loads(example))
    event, request = event_in(envelope), request_in(envelope)
    known = {*EVENT_TYPES, *REQUEST_TYPES, "reply", "reply.error"}
    assert (envelope.type in known) != bool(unknown_members(example.encode()))
    assert (event is None) == (envelope.type not in EVENT_TYPES)
    assert (request is None) == (envelope.type not in REQUEST_TYPES)


def test_the_schema_finds_faults() -> None:
    validator = jsonschema.Draft202012Validator(schema.schema())
    example = json.loads(blocks("json")[1])
    assert validator.is_valid(example)
    for path, wrong in ((("data", "reason"), "bored"), (("data", "sid"), 5), (("ts",), None)):
        broken = json.loads(json.dumps(example))
        inner: Any = broken
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = wrong
        assert not validator.is_valid(broken), f"{path} = {wrong!r}"


def test_every_promise_names_a_test_that_exists() -> None:
    written = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    rows = [line for line in section("Delivery").splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 15
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, f"no test shows: {row}"
        for name in named:
            assert re.search(rf"def {name}\(", written), f"{name} is promised and not there"


async def test_the_keys_in_the_document_are_those_in_use(
    center: Center, rooms: Rooms, start_node: StartNode, join: Join
) -> None:
    node = await start_node("media-0")
    joined = await join("demo", "ana")
    track = TrackInfo(sid=new_track_sid(), kind="video", source="camera", mime="video/VP8")
    await node.rooms.publish(
        DEMO, fence=joined.snapshot.fence, participant=joined.participant.sid, track=track
    )
    await rooms.request_broadcast(DEMO)
    described = set(re.findall(r"^\| `(mc:[^`]+)`", section("Keys"), re.M))
    used = {
        re.sub(r":i:.*", ":i:<key>", key.decode())
        .replace("{demo}", "{room}")
        .replace(f"{{{node.center.node_id}}}", "{node}")
        for key in await center.command("KEYS", "*")
    }
    channels = {
        keys.channel(RoomName("room")),
        keys.inbox(NodeId("node")),
    }
    assert used | channels | {keys.REAPER} == described
    assert all("{demo}" in key for key in (*keys.room_keys(DEMO, "x"), *keys.look_keys(DEMO)))


def test_every_script_is_described() -> None:
    cells = re.findall(r"^\| (`[^|]+)\|", section("Scripts"), re.M)
    described = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert described == {script.name for script in lua.ALL}


def test_every_refusal_is_a_documented_code() -> None:
    rows = section("Life of a room").split("| call | refusals |")[1]
    for row in rows.splitlines()[2:]:
        for code in re.findall(r"`(\w+)`", row.split("|")[2]) if row.count("|") > 2 else []:
            assert code in CODES


async def test_the_life_of_a_room_goes_as_described(
    rooms: Rooms, start_node: StartNode, join: Join
) -> None:
    node = await start_node("media-0")
    first = await join("demo", "ana")
    fence = first.snapshot.fence
    track = TrackInfo(sid=new_track_sid(), kind="video", source="camera", mime="video/VP8")
    await node.rooms.publish(DEMO, fence=fence, participant=first.participant.sid, track=track)
    await join("demo", "bea")
    broadcast = await rooms.request_broadcast(DEMO)
    await node.rooms.broadcast_live(
        DEMO, fence=fence, sid=broadcast.sid, url="/live/demo/index.m3u8", directory="/b"
    )
    await join("demo", "ana")
    await node.lease.close()
    await rooms.vacate(DEMO, node.center.node_id, fence=None, reason="node_lost")
    await start_node("media-1")
    await join("demo", "ana")
    await rooms.close(DEMO)
    events, _ = await rooms.events(DEMO, after=START, limit=100)
    assert [event.envelope.type for event in events] == blocks("events")[0].split()


async def test_every_event_on_a_real_ledger_fits_the_schema(
    rooms: Rooms, center: Center, start_node: StartNode, join: Join
) -> None:
    node = await start_node("media-0")
    joined = await join("demo", 'a"n\\a é')
    fence, sid = joined.snapshot.fence, joined.participant.sid
    track = TrackInfo(sid=new_track_sid(), kind="audio", source="microphone", mime="audio/opus")
    owner = node.rooms
    await owner.publish(DEMO, fence=fence, participant=sid, track=track)
    await owner.set_muted(
        DEMO, fence=fence, participant=sid, track=track.sid, muted=True, by="admin"
    )
    await owner.unpublish(DEMO, fence=fence, participant=sid, track=track.sid)
    broadcast = await rooms.request_broadcast(DEMO)
    url = "/live/démo/index.m3u8"
    await owner.broadcast_live(DEMO, fence=fence, sid=broadcast.sid, url=url, directory="/b")
    await rooms.stop_broadcast(DEMO)
    await owner.broadcast_ended(DEMO, fence=fence, sid=broadcast.sid, reason="stopped")
    await rooms.close(DEMO)
    entries = await center.command("XRANGE", keys.ledger(DEMO), "-", "+")
    validator = jsonschema.Draft202012Validator(schema.schema())
    seen = set()
    for _, fields in entries:
        envelope = json.loads(fields[3])
        validator.validate(envelope)
        seen.add(envelope["type"])
    assert seen == set(EVENT_TYPES)
