"""Who lives, where rooms go, and what the reaper does about the dead."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest

from coordinator import keys, lua
from coordinator.center import Center
from coordinator.errors import Fenced, InfrastructureError
from coordinator.events import ParticipantLeft
from coordinator.ids import START, NodeId, RoomName, new_track_sid
from coordinator.model import RoomSettings, TrackInfo
from coordinator.nodes import NodeInfo, NodeLease, Nodes, Reaper
from coordinator.registry import least_loaded
from coordinator.rooms import Rooms
from coordinator.vigil import Vigil
from tests.fakes.center import Connect, Join, Listener, MediaNode, StartNode, until

DEMO = RoomName("demo")

StartReaper = Callable[[Center], Awaitable[Reaper]]


@pytest.fixture
async def start_reaper() -> AsyncIterator[StartReaper]:
    reapers: list[Reaper] = []

    async def make(center: Center) -> Reaper:
        reaper = Reaper(center, Rooms(center))
        reaper.start()
        reapers.append(reaper)
        return reaper

    yield make
    for reaper in reapers:
        await reaper.close()


@pytest.fixture(autouse=True)
async def web_lease(center: Center) -> AsyncIterator[NodeLease]:
    """The lease of ``web-0``: without one the reaper would end the stays that it serves."""
    lease = NodeLease(center, kind="web")
    await lease.start()
    yield lease
    await lease.close()


def info(name: str, load: float = 0.0, rooms: int = 0, draining: bool = False) -> NodeInfo:
    return NodeInfo(
        id=NodeId(name),
        kind="media",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        load=load,
        rooms=rooms,
        draining=draining,
    )


def left_events(listener: Listener) -> list[ParticipantLeft]:
    return [one.event for one in listener.events if isinstance(one.event, ParticipantLeft)]


# -- The registry


async def test_a_node_is_listed_while_it_lives(center: Center, start_node: StartNode) -> None:
    nodes = Nodes(center)
    assert await nodes.list("media") == []
    node = await start_node("media-0", load=(3, 0.25))
    (listed,) = await nodes.list("media")
    assert (listed.id, listed.rooms, listed.load) == (node.center.node_id, 3, 0.25)
    assert listed.address == "127.0.0.1"
    assert [one.id for one in await nodes.list("web")] == [center.node_id]
    assert len(await nodes.list()) == 2
    await node.lease.drain()
    assert (await nodes.list("media"))[0].draining
    await node.lease.close()
    assert await nodes.list("media") == []


async def test_a_node_that_stops_renewing_is_not_listed(center: Center, connect: Connect) -> None:
    silent = await connect("media-0")
    lease = NodeLease(silent, kind="media")
    await lease.start()
    await lease_without_renewal(lease)

    async def gone() -> bool:
        return await Nodes(center).list("media") == []

    await until(gone, "the lease to run out")


async def lease_without_renewal(lease: NodeLease) -> None:
    """What a killed process leaves behind: a lease that nobody renews or gives up."""
    assert lease._task is not None
    lease._task.cancel()
    await asyncio.wait([lease._task])


@pytest.mark.parametrize(
    ("nodes", "placed", "avoid", "chosen"),
    [
        ([], {}, (), ""),
        ([info("a"), info("b")], {}, (), "a"),
        ([info("a", load=0.5), info("b", load=0.1)], {}, (), "b"),
        ([info("a", rooms=2), info("b", rooms=1)], {}, (), "b"),
        ([info("a", draining=True), info("b", load=0.9)], {}, (), "b"),
        ([info("a", draining=True)], {}, (), ""),
        ([info("a"), info("b")], {"a": 1}, (), "b"),
        ([info("a"), info("b", load=0.9)], {}, ("a",), "b"),
        ([info("a")], {}, ("a",), "a"),
    ],
)
def test_a_room_goes_to_the_least_loaded_node(
    nodes: list[NodeInfo], placed: dict[str, int], avoid: tuple[str, ...], chosen: str
) -> None:
    counts = Counter({NodeId(name): count for name, count in placed.items()})
    assert least_loaded(nodes, counts, frozenset(NodeId(name) for name in avoid)) == chosen


async def test_rooms_made_at_once_are_spread(start_node: StartNode, join: Join) -> None:
    nodes = [await start_node(f"media-{number}") for number in range(3)]
    await asyncio.gather(*(join(f"room-{number}", "ana") for number in range(2)))
    for number in range(2, 9):
        await join(f"room-{number}", "ana")
    assert all(1 <= len(node.opened) <= 5 for node in nodes), [node.opened for node in nodes]


async def test_a_draining_node_keeps_its_rooms_and_gets_no_new_ones(
    start_node: StartNode, rooms: Rooms, join: Join
) -> None:
    old, new = await start_node("media-0"), await start_node("media-1", load=(0, 0.5))
    first = await join("demo", "ana")
    assert first.owner == old.center.node_id
    await old.lease.drain()
    await rooms.nodes.placement(fresh=True)
    assert (await join("other", "ana")).owner == new.center.node_id
    assert (await join("demo", "bea")).owner == old.center.node_id
    await old.rooms.release(DEMO, fence=first.snapshot.fence)
    assert (await join("demo", "ana")).owner == new.center.node_id


# -- The vigil


def test_the_reaper_judges_after_it_has_seen_redis_for_a_lease() -> None:
    vigil = Vigil(3.0)
    assert not vigil.steady(0.0)
    for tenth in range(0, 35, 5):
        vigil.saw("run", tenth / 10)
    assert vigil.steady(3.0)
    assert not vigil.steady(5.1), "it has not looked for a while"


@pytest.mark.parametrize("trouble", ["missed", "restarted", "paused"])
def test_the_reaper_waits_anew_after_trouble(trouble: str) -> None:
    vigil = Vigil(3.0)
    for tenth in range(0, 40, 5):
        vigil.saw("run", tenth / 10)
    assert vigil.steady(3.5)
    begin = 4.0
    if trouble == "missed":
        vigil.missed()
    if trouble == "paused":
        begin = 6.0
    server = "another run" if trouble == "restarted" else "run"
    for tenth in range(0, 35, 5):
        at = begin + tenth / 10
        vigil.saw(server, at)
        assert vigil.steady(at) == (at >= begin + 3.0)


# -- The reaper


async def test_a_dead_media_nodes_participants_leave_once_and_rejoin_elsewhere(
    connect: Connect,
    start_node: StartNode,
    start_reaper: StartReaper,
    rooms: Rooms,
    join: Join,
) -> None:
    reapers = [await start_reaper(await connect(name)) for name in ("web-1", "web-2")]
    reapers.append(await start_reaper(rooms.center))
    dying = await start_node("media-0")
    stays = {(await join("demo", f"user-{n}")).participant.sid for n in range(5)}
    listener = Listener()
    rooms.center.follow(DEMO, None, listener)
    heir = await start_node("media-1")

    async def ready() -> bool:
        return all(reaper.may_judge for reaper in reapers)

    await until(ready, "the reapers' vigil, so that what is measured is the lease")
    await lease_without_renewal(dying.lease)
    await dying.center.close()
    died_at = asyncio.get_running_loop().time()
    await listener.until(lambda self: len(left_events(self)) >= 5, "five participant.left")
    took_s = asyncio.get_running_loop().time() - died_at
    assert took_s < rooms.center.config.lease_ttl_s + 1.0
    again = await join("demo", "user-0")
    assert again.owner == heir.center.node_id
    assert {event.sid for event in left_events(listener)} == stays
    assert len(left_events(listener)) == 5
    assert {event.reason for event in left_events(listener)} == {"node_lost"}


async def test_a_dead_web_processes_participants_leave_and_the_others_stay(
    connect: Connect,
    node: MediaNode,
    start_reaper: StartReaper,
    rooms: Rooms,
    join: Join,
) -> None:
    other = await connect("web-1")
    lease = NodeLease(other, kind="web")
    await lease.start()
    await join("demo", "ana")
    gone = await join("demo", "bea", via=Rooms(other))
    assert await rooms.edges(DEMO) == sorted([other.node_id, rooms.center.node_id])
    await start_reaper(rooms.center)
    listener = Listener()
    rooms.center.follow(DEMO, START, listener)
    await lease_without_renewal(lease)
    await listener.until(lambda self: bool(left_events(self)), "participant.left")
    (event,) = left_events(listener)
    assert (event.sid, event.reason) == (gone.participant.sid, "signaling_lost")
    assert [one.identity for one in (await rooms.snapshot(DEMO)).participants] == ["ana"]
    assert await rooms.edges(DEMO) == [rooms.center.node_id]


async def test_a_node_that_goes_politely_is_reaped_at_once(
    start_node: StartNode, start_reaper: StartReaper, rooms: Rooms, join: Join
) -> None:
    node = await start_node("media-0")
    reaper = await start_reaper(rooms.center)
    await join("demo", "ana")

    async def known() -> bool:
        return node.center.node_id in reaper._known

    await until(known, "the reaper to know the node")
    listener = Listener()
    rooms.center.follow(DEMO, START, listener)
    closed_at = asyncio.get_running_loop().time()
    await node.lease.close()
    await listener.heard("participant.left")
    assert asyncio.get_running_loop().time() - closed_at < rooms.center.config.lease_ttl_s


async def test_leaving_and_being_reaped_at_once_is_one_leave(
    start_node: StartNode, start_reaper: StartReaper, rooms: Rooms, join: Join, connect: Connect
) -> None:
    node = await start_node("media-0")
    sids = [(await join("demo", f"user-{number}")).participant.sid for number in range(40)]
    listener = Listener()
    rooms.center.follow(DEMO, START, listener)
    reapers = [Reaper(await connect(f"web-{n}"), rooms) for n in (1, 2)]
    await node.lease.close()
    outcomes = await asyncio.gather(
        *(rooms.leave(DEMO, sid, "left") for sid in sids),
        *(reaper.step() for reaper in reapers),
        rooms.vacate(DEMO, node.center.node_id, fence=None, reason="node_lost"),
    )
    await listener.until(lambda self: len(left_events(self)) >= 40, "forty participant.left")
    assert sorted(event.sid for event in left_events(listener)) == sorted(sids)
    told = sum(event.reason == "left" for event in left_events(listener))
    assert sum(outcome is True for outcome in outcomes) == told


async def test_many_rooms_of_a_dead_node_are_all_walked(
    start_node: StartNode, start_reaper: StartReaper, rooms: Rooms, join: Join
) -> None:
    node = await start_node("media-0")
    count = 450
    await asyncio.gather(*(join(f"room-{number}", "ana") for number in range(count)))
    await node.lease.close()
    await start_reaper(rooms.center)

    async def vacated() -> bool:
        found, _ = await rooms.list(limit=1000, cursor=None)
        return len(found) == count and all(room.node is None for room in found)

    await until(vacated, "all rooms to be vacated")


async def test_an_empty_room_closes_after_its_timeout(
    node: MediaNode, start_reaper: StartReaper, rooms: Rooms, join: Join
) -> None:
    await rooms.create(RoomName("never"), RoomSettings(empty_timeout_s=0, departure_timeout_s=99))
    await rooms.create(RoomName("left"), RoomSettings(empty_timeout_s=99, departure_timeout_s=0))
    await rooms.create(RoomName("waits"), RoomSettings(empty_timeout_s=99, departure_timeout_s=0))
    await rooms.create(RoomName("lives"), RoomSettings(empty_timeout_s=0, departure_timeout_s=0))
    await join("lives", "ana")
    sid = (await join("left", "ana")).participant.sid
    await rooms.leave(RoomName("left"), sid, "left")
    listeners = {name: Listener() for name in ("never", "left")}
    for name, listener in listeners.items():
        rooms.center.follow(RoomName(name), START, listener)
    await start_reaper(rooms.center)
    for listener in listeners.values():
        await listener.heard("room.closed")
    found, _ = await rooms.list(limit=10, cursor=None)
    assert [room.name for room in found] == ["lives", "waits"]


async def test_a_closing_that_was_broken_off_is_finished(
    node: MediaNode, start_reaper: StartReaper, rooms: Rooms, join: Join
) -> None:
    await join("demo", "ana")
    await join("demo", "bea")
    await rooms.center.change(lua.CLOSE, DEMO, "closed", 1, "", "")
    listener = Listener()
    rooms.center.follow(DEMO, START, listener)
    await start_reaper(rooms.center)
    await listener.heard("room.closed")
    assert listener.types.count("participant.left") == 2


async def test_the_duty_passes_on_when_its_holder_dies(
    connect: Connect, start_node: StartNode, start_reaper: StartReaper, rooms: Rooms, join: Join
) -> None:
    node = await start_node("media-0")
    first = await start_reaper(await connect("web-1"))

    async def holds() -> bool:
        return first.counters["steps"] > 0

    await until(holds, "the first reaper's duty")
    second = await start_reaper(await connect("web-2"))
    await join("demo", "ana")
    await first.close()
    listener = Listener()
    rooms.center.follow(DEMO, START, listener)
    await node.lease.close()
    await listener.heard("participant.left")
    assert second.counters["rooms_vacated"] == 1


async def test_a_join_to_a_dead_nodes_room_waits_for_the_verdict(
    start_node: StartNode, start_reaper: StartReaper, rooms: Rooms, join: Join
) -> None:
    dying = await start_node("media-0")
    first = await join("demo", "ana")
    await lease_without_renewal(dying.lease)
    heir = await start_node("media-1")

    async def lapsed() -> bool:
        leases = await rooms.nodes.leases([dying.center.node_id])
        return leases[dying.center.node_id] == "lapsed"

    await until(lapsed, "the lease to run out")
    joining = asyncio.ensure_future(join("demo", "bea"))
    await start_reaper(rooms.center)
    joined = await joining
    assert joined.owner == heir.center.node_id
    events, _ = await rooms.events(DEMO, after=START, limit=100)
    left = [one.event for one in events if isinstance(one.event, ParticipantLeft)]
    assert [(one.sid, one.reason) for one in left] == [(first.participant.sid, "node_lost")]


async def test_without_a_verdict_the_join_gives_up(
    connect: Connect, rooms: Rooms, join: Join, start_node: StartNode
) -> None:
    dying = await start_node("media-0")
    await join("demo", "ana")
    await lease_without_renewal(dying.lease)

    async def lapsed() -> bool:
        leases = await rooms.nodes.leases([dying.center.node_id])
        return leases[dying.center.node_id] == "lapsed"

    await until(lapsed, "the lease to run out")
    await start_node("media-1")
    with pytest.raises(InfrastructureError) as failed:
        await join("demo", "bea")
    assert failed.value.code == "no_responder"
    assert failed.value.retry


async def test_who_was_taken_for_dead_begins_anew_and_can_write_nothing_old(
    start_node: StartNode, rooms: Rooms, join: Join
) -> None:
    node = await start_node("media-0")
    joined = await join("demo", "ana")
    old = node.center.node_id
    await rooms.center.command("SET", keys.lease(old), "dead", "PX", 60_000)
    await rooms.vacate(DEMO, old, fence=None, reason="node_lost")
    await asyncio.wait_for(node.lost.wait(), 5)

    async def anew() -> bool:
        listed = await rooms.nodes.list("media")
        return [one.id for one in listed] == [node.center.node_id] and node.center.node_id != old

    await until(anew, "the new incarnation")
    track = TrackInfo(sid=new_track_sid(), kind="video", source="camera", mime="video/VP8")
    with pytest.raises(Fenced):
        await node.rooms.publish(
            DEMO,
            fence=joined.snapshot.fence,
            participant=joined.participant.sid,
            track=track,
        )
    again = await join("demo", "ana")
    assert again.owner == node.center.node_id
    assert again.snapshot.fence > joined.snapshot.fence
    assert node.opened == ["demo", "demo"]
