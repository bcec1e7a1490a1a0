"""Whose room it is: placement, fences, leases, draining, and what becomes of the participants."""

import asyncio
from typing import Any

import pytest

from coordinator import keys
from coordinator.errors import InfrastructureError, PeerError
from coordinator.events import ParticipantLeft, RoomClosed, TrackPublished
from coordinator.ids import Identity, RoomName, new_participant_sid
from coordinator.model import RoomSettings, Snapshot
from coordinator.nodes import Reaper
from coordinator.requests import OpenRoom, PublisherOffer
from media.node import MediaNode
from tests.fakes.center import until
from tests.fakes.moving_picture import Tone

ROOM = RoomName("plaza")


async def dropped(node: MediaNode) -> None:
    async def is_dropped() -> bool:
        return ROOM not in node.hosted

    await until(is_dropped, "the node to drop the room")


async def test_a_join_opens_the_room_on_its_node_and_closing_ends_it(
    node: MediaNode, edge: Any, ledger: Any
) -> None:
    await edge.join("anna")
    assert node.hosted == (ROOM,)
    await edge.rooms.close(ROOM)
    await ledger.until_event(RoomClosed)
    await dropped(node)


async def test_a_room_closed_and_made_again_is_another_room(node: MediaNode, edge: Any) -> None:
    await edge.join("anna")
    await edge.rooms.close(ROOM)
    ben, cleo = await edge.join("ben"), await edge.join("cleo")
    (his,) = await ben.publish((Tone(), "microphone"))
    await cleo.receives(his)


async def test_a_request_that_overtakes_the_ledger_is_served(node: MediaNode, edge: Any) -> None:
    """The join is appended while the node cannot hear; the request reads the snapshot."""
    await edge.join("anna")
    hosted = node._hosted[ROOM]
    assert hosted._following is not None
    hosted._following.close()
    ben = await edge.join("ben")
    (sid,) = await ben.publish((Tone(), "microphone"))
    assert sid
    # And it hears again.
    cleo = await edge.join("cleo")
    await cleo.receives(sid)


async def test_requests_for_what_is_not_there_are_refused(node: MediaNode, edge: Any) -> None:
    anna = await edge.join("anna")
    with pytest.raises(PeerError) as nobody:
        await anna.ask(PublisherOffer(room=ROOM, participant=new_participant_sid(), sdp="v=0"))
    assert nobody.value.code == "participant_not_found"
    with pytest.raises(PeerError) as nowhere:
        await anna.ask(PublisherOffer(room=RoomName("void"), participant=anna.sid, sdp="v=0"))
    assert nowhere.value.code == "room_not_found"
    await edge.rooms.create(RoomName("empty"), RoomSettings())
    with pytest.raises(InfrastructureError) as unplaced:
        await anna.ask(OpenRoom(room=RoomName("empty")))
    assert unplaced.value.code == "node_lost"


async def test_a_node_that_lost_its_room_is_fenced_and_drops_it(
    node: MediaNode, edge: Any, ledger: Any
) -> None:
    anna = await edge.join("anna")
    hosted = node._hosted[ROOM]
    assert hosted._following is not None
    hosted._following.close()  # it does not hear that the room is taken from it
    await edge.rooms.vacate(ROOM, node._center.node_id, fence=None, reason="node_lost")
    await anna.publish((Tone(), "microphone"))
    await dropped(node)
    assert node.counters["fenced"] == 1
    assert ledger.of(TrackPublished) == []


async def test_a_room_placed_elsewhere_is_dropped(
    node: MediaNode, start_node: Any, edge: Any
) -> None:
    await edge.join("anna")
    await edge.rooms.vacate(ROOM, node._center.node_id, fence=None, reason="node_lost")
    await node.lease.drain()
    other = await start_node("media-1")
    await edge.join("anna")
    assert other.hosted == (ROOM,)
    await dropped(node)


