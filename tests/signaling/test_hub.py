"""The hub on a real message center: nothing lost, nothing twice, no leave forgotten."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator import keys
from coordinator.center import Center, StoredEvent
from coordinator.config import CenterConfig
from coordinator.embedded import EmbeddedValkey
from coordinator.errors import InfrastructureError, PeerError
from coordinator.events import ParticipantJoined, ParticipantLeft
from coordinator.ids import START, EventId, Identity, ParticipantSid, RoomName, TrackSid
from coordinator.model import LeaveReason, Permissions, Snapshot
from coordinator.nodes import NodeLease
from coordinator.registry import DEAD
from coordinator.requests import ActiveSpeakers, OpenRoom, SpeakerLevel, SubscriberOffer
from coordinator.rooms import JoinResult, Rooms
from signaling.config import SignalingConfig
from signaling.hub import SignalingHub
from signaling.stay import Heard, Over, Resynced
from tests.fakes.center import Breakable, MediaNode, until

ROOM = RoomName("demo")
WAIT_S = 10.0
Connect = Callable[[str], Awaitable[Center]]


class Ear:
    """What one stay hears."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.left: list[LeaveReason] = []
        self._more = asyncio.Event()

    def __call__(self, heard: Heard) -> None:
        self.heard.append(heard)
        self._more.set()

    def on_left(self, reason: LeaveReason) -> None:
        self.left.append(reason)
        self._more.set()

    async def until(self, done: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while not done():
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"waited for {what}; heard {self.heard[-5:]}") from None

    @property
    def joined(self) -> JoinResult:
        first = self.heard[0]
        assert isinstance(first, JoinResult)
        return first

    @property
    def sid(self) -> ParticipantSid:
        return self.joined.participant.sid

    def events(self) -> list[StoredEvent]:
        return [heard for heard in self.heard if isinstance(heard, StoredEvent)]

    async def heard_up_to(self, position: EventId) -> None:
        await self.until(
            lambda: bool(self.events()) and self.events()[-1].id == position, f"event {position}"
        )

    async def over(self) -> LeaveReason:
        await self.until(lambda: isinstance(self.heard[-1], Over), "the end of the stay")
        last = self.heard[-1]
        assert isinstance(last, Over)
        assert self.left == [last.reason]
        return last.reason


Admit = Callable[..., Awaitable[Ear]]


async def admit(hub: SignalingHub, identity: str, room: str = ROOM, *, hidden: bool = False) -> Ear:
    ear = Ear()
    await hub.admit(
        RoomName(room),
        identity=Identity(identity),
        display_name=identity.title(),
        kind="standard",
        permissions=Permissions(hidden=hidden),
        hear=ear,
        on_left=ear.on_left,
    )
    return ear


def make_hub(center: Center, rooms: Rooms, **config: Any) -> SignalingHub:
    settings = {"close_timeout_s": 1.0, "leave_retry_s": 0.2, **config}
    return SignalingHub(center, rooms, SignalingConfig(api_keys={}, **settings))


@pytest.fixture
async def hub(center: Center, rooms: Rooms) -> AsyncIterator[SignalingHub]:
    hub = make_hub(center, rooms)
    await hub.start()
    yield hub
    await hub.close()


@pytest.fixture
async def node(connect: Connect) -> AsyncIterator[MediaNode]:
    node = MediaNode(await connect("media-0"))
    await node.lease.start()
    yield node
    await node.lease.close()
    await node.rooms.drop_doubts()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Breakable]:
    server = Breakable(tmp_path / "data", await EmbeddedValkey.start(tmp_path / "data"))
    yield server
    await server.valkey.stop()


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    left.discard(asyncio.current_task())
    assert not left, f"tasks left running: {left}"


async def ledger(rooms: Rooms, room: RoomName = ROOM) -> list[StoredEvent]:
    events, _ = await rooms.events(room, after=START, limit=1000)
    return events


def left_reasons(events: list[StoredEvent]) -> list[tuple[str, str]]:
    return [
        (stored.event.identity, stored.event.reason)
        for stored in events
        if isinstance(stored.event, ParticipantLeft)
    ]


