"""Rooms: each change and its event are one step; the ledger holds exactly what happened."""

import asyncio
from typing import Any

import pytest

from coordinator import keys, lua
from coordinator.center import Center
from coordinator.errors import Fenced, InfrastructureError, PeerError
from coordinator.events import (
    BroadcastEnded,
    ParticipantJoined,
    ParticipantLeft,
    RoomPlaced,
    TrackMuted,
    TrackPublished,
)
from coordinator.ids import (
    START,
    EventId,
    Identity,
    NodeId,
    ParticipantSid,
    RoomName,
    TrackSid,
    new_participant_sid,
    new_track_sid,
)
from coordinator.model import LeaveReason, RoomSettings, TrackInfo
from coordinator.requests import Ack, OpenRoom
from coordinator.rooms import STEP, JoinResult, Rooms
from tests.fakes.center import Connect, Join, Listener, MediaNode, StartNode

DEMO = RoomName("demo")


async def ledger(rooms: Rooms, name: RoomName = DEMO) -> list[Any]:
    events, _ = await rooms.events(name, after=START, limit=1000)
    return [stored.event for stored in events]


async def types(rooms: Rooms, name: RoomName = DEMO) -> list[str]:
    events, _ = await rooms.events(name, after=START, limit=1000)
    return [stored.envelope.type for stored in events]


def track(kind: str = "video", muted: bool = False) -> TrackInfo:
    return TrackInfo(
        sid=new_track_sid(),
        kind="audio" if kind == "audio" else "video",
        source="microphone" if kind == "audio" else "camera",
        mime="audio/opus" if kind == "audio" else "video/VP8",
        muted=muted,
    )


async def refusal(call: Any) -> str:
    """The code with which *call* is refused."""
    with pytest.raises((PeerError, InfrastructureError)) as refused:
        await call
    return str(refused.value.code)


# -- Making, listing, closing


async def test_a_room_is_made_once(rooms: Rooms) -> None:
    settings = RoomSettings(max_participants=3, metadata='{"topic":"é"}')
    made, now = await rooms.create(DEMO, settings)
    again, anew = await rooms.create(DEMO, RoomSettings())
    assert (now, anew) == (True, False)
    assert made == again == await rooms.get(DEMO)
    assert made.settings == settings
    assert await types(rooms) == ["room.created"]


async def test_the_same_idempotency_key_gives_the_same_answer(rooms: Rooms) -> None:
    key = "any text, ünicode too {}" * 20
    first = await rooms.create(DEMO, RoomSettings(), idem=key)
    assert await rooms.create(DEMO, RoomSettings(), idem=key) == first
    assert first[1]


async def test_what_is_not_there_is_not_found(rooms: Rooms) -> None:
    assert await refusal(rooms.get(DEMO)) == "room_not_found"
    assert await refusal(rooms.snapshot(DEMO)) == "room_not_found"
    assert await refusal(rooms.events(DEMO, after=START, limit=1)) == "room_not_found"
    assert await refusal(rooms.participant(DEMO, Identity("ana"))) == "room_not_found"
    assert await refusal(rooms.request_broadcast(DEMO)) == "room_not_found"
    assert await refusal(rooms.stop_broadcast(DEMO)) == "room_not_found"
    assert not await rooms.close(DEMO)
    assert not await rooms.leave(DEMO, ParticipantSid("PA_none"), "left")
    await rooms.create(DEMO, RoomSettings())
    assert await refusal(rooms.participant(DEMO, Identity("ana"))) == "participant_not_found"
    assert await refusal(rooms.remove(DEMO, Identity("ana"))) == "participant_not_found"
    assert await refusal(rooms.stop_broadcast(DEMO)) == "broadcast_not_found"


async def test_rooms_are_listed_by_name_in_pages(rooms: Rooms) -> None:
    names = [RoomName(name) for name in ("ana", "bea", "Zoe", "été", "0", "x-y_z.~")]
    for name in names:
        await rooms.create(name, RoomSettings())
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = await rooms.list(limit=2, cursor=cursor)
        seen += [room.name for room in page]
        if cursor is None:
            break
    assert seen == sorted(names, key=lambda name: name.encode())