async def test_draining_sends_the_participants_to_another_node(
    node: MediaNode, start_node: Any, edge: Any, ledger: Any
) -> None:
    anna, ben = await edge.join("anna"), await edge.join("ben")
    other = await start_node("media-1")
    await edge.rooms.nodes.placement(fresh=True)
    await node.drain()
    await ledger.until(lambda me: len(me.of(ParticipantLeft)) == 2, "both to leave")
    assert {e.reason for e in ledger.of(ParticipantLeft)} == {"server_draining"}
    assert node.hosted == ()
    with pytest.raises(InfrastructureError) as refused:
        await anna.ask(OpenRoom(room=ROOM))
    assert refused.value.code == "node_lost"
    anna, ben = await edge.join("anna"), await edge.join("ben")
    assert other.hosted == (ROOM,)
    (hers,) = await anna.publish((Tone(), "microphone"))
    await ben.receives(hers)


async def test_a_node_that_dies_is_replaced_and_everybody_left_once(
    node: MediaNode, start_node: Any, edge: Any, ledger: Any
) -> None:
    anna = await edge.join("anna")
    await anna.publish((Tone(), "microphone"))
    await edge.join("ben")
    await node.close()
    other = await start_node("media-1")
    reaper = Reaper(edge.center, edge.rooms)
    reaper.start()
    await ledger.until(lambda me: len(me.of(ParticipantLeft)) == 2, "both to leave")
    await reaper.close()
    await edge.rooms.nodes.placement(fresh=True)
    anna, ben = await edge.join("anna"), await edge.join("ben")
    assert other.hosted == (ROOM,)
    left = [e.reason for e in ledger.of(ParticipantLeft)]
    assert left == ["node_lost", "node_lost"]
    (hers,) = await anna.publish((Tone(), "microphone"))
    await ben.receives(hers)


async def test_a_node_taken_for_dead_begins_anew_under_another_id(
    node: MediaNode, edge: Any, ledger: Any
) -> None:
    await edge.join("anna")
    before = node._center.node_id
    await edge.center.command("SET", keys.lease(before), "dead")
    await dropped(node)

    async def registered() -> bool:
        return node.lease.registered and node._center.node_id != before

    await until(registered, "a new incarnation")
    anna, ben = await edge.join("anna"), await edge.join("ben")
    assert anna.owner == node._center.node_id
    (hers,) = await anna.publish((Tone(), "microphone"))
    await ben.receives(hers)


async def test_a_ledger_that_lost_a_track_is_told_again(
    node: MediaNode, edge: Any, ledger: Any
) -> None:
    anna = await edge.join("anna")
    (sid,) = await anna.publish((Tone(), "microphone"))
    await ledger.until_event(TrackPublished)
    await edge.center.command("DEL", "mc:{plaza}:t")
    assert (await edge.rooms.participant(ROOM, Identity("anna"))).tracks == ()
    await node._hosted[ROOM].reload()
    await node._hosted[ROOM].written(5.0)
    tracks = (await edge.rooms.participant(ROOM, Identity("anna"))).tracks
    assert [track.sid for track in tracks] == [sid]


async def test_who_joins_while_the_snapshot_is_read_is_not_taken_for_gone(
    node: MediaNode, edge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await edge.join("anna")
    hosted = node._hosted[ROOM]
    read = node._rooms.snapshot

    async def read_slowly(name: RoomName) -> Snapshot:
        snapshot = await read(name)
        await edge.join("ben")
        # What is heard now would be newer than the snapshot, and be undone by it.
        assert hosted._following is not None
        assert hosted._following.closed
        return snapshot

    monkeypatch.setattr(node._rooms, "snapshot", read_slowly)
    await hosted.reload()

    async def both_here() -> bool:
        return len(hosted.room.participants) == 2

    await until(both_here, "the node to have both")


async def test_many_reloads_among_many_joins_lose_nobody(node: MediaNode, edge: Any) -> None:
    await edge.join("host")
    hosted = node._hosted[ROOM]

    async def reload_often() -> None:
        for _ in range(10):
            await hosted.reload()

    await asyncio.gather(reload_often(), *(edge.join(f"guest{number}") for number in range(20)))

    async def all_here() -> bool:
        return len(hosted.room.participants) == 21

    await until(all_here, "the node to have all")