async def said(rooms: Rooms, *leaves: tuple[str, LeaveReason]) -> None:
    """Wait until the ledger has exactly these leaves."""

    async def there() -> bool:
        return left_reasons(await ledger(rooms)) == list(leaves)

    await until(there, f"the ledger to say {leaves}")


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_between_snapshot_and_ledger_no_event_is_lost_or_heard_twice(
    hub: SignalingHub, rooms: Rooms, node: MediaNode, connect: Connect, seed: int
) -> None:
    """Many join at once through two processes while others come and go; what each heard is exactly
    the ledger after its own snapshot."""
    rng = random.Random(seed)
    elsewhere = Rooms(await connect("web-1"))
    other_hub = make_hub(elsewhere.center, elsewhere)
    await other_hub.start()
    ears: list[Ear] = []

    async def come(number: int) -> None:
        # Spread the joins a little, so that they meet the feed in all its states.
        for _ in range(rng.randrange(40)):
            await asyncio.sleep(0)
        ears.append(await admit(rng.choice((hub, other_hub)), f"p{number}"))

    try:
        await asyncio.gather(*(come(number) for number in range(60)))
        for ear in rng.sample(ears, 10):
            await hub.leave(ROOM, ear.sid, "left")
            await other_hub.leave(ROOM, ear.sid, "left")
            ears.remove(ear)
        await rooms.request_broadcast(ROOM)
        events = await ledger(rooms)
        head = events[-1].id
        for ear in ears:
            await ear.heard_up_to(head)
            at = ear.joined.snapshot.position
            position = next(i for i, event in enumerate(events) if event.id == at)
            assert [e.id for e in ear.events()] == [e.id for e in events[position + 1 :]]
            others = {p.sid for p in ear.joined.snapshot.participants}
            others |= {
                stored.event.participant.sid
                for stored in ear.events()
                if isinstance(stored.event, ParticipantJoined)
            }
            assert len(others) == 60, "each heard of everybody"
    finally:
        await other_hub.close()
        await elsewhere.drop_doubts()


async def test_a_room_is_followed_once_and_no_longer_than_somebody_is_in_it(
    hub: SignalingHub, node: MediaNode
) -> None:
    def followed() -> float:
        return value(hub, "tertulia_signaling_rooms")

    ana, ben = await admit(hub, "ana"), await admit(hub, "ben")
    await ana.until(lambda: bool(ana.events()), "ben's join")
    assert (followed(), value(hub.center, "tertulia_center_followers")) == (1, 1)
    await hub.leave(ROOM, ana.sid, "left")
    assert followed() == 1
    await hub.leave(ROOM, ben.sid, "left")
    assert (followed(), value(hub.center, "tertulia_center_followers")) == (0, 0)


def value(source: SignalingHub | Center, name: str) -> float:
    family = next(family for family in source.metrics() if family.name == name)
    return sum(sample.value for sample in family.samples)


async def test_who_left_hears_why_and_then_nothing(
    hub: SignalingHub, rooms: Rooms, node: MediaNode
) -> None:
    ana, ben = await admit(hub, "ana"), await admit(hub, "ben")
    await rooms.remove(ROOM, Identity("ana"))
    assert await ana.over() == "removed"
    heard = len(ana.heard)
    again = await admit(hub, "ben")
    assert await ben.over() == "duplicate_identity"
    await rooms.close(ROOM)
    assert await again.over() == "room_closed"
    assert len(ana.heard) == heard
    assert value(hub, "tertulia_signaling_participants") == 0


# --- notices --------------------------------------------------------------------------------------


def offer(sid: ParticipantSid, offer_id: int = 1, room: RoomName = ROOM) -> SubscriberOffer:
    tracks = {"0": TrackSid("TR_1")}
    return SubscriberOffer(room=room, participant=sid, offer_id=offer_id, sdp="v=0", tracks=tracks)


async def test_an_offer_that_is_here_before_the_joins_reply_comes_after_it(
    hub: SignalingHub, node: MediaNode
) -> None:
    """The node answers the request to prepare only after its offer is on the way."""
    answer = node._open

    async def offer_first(request: Any) -> Any:
        (sid,) = [p.sid for p in (await node.rooms.snapshot(ROOM)).participants]
        for offer_id in (1, 2):
            await node.center.notify(hub.center.node_id, offer(sid, offer_id))
        return await answer(request)

    node.center.serve({OpenRoom: offer_first})
    ana = await admit(hub, "ana")
    await ana.until(lambda: len(ana.heard) > 1, "the offer")
    first, second = ana.heard[:2]
    assert isinstance(first, JoinResult)
    assert isinstance(second, SubscriberOffer)
    assert second.offer_id == 2, "at most one offer is outstanding"