@pytest.mark.parametrize("cursor", ["!", "a", "äöü"])
async def test_a_cursor_that_is_none_is_refused(rooms: Rooms, cursor: str) -> None:
    assert await refusal(rooms.list(limit=2, cursor=cursor)) == "invalid_cursor"


async def test_the_index_of_rooms_heals(rooms: Rooms, center: Center) -> None:
    await rooms.create(DEMO, RoomSettings())
    await center.command("ZADD", keys.ROOMS, 0, "ghost")
    found, _ = await rooms.list(limit=10, cursor=None)
    assert [room.name for room in found] == ["demo"]
    assert await center.command("ZSCORE", keys.ROOMS, "ghost") is None


async def test_closing_ends_everything_in_order(rooms: Rooms, node: MediaNode, join: Join) -> None:
    one, two = await join("demo", "ana"), await join("demo", "bea", hidden=True)
    await rooms.request_broadcast(DEMO)
    assert await rooms.close(DEMO)
    assert await types(rooms) == [
        "room.created",
        "room.placed",
        "participant.joined",
        "participant.joined",
        "broadcast.requested",
        "participant.left",
        "participant.left",
        "broadcast.ended",
        "room.closed",
    ]
    left = [event for event in await ledger(rooms) if isinstance(event, ParticipantLeft)]
    assert {event.sid for event in left} == {one.participant.sid, two.participant.sid}
    assert {event.reason for event in left} == {"room_closed"}
    assert await refusal(rooms.get(DEMO)) == "room_not_found"
    assert not await rooms.close(DEMO)
    assert await rooms.list(limit=10, cursor=None) == ([], None)


async def test_a_crowd_is_put_out_in_steps_and_nobody_joins_meanwhile(
    rooms: Rooms, center: Center, node: MediaNode, join: Join
) -> None:
    await asyncio.gather(*(join("demo", f"user-{number}") for number in range(450)))
    found, more = await center.change(lua.CLOSE, DEMO, "closed", STEP, "", "")
    assert (found, more) == (b"1", b"1")
    assert await refusal(join("demo", "late")) == "room_closed"
    assert await refusal(rooms.create(DEMO, RoomSettings())) == "room_closed"
    assert await rooms.close(DEMO)
    events = await ledger(rooms)
    joined = [one.participant.sid for one in events if isinstance(one, ParticipantJoined)]
    left = [one.sid for one in events if isinstance(one, ParticipantLeft)]
    assert sorted(joined) == sorted(left)
    assert len(joined) == 450


async def test_a_name_can_be_used_again_on_the_same_ledger(
    rooms: Rooms, node: MediaNode, join: Join
) -> None:
    first = (await join("demo", "ana")).snapshot
    await rooms.close(DEMO)
    second = (await join("demo", "ana")).snapshot
    assert first.room.sid != second.room.sid
    assert first.epoch == second.epoch
    assert second.fence > first.fence
    assert [one.identity for one in second.participants] == ["ana"]


async def test_closing_if_empty_leaves_people_alone(
    rooms: Rooms, node: MediaNode, join: Join
) -> None:
    joined = await join("demo", "ana")
    assert not await rooms.close(DEMO, only_if_empty_for_s=0)
    await rooms.leave(DEMO, joined.participant.sid, "left")
    assert not await rooms.close(DEMO, only_if_empty_for_s=60)
    assert await rooms.close(DEMO, reason="empty", only_if_empty_for_s=0)


# -- Joining and leaving


