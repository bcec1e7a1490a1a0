"""A media node with a real message center, a signaling process as the node sees it, and guests
made of aiortc."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)

from coordinator.center import Center, StoredEvent
from coordinator.ids import (
    Identity,
    NodeId,
    ParticipantSid,
    RoomName,
    TrackSid,
    new_participant_sid,
)
from coordinator.model import ParticipantKind, Permissions, TrackSource
from coordinator.requests import (
    ActiveSpeakers,
    PublisherAnswer,
    PublisherOffer,
    SubscriberAnswer,
    SubscriberOffer,
    TrackAnnouncement,
)
from coordinator.rooms import JoinResult, Rooms
from media.config import MediaConfig
from media.node import MediaNode
from media.sfu.plane import MediaPlane
from tests.fakes.center import Listener

WAIT_S = 15.0
ROOM = RoomName("plaza")


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """aioice leaves out the loopback interface, which is all that we use."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


class Guest:
    """A participant of the room ``plaza``."""

    def __init__(self, edge: "Edge", joined: JoinResult) -> None:
        self.edge = edge
        self.sid: ParticipantSid = joined.participant.sid
        self.owner: NodeId = joined.owner
        self.publisher = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.subscriber = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.offers: list[SubscriberOffer] = []
        self.answering = True
        self._busy = asyncio.Lock()
        self._changed = asyncio.Event()

    async def ask(self, request: Any) -> Any:
        return await self.edge.center.request(self.owner, request)

    async def publish(
        self, *tracks: tuple[MediaStreamTrack, TrackSource], mute: bool = False
    ) -> tuple[TrackSid, ...]:
        """Offer *tracks* in addition; return all sids."""
        for track, _ in tracks:
            self.publisher.addTrack(track)
        await self.publisher.setLocalDescription(await self.publisher.createOffer())
        sources = dict(tracks)
        announced = tuple(
            TrackAnnouncement(mid=t.mid or "", source=sources[t.sender.track], muted=mute)
            for t in self.publisher.getTransceivers()
            if t.sender.track in sources
        )
        answer = await self.ask(
            PublisherOffer(
                room=ROOM,
                participant=self.sid,
                sdp=self.publisher.localDescription.sdp,
                tracks=announced,
            )
        )
        assert isinstance(answer, PublisherAnswer)
        await self.publisher.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        return tuple(track.sid for track in answer.tracks)

    async def offered(self, offer: SubscriberOffer) -> None:
        """The node's offer has arrived: answer it."""
        async with self._busy:
            if self.subscriber.connectionState == "closed":
                return
            if not self.answering:
                self.offers.append(offer)
                self._changed.set()
                return
            await self.subscriber.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
            await self.subscriber.setLocalDescription(await self.subscriber.createAnswer())
            await self.ask(
                SubscriberAnswer(
                    room=ROOM,
                    participant=self.sid,
                    offer_id=offer.offer_id,
                    sdp=self.subscriber.localDescription.sdp,
                )
            )
            self.offers.append(offer)
            self._changed.set()

    async def until(self, done: Callable[["Guest"], bool], what: str) -> None:
        """Wait for an offer after which *done*."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not done(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"waited for {what}; offers carried {[o.tracks for o in self.offers]}"
            ) from None

    async def carries(self, *sids: TrackSid) -> None:
        """Wait until exactly *sids* are on the subscriber transport."""

        def carried(guest: "Guest") -> bool:
            return bool(guest.offers) and set(guest.offers[-1].tracks.values()) == set(sids)

        await self.until(carried, f"an offer with {sids}")

    async def receives(self, *sids: TrackSid) -> list[MediaStreamTrack]:
        """Wait until exactly *sids* are on the subscriber transport; return them as received."""
        await self.carries(*sids)
        mids = {sid: mid for mid, sid in self.offers[-1].tracks.items()}
        by_mid = {t.mid: t.receiver.track for t in self.subscriber.getTransceivers()}
        return [by_mid[mids[sid]] for sid in sids]

    async def offer(self, pc: RTCPeerConnection) -> str:
        """The description of *pc*'s own offer."""
        await pc.setLocalDescription(await pc.createOffer())
        return str(pc.localDescription.sdp)

    async def connected(self, pc: RTCPeerConnection) -> None:
        """Wait until *pc* is up."""
        up = asyncio.Event()

        def changed() -> None:
            if pc.connectionState == "connected":
                up.set()

        pc.on("connectionstatechange", changed)
        if pc.connectionState != "connected":
            async with asyncio.timeout(WAIT_S):
                await up.wait()

    async def leave(self) -> None:
        await self.edge.rooms.leave(ROOM, self.sid, "left")

    async def close(self) -> None:
        await self.publisher.close()
        await self.subscriber.close()