async def test_offers_reach_their_participant_alone_and_others_are_passed_over(
    hub: SignalingHub, node: MediaNode
) -> None:
    ana, ben = await admit(hub, "ana"), await admit(hub, "ben")
    here = hub.center.node_id
    await node.center.notify(here, offer(ParticipantSid("PA_elsewhere")))
    await node.center.notify(here, offer(ana.sid, room=RoomName("other")))
    await node.center.notify(here, offer(ana.sid, 7))
    await node.center.notify(here, offer(ana.sid, 7))

    def offers(ear: Ear) -> list[int]:
        return [heard.offer_id for heard in ear.heard if isinstance(heard, SubscriberOffer)]

    await ana.until(lambda: offers(ana) == [7, 7], "both copies of the offer")
    assert offers(ben) == []
    assert hub.counters["offers_for_others"] == 2


async def test_who_comes_late_hears_who_speaks(hub: SignalingHub, node: MediaNode) -> None:
    ana = await admit(hub, "ana")
    level = SpeakerLevel(participant=ana.sid, identity=Identity("ana"), level=0.5)
    notice = ActiveSpeakers(room=ROOM, speakers=(level,))
    await node.center.notify(hub.center.node_id, notice)
    await ana.until(lambda: notice in ana.heard, "the speakers")
    ben = await admit(hub, "ben")
    assert ben.heard[1] == notice


# --- refusals -------------------------------------------------------------------------------------


async def test_without_a_node_nobody_is_admitted_and_nothing_stays_behind(
    hub: SignalingHub,
) -> None:
    with pytest.raises(InfrastructureError) as caught:
        await admit(hub, "ana")
    assert caught.value.code == "no_node"
    assert value(hub, "tertulia_signaling_participants") == 0


async def test_a_room_that_may_not_be_made_is_not(hub: SignalingHub, node: MediaNode) -> None:
    with pytest.raises(PeerError) as caught:
        await hub.admit(
            ROOM,
            identity=Identity("player"),
            display_name="player",
            kind="whep",
            permissions=Permissions(hidden=True),
            create=False,
        )
    assert caught.value.code == "room_not_found"


# --- leaving, draining, losing --------------------------------------------------------------------


async def test_a_drain_lets_all_go_and_nobody_in(
    hub: SignalingHub, rooms: Rooms, node: MediaNode
) -> None:
    ana = await admit(hub, "ana")
    await hub.drain()
    assert await ana.over() == "server_draining"
    assert left_reasons(await ledger(rooms)) == [("ana", "server_draining")]
    with pytest.raises(InfrastructureError) as caught:
        await admit(hub, "ben")
    assert caught.value.code == "server_draining"


async def test_who_was_being_let_in_when_the_drain_began_is_out_again(
    hub: SignalingHub, rooms: Rooms, node: MediaNode
) -> None:
    opening, may_answer = asyncio.Event(), asyncio.Event()
    answer = node._open

    async def slowly(request: Any) -> Any:
        opening.set()
        await may_answer.wait()
        return await answer(request)

    node.center.serve({OpenRoom: slowly})
    joining = asyncio.create_task(admit(hub, "ana"))
    await asyncio.wait_for(opening.wait(), WAIT_S)
    await hub.drain()
    may_answer.set()
    with pytest.raises(InfrastructureError) as caught:
        await joining
    assert caught.value.code == "server_draining"
    await said(rooms, ("ana", "server_draining"))


async def test_a_process_that_was_taken_for_dead_tells_its_participants(
    hub: SignalingHub, rooms: Rooms, node: MediaNode
) -> None:
    lease = NodeLease(hub.center, kind="web", lost=hub.lost)
    await lease.start()
    ana = await admit(hub, "ana")
    before = hub.center.node_id
    # What the reaper does with a lease that ran out.
    await hub.center.command("SET", keys.lease(before), DEAD)
    assert await ana.over() == "signaling_lost"
    await rooms.edge_lost(ROOM, before)
    assert left_reasons(await ledger(rooms)) == [("ana", "signaling_lost")]

    async def anew() -> bool:
        return lease.registered and hub.center.node_id != before

    await until(anew, "the process to begin anew")
    again = await admit(hub, "ana")
    await node.center.notify(hub.center.node_id, offer(again.sid))
    await again.until(lambda: len(again.heard) > 1, "an offer to the new incarnation")
    await lease.close()


async def test_leaving_twice_is_one_leave(hub: SignalingHub, rooms: Rooms, node: MediaNode) -> None:
    ana = await admit(hub, "ana")
    await asyncio.gather(*(hub.leave(ROOM, ana.sid, "left") for _ in range(3)))
    await hub.leave(ROOM, ana.sid, "transport_failed")
    assert left_reasons(await ledger(rooms)) == [("ana", "left")]
    assert ana.left == [], "who goes of itself is not told"