async def test_a_join_makes_and_places_the_room(rooms: Rooms, node: MediaNode, join: Join) -> None:
    joined = await join("demo", "ana")
    assert joined.placed
    assert joined.owner == node.center.node_id
    assert node.opened == ["demo"]
    assert joined.snapshot.position == joined.event
    assert joined.snapshot == await rooms.snapshot(DEMO)
    assert joined.snapshot.room.num_participants == 1
    assert await rooms.edges(DEMO) == [rooms.center.node_id]
    events = await ledger(rooms)
    assert events[1] == RoomPlaced(node=node.center.node_id, fence=joined.snapshot.fence)
    assert events[2] == ParticipantJoined(participant=joined.participant)


async def test_a_second_join_places_nothing(rooms: Rooms, node: MediaNode, join: Join) -> None:
    await join("demo", "ana")
    joined = await join("demo", "bea")
    assert not joined.placed
    assert [one.identity for one in joined.snapshot.participants] == ["ana", "bea"]
    assert node.opened == ["demo"]


async def test_a_join_is_one_script_run(
    center: Center, rooms: Rooms, node: MediaNode, join: Join
) -> None:
    await join("demo", "ana")
    before = await _calls_of(center, "evalsha")
    await join("demo", "bea")
    # The node's lease may renew meanwhile, once.
    assert await _calls_of(center, "evalsha") - before <= 2


async def _calls_of(center: Center, command: str) -> int:
    stats: bytes = await center.command("INFO", "commandstats")
    for line in stats.decode().splitlines():
        if line.startswith(f"cmdstat_{command}:"):
            return int(line.split("calls=")[1].split(",")[0])
    return 0


async def test_a_join_that_may_not_make_the_room_is_refused(
    rooms: Rooms, node: MediaNode, join: Join
) -> None:
    assert await refusal(join("demo", "ana", create=False)) == "room_not_found"
    await rooms.create(DEMO, RoomSettings())
    await join("demo", "ana", create=False)


async def test_without_a_node_nobody_is_admitted(rooms: Rooms, join: Join) -> None:
    assert await refusal(join("demo", "ana")) == "no_node"
    assert await refusal(rooms.get(DEMO)) == "room_not_found"


async def test_exactly_as_many_join_at_once_as_there_are_places(
    connect: Connect, node: MediaNode, join: Join
) -> None:
    settings = RoomSettings(max_participants=7)
    doors = [Rooms(await connect(f"web-{number}")) for number in range(3)]
    await doors[0].create(DEMO, settings)
    outcomes = await asyncio.gather(
        *(join("demo", f"user-{n}", via=doors[n % 3]) for n in range(50)), return_exceptions=True
    )
    admitted = [one for one in outcomes if isinstance(one, JoinResult)]
    refused = [one for one in outcomes if isinstance(one, PeerError)]
    assert len(admitted) == 7
    assert {one.code for one in refused} == {"room_full"}
    assert len(refused) == 43
    assert (await doors[0].get(DEMO)).num_participants == 7
    assert sum(one.placed for one in admitted) == 1
    assert (await types(doors[0])).count("participant.joined") == 7


async def test_hidden_participants_take_no_place(rooms: Rooms, node: MediaNode, join: Join) -> None:
    await rooms.create(DEMO, RoomSettings(max_participants=1))
    await join("demo", "ghost", hidden=True)
    await join("demo", "ana")
    await join("demo", "wraith", hidden=True)
    assert await refusal(join("demo", "bea")) == "room_full"
    assert (await rooms.get(DEMO)).num_participants == 1
    assert len((await rooms.snapshot(DEMO)).participants) == 3


async def test_the_same_identity_ends_the_older_stay_first(
    rooms: Rooms, node: MediaNode, join: Join
) -> None:
    await rooms.create(DEMO, RoomSettings(max_participants=1))
    older = await join("demo", "ana")
    newer = await join("demo", "ana")
    assert [one.sid for one in newer.snapshot.participants] == [newer.participant.sid]
    left, joined = (await ledger(rooms))[-2:]
    assert left == ParticipantLeft(
        sid=older.participant.sid, identity=Identity("ana"), reason="duplicate_identity"
    )
    assert joined == ParticipantJoined(participant=newer.participant)
    assert not await rooms.leave(DEMO, older.participant.sid, "left")
    assert (await rooms.participant(DEMO, Identity("ana"))).sid == newer.participant.sid