class Edge:
    """A signaling process: joins guests and passes the node's notices on to them."""

    def __init__(self, center: Center) -> None:
        self.center = center
        self.rooms = Rooms(center)
        self.guests: dict[ParticipantSid, Guest] = {}
        self.speakers: list[ActiveSpeakers] = []
        self.spoken = asyncio.Event()
        center.serve({SubscriberOffer: self._offered, ActiveSpeakers: self._spoken})

    async def join(
        self,
        identity: str,
        *,
        kind: ParticipantKind = "standard",
        permissions: Permissions | None = None,
    ) -> Guest:
        sid = new_participant_sid()
        joined = await self.rooms.join(
            ROOM,
            sid=sid,
            identity=Identity(identity),
            display_name=identity,
            kind=kind,
            permissions=permissions,
        )
        guest = self.guests[sid] = Guest(self, joined)
        return guest

    async def _offered(self, notice: SubscriberOffer) -> None:
        guest = self.guests.get(notice.participant)
        if guest is not None:
            await guest.offered(notice)

    async def _spoken(self, notice: ActiveSpeakers) -> None:
        self.speakers.append(notice)
        self.spoken.set()

    async def close(self) -> None:
        for guest in self.guests.values():
            await guest.close()
        await self.rooms.drop_doubts()


class Ledger(Listener):
    """What the room's ledger says from now on."""

    def of(self, kind: type[Any]) -> list[Any]:
        return [stored.event for stored in self.events if isinstance(stored.event, kind)]

    async def until_event(self, kind: type[Any], **fields: Any) -> Any:
        def matches(stored: StoredEvent) -> bool:
            event = stored.event
            return isinstance(event, kind) and all(
                getattr(event, name) == value for name, value in fields.items()
            )

        await self.until(
            lambda me: any(matches(stored) for stored in me.events), f"{kind.__name__} {fields}"
        )
        return next(stored.event for stored in self.events if matches(stored))


StartNode = Callable[..., Awaitable[MediaNode]]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_node(
    connect: Callable[[str], Awaitable[Center]], stack: AsyncExitStack, tmp_path: Path
) -> StartNode:
    """Start media nodes by name; all end with the test."""

    async def start(name: str = "media-0", **settings: Any) -> MediaNode:
        config = MediaConfig(
            name=name, port=0, broadcast_dir=str(tmp_path / "broadcasts"), **settings
        )
        plane = await MediaPlane.open(config)
        stack.push_async_callback(plane.close)
        center = await connect(name)
        node = MediaNode(center, Rooms(center), plane, config)
        stack.push_async_callback(node.close)
        await node.start()
        return node

    return start


@pytest.fixture
async def node(start_node: StartNode) -> MediaNode:
    return await start_node()


@pytest.fixture
async def edge(connect: Callable[[str], Awaitable[Center]]) -> AsyncIterator[Edge]:
    edge = Edge(await connect("web-0"))
    yield edge
    await edge.close()


@pytest.fixture
async def ledger(edge: Edge) -> AsyncIterator[Ledger]:
    """All events of the room ``plaza``."""
    ledger = Ledger()
    following = edge.center.follow(ROOM, None, ledger)
    yield ledger
    following.close()


def is_ours(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is None or "site-packages" not in code.co_filename


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    # aiortc's connections leave tasks of their own behind when closed early.
    ours = [task for task in left if task is not asyncio.current_task() and is_ours(task)]
    assert not ours, f"tasks left running: {ours}"