@pytest.fixture
async def breakable(server: Breakable) -> AsyncIterator[tuple[SignalingHub, Rooms, Breakable]]:
    """A hub and a node on a server that can be stopped."""
    center = await Center.connect(server.config, name="web-0")
    media = await Center.connect(server.config, name="media-0")
    node, rooms = MediaNode(media), Rooms(center)
    await node.lease.start()
    hub = make_hub(center, rooms)
    await hub.start()
    yield hub, rooms, server
    await hub.close()
    await node.lease.close()
    await rooms.drop_doubts()
    await node.rooms.drop_doubts()
    await center.close()
    await media.close()


async def test_a_leave_that_meets_an_absent_redis_is_written_when_it_is_back(
    breakable: tuple[SignalingHub, Rooms, Breakable],
) -> None:
    hub, rooms, server = breakable
    ana, ben = await admit(hub, "ana"), await admit(hub, "ben")
    await server.valkey.stop()
    leaving = asyncio.create_task(hub.leave(ROOM, ana.sid, "left"))
    hub.depart(ROOM, ben.sid, "transport_failed")
    await asyncio.wait_for(leaving, WAIT_S)  # returns although nothing could be written
    assert value(hub, "tertulia_signaling_leaves_waiting") == 2

    async def tried() -> bool:
        return hub.counters["leaves_retried"] >= 2

    await until(tried, "both leaves to fail once")
    await server.restart()

    async def both() -> bool:
        try:
            return len(left_reasons(await ledger(rooms))) == 2
        except InfrastructureError:
            return False

    await until(both, "both leaves on the ledger")
    reasons = sorted(left_reasons(await ledger(rooms)))
    assert reasons == [("ana", "left"), ("ben", "transport_failed")]


async def test_when_the_ledger_is_gone_the_stay_is_over(
    breakable: tuple[SignalingHub, Rooms, Breakable],
) -> None:
    hub, _, _ = breakable
    ana = await admit(hub, "ana")
    await hub.center.command("FLUSHALL")
    assert await ana.over() == "signaling_lost"


async def fork(center: Center) -> None:
    """Make the room's ledger another history, as a restored backup does."""
    await center.command("HSET", keys.meta(ROOM), "epoch", "another")


async def test_after_a_fork_a_snapshot_comes_and_then_what_followed_it(
    hub: SignalingHub, rooms: Rooms, node: MediaNode, connect: Connect
) -> None:
    elsewhere = Rooms(await connect("web-1"))
    ana, ben = await admit(hub, "ana"), await admit(hub, "ben")
    await ana.heard_up_to(ben.joined.event)
    read, hand_over = asyncio.Event(), asyncio.Event()
    snapshot = rooms.snapshot

    async def slow_snapshot(name: RoomName) -> Snapshot:
        found = await snapshot(name)
        read.set()
        await hand_over.wait()
        return found

    rooms.snapshot = slow_snapshot  # type: ignore[method-assign]
    await fork(hub.center)
    await asyncio.wait_for(read.wait(), WAIT_S)
    other_hub = make_hub(elsewhere.center, elsewhere)
    carol = await admit(other_hub, "carol")
    dora = await admit(hub, "dora")
    hand_over.set()
    for ear in (ana, ben):
        await ear.heard_up_to(dora.joined.event)
        resync = next(heard for heard in ear.heard if isinstance(heard, Resynced))
        assert resync.reason == "fork"
        assert {p.identity for p in resync.snapshot.participants} == {"ana", "ben"}
        assert joins_after_resync(ear) == [carol.sid, dora.sid]
    await other_hub.close()
    await elsewhere.drop_doubts()


def joins_after_resync(ear: Ear) -> list[ParticipantSid]:
    """Who joined, as heard since the last resync; empty without one."""
    at = max((i for i, heard in enumerate(ear.heard) if isinstance(heard, Resynced)), default=None)
    if at is None:
        return []
    return [
        heard.event.participant.sid
        for heard in ear.heard[at:]
        if isinstance(heard, StoredEvent) and isinstance(heard.event, ParticipantJoined)
    ]


async def test_a_newcomer_from_another_history_makes_the_others_load_it_at_once(
    connect: Connect, center_config: CenterConfig, node: MediaNode
) -> None:
    config = msgspec.structs.replace(center_config, head_check_s=3600.0)
    center = await Center.connect(config, name="web-7")
    rooms = Rooms(center)
    hub = make_hub(center, rooms)
    ana = await admit(hub, "ana")
    await fork(center)
    await admit(hub, "ben")
    await ana.until(lambda: any(isinstance(h, Resynced) for h in ana.heard), "a resync")
    await hub.close()
    await rooms.drop_doubts()
    await center.close()