async def test_one_identity_joining_often_at_once_is_there_once(
    rooms: Rooms, node: MediaNode, join: Join
) -> None:
    outcomes = await asyncio.gather(*(join("demo", "ana") for _ in range(30)))
    events = await ledger(rooms)
    left = [one.sid for one in events if isinstance(one, ParticipantLeft)]
    stays = [one.participant.sid for one in outcomes]
    remaining = (await rooms.snapshot(DEMO)).participants
    assert len(remaining) == 1
    assert sorted([*left, remaining[0].sid]) == sorted(stays)
    assert await rooms.edges(DEMO) == [rooms.center.node_id]


async def test_a_stay_ends_once_however_many_end_it(
    connect: Connect, rooms: Rooms, node: MediaNode, join: Join
) -> None:
    other = Rooms(await connect("web-1"))
    for identity in ("ana", "bea", "eva"):
        sid = (await join("demo", identity)).participant.sid
        reasons: tuple[LeaveReason, ...] = ("left", "transport_failed", "removed")
        outcomes = await asyncio.gather(
            *(way.leave(DEMO, sid, reason) for reason in reasons for way in (rooms, other)),
            other.vacate(DEMO, node.center.node_id, fence=None, reason="node_lost"),
            rooms.edge_lost(DEMO, rooms.center.node_id),
        )
        assert sum(int(outcome) for outcome in outcomes) == 1
        events = await ledger(rooms)
        left = [one for one in events if isinstance(one, ParticipantLeft) and one.sid == sid]
        assert len(left) == 1


async def test_a_repeated_call_gives_the_first_answer_and_changes_nothing(
    rooms: Rooms, center: Center, node: MediaNode, join: Join
) -> None:
    """The connection broke after the script ran: the same call comes again."""
    sid = (await join("demo", "ana")).participant.sid
    for _ in range(3):
        reply = await center.change(lua.LEAVE, DEMO, sid, "", "left", idem="same")
        assert reply[0] == b"1"
    assert (await types(rooms)).count("participant.left") == 1


async def test_removing_tells_who_was_removed(rooms: Rooms, node: MediaNode, join: Join) -> None:
    joined = await join("demo", 'a"b\\c é')
    removed = await rooms.remove(DEMO, Identity('a"b\\c é'))
    assert removed == joined.participant
    left = (await ledger(rooms))[-1]
    assert (left.identity, left.reason) == ('a"b\\c é', "removed")


async def test_nobody_stays_when_the_owner_does_not_prepare(
    connect: Connect, rooms: Rooms, node: MediaNode, join: Join
) -> None:
    async def refuse(request: OpenRoom) -> Ack:
        raise InfrastructureError("internal")

    node.center.serve({OpenRoom: refuse})
    assert await refusal(join("demo", "ana")) == "internal"
    snapshot = await rooms.snapshot(DEMO)
    assert snapshot.participants == ()
    assert snapshot.room.node is None
    assert (await ledger(rooms))[-1].reason == "join_failed"


async def test_a_node_that_did_not_answer_is_passed_over(
    start_node: StartNode, rooms: Rooms, join: Join
) -> None:
    bad, good = await start_node("media-0"), await start_node("media-1", load=(5, 0.5))

    async def refuse(request: OpenRoom) -> Ack:
        raise InfrastructureError("internal")

    bad.center.serve({OpenRoom: refuse})
    assert await refusal(join("demo", "ana")) == "internal"
    joined = await join("demo", "ana")
    assert joined.owner == good.center.node_id


async def test_a_caller_that_goes_away_while_joining_leaves_no_participant(
    rooms: Rooms, node: MediaNode, join: Join
) -> None:
    entered = asyncio.Event()

    async def forever(request: OpenRoom) -> Ack:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    node.center.serve({OpenRoom: forever})
    listener = Listener()
    rooms.center.follow(DEMO, START, listener)
    joining = asyncio.ensure_future(join("demo", "ana"))
    await entered.wait()
    joining.cancel()
    await listener.heard("participant.left")
    assert (await rooms.snapshot(DEMO)).participants == ()


# -- Tracks


async def test_the_life_of_a_track(rooms: Rooms, node: MediaNode, join: Join) -> None:
    joined = await join("demo", "ana")
    fence, sid = joined.snapshot.fence, joined.participant.sid
    camera, microphone = track(), track("audio", muted=True)
    at = await node.rooms.publish(DEMO, fence=fence, participant=sid, track=camera)
    await node.rooms.publish(DEMO, fence=fence, participant=sid, track=microphone)
    assert await node.rooms.publish(DEMO, fence=fence, participant=sid, track=camera) == at

    async def mute(muted: bool, by: str) -> bool:
        return await node.rooms.set_muted(
            DEMO, fence=fence, participant=sid, track=camera.sid, muted=muted, by=by
        )

    assert await mute(True, "participant")
    assert not await mute(True, "admin")
    seen = (await rooms.participant(DEMO, Identity("ana"))).tracks
    assert [(one.sid, one.muted) for one in seen] == [(camera.sid, True), (microphone.sid, True)]
    assert await mute(False, "admin")
    assert (await rooms.snapshot(DEMO)).participants[0].tracks == (camera, microphone)
    assert await node.rooms.unpublish(DEMO, fence=fence, participant=sid, track=camera.sid)
    assert not await node.rooms.unpublish(DEMO, fence=fence, participant=sid, track=camera.sid)
    events = await ledger(rooms)
    assert events[3] == TrackPublished(participant=sid, identity=Identity("ana"), track=camera)
    assert [type(event).__name__ for event in events[4:]] == [
        "TrackPublished",
        "TrackMuted",
        "TrackMuted",
        "TrackUnpublished",
    ]
    assert isinstance(events[5], TrackMuted)
    assert (events[5].muted, events[5].by) == (True, "participant")
    await rooms.leave(DEMO, sid, "left")
    again = await join("demo", "ana")
    assert again.snapshot.participants[0].tracks == ()


async def test_tracks_of_others_stay_when_one_leaves(
    rooms: Rooms, node: MediaNode, join: Join
) -> None:
    one, two = await join("demo", "ana"), await join("demo", "bea")
    fence = one.snapshot.fence
    hers, theirs = track(), track()
    await node.rooms.publish(DEMO, fence=fence, participant=one.participant.sid, track=hers)
    await node.rooms.publish(DEMO, fence=fence, participant=two.participant.sid, track=theirs)
    await rooms.leave(DEMO, one.participant.sid, "left")
    (left,) = (await rooms.snapshot(DEMO)).participants
    assert left.tracks == (theirs,)


async def test_what_is_told_of_nobodys_track_is_refused(
    node: MediaNode, rooms: Rooms, join: Join
) -> None:
    joined = await join("demo", "ana")
    other = await join("demo", "bea")
    fence, sid = joined.snapshot.fence, joined.participant.sid
    camera = track()
    nobody = new_participant_sid()
    owner = node.rooms
    assert (
        await refusal(owner.publish(DEMO, fence=fence, participant=nobody, track=camera))
        == "participant_not_found"
    )
    await owner.publish(DEMO, fence=fence, participant=sid, track=camera)
    for who, what, code in (
        (nobody, camera.sid, "participant_not_found"),
        (sid, TrackSid("TR_none"), "track_not_found"),
        (other.participant.sid, camera.sid, "track_not_found"),
    ):
        call = owner.set_muted(
            DEMO, fence=fence, participant=who, track=what, muted=True, by="admin"
        )
        assert await refusal(call) == code
    assert not await owner.unpublish(
        DEMO, fence=fence, participant=other.participant.sid, track=camera.sid
    )


async def test_an_owner_that_lost_the_room_can_write_nothing(
    start_node: StartNode, rooms: Rooms, join: Join
) -> None:
    old = await start_node("media-0")
    joined = await join("demo", "ana")
    fence, sid = joined.snapshot.fence, joined.participant.sid
    await old.rooms.publish(DEMO, fence=fence, participant=sid, track=(camera := track()))
    await old.lease.close()
    new = await start_node("media-1")
    await rooms.vacate(DEMO, old.center.node_id, fence=None, reason="node_lost")
    again = await join("demo", "ana")
    assert again.owner == new.center.node_id
    assert again.snapshot.fence > fence
    stay = again.participant.sid
    before = await types(rooms)
    writes = [
        old.rooms.publish(DEMO, fence=fence, participant=stay, track=track()),
        old.rooms.unpublish(DEMO, fence=fence, participant=stay, track=camera.sid),
        old.rooms.set_muted(
            DEMO, fence=fence, participant=stay, track=camera.sid, muted=True, by="admin"
        ),
    ]
    broadcast = await rooms.request_broadcast(DEMO)
    writes += [
        old.rooms.broadcast_live(DEMO, fence=fence, sid=broadcast.sid, url="/x", directory="/y"),
        old.rooms.broadcast_ended(DEMO, fence=fence, sid=broadcast.sid, reason="failed"),
    ]
    for write in writes:
        with pytest.raises(Fenced):
            await write
    assert await old.rooms.release(DEMO, fence=fence) == 0
    assert await types(rooms) == [*before, "broadcast.requested"]


# -- The broadcast


async def test_the_life_of_a_broadcast(rooms: Rooms, node: MediaNode, join: Join) -> None:
    fence = (await join("demo", "ana")).snapshot.fence
    asked = await rooms.request_broadcast(DEMO)
    assert asked.state == "requested"
    assert await refusal(rooms.request_broadcast(DEMO)) == "broadcast_exists"
    url = "/live/d%C3%A9mo/index.m3u8"
    live = node.rooms.broadcast_live
    assert await live(DEMO, fence=fence, sid=asked.sid, url=url, directory="/run/b")
    assert not await live(DEMO, fence=fence, sid=asked.sid, url=url, directory="/run/b")
    snapshot = await rooms.snapshot(DEMO)
    assert snapshot.broadcast_dir == "/run/b"
    assert snapshot.room.broadcast is not None
    assert (snapshot.room.broadcast.state, snapshot.room.broadcast.url) == ("live", url)
    assert (await rooms.stop_broadcast(DEMO)).state == "stopping"
    assert (await rooms.stop_broadcast(DEMO)).state == "stopping"
    ended = node.rooms.broadcast_ended
    assert await ended(DEMO, fence=fence, sid=asked.sid, reason="stopped")
    assert not await ended(DEMO, fence=fence, sid=asked.sid, reason="stopped")
    assert (await rooms.get(DEMO)).broadcast is None
    assert (await types(rooms))[3:] == [
        "broadcast.requested",
        "broadcast.live",
        "broadcast.stopping",
        "broadcast.ended",
    ]
    assert (await ledger(rooms))[4].url == url
    assert (await rooms.request_broadcast(DEMO)).sid != asked.sid


async def test_a_broadcast_that_nobody_carries_ends_at_once(rooms: Rooms) -> None:
    await rooms.create(DEMO, RoomSettings())
    await rooms.request_broadcast(DEMO)
    assert (await rooms.stop_broadcast(DEMO)).state == "ended"
    assert (await ledger(rooms))[-1].reason == "stopped"


async def test_a_worker_that_comes_up_after_the_stop_is_not_live(
    rooms: Rooms, node: MediaNode, join: Join
) -> None:
    fence = (await join("demo", "ana")).snapshot.fence
    asked = await rooms.request_broadcast(DEMO)
    await rooms.stop_broadcast(DEMO)
    assert not await node.rooms.broadcast_live(
        DEMO, fence=fence, sid=asked.sid, url="/x", directory="/y"
    )


async def test_a_live_broadcast_waits_for_the_next_owner_under_a_new_sid(
    rooms: Rooms, node: MediaNode, join: Join
) -> None:
    fence = (await join("demo", "ana")).snapshot.fence
    asked = await rooms.request_broadcast(DEMO)
    await node.rooms.broadcast_live(DEMO, fence=fence, sid=asked.sid, url="/x", directory="/y")
    assert await node.rooms.release(DEMO, fence=fence) == 1
    left, ended, requested = (await ledger(rooms))[-3:]
    assert left.reason == "server_draining"
    assert ended == BroadcastEnded(sid=asked.sid, reason="server_draining")
    snapshot = await rooms.snapshot(DEMO)
    assert snapshot.room.node is None
    assert snapshot.room.broadcast is not None
    assert snapshot.room.broadcast.sid == requested.sid != asked.sid
    assert snapshot.room.broadcast.state == "requested"
    assert snapshot.broadcast_dir == ""
    again = await join("demo", "ana")
    assert again.placed
    assert again.snapshot.fence > fence


# -- The ledger


async def test_the_ledger_is_read_in_pages(rooms: Rooms, node: MediaNode, join: Join) -> None:
    listener = Listener()
    rooms.center.follow(DEMO, START, listener)
    for number in range(10):
        await join("demo", f"user-{number}")
    await listener.count(12)
    read, position = [], START
    while True:
        page, next_position = await rooms.events(DEMO, after=position, limit=5)
        if next_position == position:
            break
        assert len(page) <= 5
        read += page
        position = next_position
    assert read == listener.events
    assert position == read[-1].id


async def test_a_position_that_is_gone_is_told(
    rooms: Rooms, center: Center, node: MediaNode, join: Join
) -> None:
    for number in range(5):
        await join("demo", f"user-{number}")
    events, _ = await rooms.events(DEMO, after=START, limit=100)
    await center.command("XTRIM", keys.ledger(DEMO), "MAXLEN", "=", 2)

    async def read(after: EventId) -> Any:
        return await rooms.events(DEMO, after=after, limit=100)

    assert await refusal(read(events[0].id)) == "position_trimmed"
    assert await refusal(read(EventId("5-5"))) == "position_trimmed"
    assert await refusal(read(EventId("9999999999999-5"))) == "position_trimmed"
    assert (await read(events[-3].id))[0] == events[-2:]
    assert (await read(START))[0] == events[-2:]
    assert (await read(events[-1].id)) == ([], events[-1].id)


@pytest.mark.parametrize("position", ["", "5", "5-", "a-b", "-1-1", "1-1-1", "1-1 ", "9" * 99])
async def test_a_position_that_is_none_is_refused(rooms: Rooms, position: str) -> None:
    call = rooms.events(DEMO, after=EventId(position), limit=1)
    assert await refusal(call) == "invalid_cursor"


async def test_a_closed_rooms_ledger_can_still_be_read(rooms: Rooms) -> None:
    await rooms.create(DEMO, RoomSettings())
    await rooms.close(DEMO)
    assert await types(rooms) == ["room.created", "room.closed"]


async def test_metadata_that_is_too_large_is_refused(rooms: Rooms, node: MediaNode) -> None:
    large = "x" * 70_000
    call = rooms.create(DEMO, RoomSettings(metadata=large))
    assert await refusal(call) == "message_too_large"
    joining = rooms.join(
        DEMO,
        sid=new_participant_sid(),
        identity=Identity("ana"),
        display_name="Ana",
        metadata=large,
    )
    assert await refusal(joining) == "message_too_large"
    assert await rooms.list(limit=10, cursor=None) == ([], None)


async def test_every_name_that_is_allowed_works_as_a_key(
    rooms: Rooms, node: MediaNode, join: Join
) -> None:
    for name in ("a", "0", "x" * 64, "é-ü_ß.~", "會議室", "नमस्ते"):
        joined = await join(name, "ana")
        assert joined.snapshot.room.name == name
        assert joined.owner == NodeId(node.center.node_id)
