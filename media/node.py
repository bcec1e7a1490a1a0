"""A media node: requests and ledgers in, events and notices out; the rooms that it owns between."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from coordinator.center import Center
from coordinator.errors import InfrastructureError, TertuliaError
from coordinator.ids import RoomName, new_track_sid
from coordinator.nodes import NodeLease
from coordinator.requests import (
    Ack,
    Candidate,
    CollectMetrics,
    MetricFamily,
    Metrics,
    OpenRoom,
    PublisherAnswer,
    PublisherOffer,
    Reply,
    Request,
    Sample,
    SdpAnswer,
    SdpFragment,
    SdpFragmentAnswer,
    SetTrackMuted,
    SubscriberAnswer,
    WhepOffer,
    WhipOffer,
)
from coordinator.rooms import Rooms
from media.config import MediaConfig
from media.hosting import HostedRoom, check_ours
from media.sfu.peer import Numbers
from media.sfu.plane import MediaPlane
from media.sfu.spec import Ssrc

_log: Final = logging.getLogger(__name__)

LEVELS_INTERVAL_S: Final = 0.1
"""How often it is looked who speaks: five packets of speech."""
DRAIN_NOTICE_S: Final = 1.2
"""Web processes remember for a second which nodes take rooms."""
WRITTEN_TIMEOUT_S: Final = 2.0
"""A mute is answered when the ledger has it, so that who asks next reads what it did."""
_SSRC_STEP: Final = 0x9E3779B1
"""Odd, so that steps of it visit every 32-bit number once; far apart, so that none looks near."""


def random_numbers() -> Numbers:
    """Identifiers of one node: unguessable sids, ssrcs that never come twice."""
    ssrc = secrets.randbits(32)

    def new_ssrc() -> Ssrc:
        nonlocal ssrc
        ssrc = (ssrc + _SSRC_STEP) & 0xFFFFFFFF
        return Ssrc(ssrc or new_ssrc())

    return Numbers(
        session_id=lambda: secrets.randbits(61) + 1, ssrc=new_ssrc, track_sid=new_track_sid
    )


class _CpuLoad:
    """How much of one core this process uses: a node has one event loop, so 1 is all it has."""

    def __init__(self) -> None:
        self._at_s = time.monotonic()
        self._used_s = time.process_time()
        self.value = 0.0

    def look(self) -> float:
        now, used = time.monotonic(), time.process_time()
        elapsed_s = now - self._at_s
        if elapsed_s >= 0.2:
            share = min(1.0, (used - self._used_s) / elapsed_s)
            self.value += (share - self.value) * 0.5
            self._at_s, self._used_s = now, used
        return self.value


class MediaNode:
    """Call ``start`` once; ``drain`` and then ``close`` at the end."""

    def __init__(
        self, center: Center, rooms: Rooms, plane: MediaPlane, config: MediaConfig
    ) -> None:
        self._center: Final = center
        self._rooms: Final = rooms
        self._plane: Final = plane
        self._config: Final = config
        self._numbers: Final = random_numbers()
        self._load: Final = _CpuLoad()
        self._hosted: dict[RoomName, HostedRoom] = {}
        self._opening: dict[RoomName, asyncio.Task[HostedRoom]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._draining = False
        self._ticking: asyncio.Task[None] | None = None
        self.counters: Final[Counter[str]] = Counter()
        self.lease: Final = NodeLease(
            center,
            kind="media",
            address=f"{config.host}:{plane.port}",
            load=lambda: (len(self._hosted), self._load.look()),
            lost=self._lost,
        )

    @property
    def hosted(self) -> tuple[RoomName, ...]:
        """The rooms that it owns."""
        return tuple(self._hosted)

    async def start(self) -> None:
        """Register, serve requests, listen to who speaks."""
        self._center.serve(self._handlers())
        await self.lease.start()
        self._ticking = asyncio.create_task(self._tick(), name="levels")

    async def drain(self) -> None:
        """Take no more rooms and give up those it has: participants rejoin elsewhere. Returns when
        that is done, at the latest after the configured time."""
        self._draining = True
        _log.info("draining %d rooms", len(self._hosted))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain_timeout_s):
                await self.lease.drain()
                if self._hosted and await self._others():
                    # Who joins again at once must not be placed here by a list of a second ago.
                    await asyncio.sleep(DRAIN_NOTICE_S)
                await asyncio.gather(
                    *(self._give_up(hosted) for hosted in tuple(self._hosted.values()))
                )

    async def _others(self) -> bool:
        """Whether another node can take the rooms."""
        try:
            nodes = await self._rooms.nodes.list("media")
        except InfrastructureError:
            return False
        return any(not node.draining and node.id != self._center.node_id for node in nodes)

    async def close(self) -> None:
        """End all media, and the lease."""
        self._draining = True
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        for opening in tuple(self._opening.values()):
            opening.cancel()
        for hosted in tuple(self._hosted.values()):
            self._drop(hosted, "the node closes")
        await asyncio.gather(*self._closing, *self._opening.values(), return_exceptions=True)
        await self.lease.close()

    # --- rooms ------------------------------------------------------------------------------------

    async def _room(self, name: RoomName) -> HostedRoom:
        """The room *name*, opened now if the ledger says that it is ours.

        Raises PeerError("room_not_found"); InfrastructureError: node_lost, server_draining,
        center_unavailable.
        """
        hosted = self._hosted.get(name)
        if hosted is not None:
            return hosted
        opening = self._opening.get(name)
        if opening is None:
            opening = asyncio.create_task(self._open(name), name=f"open {name}")
            self._opening[name] = opening
            opening.add_done_callback(lambda task: self._opened(name, task))
        return await asyncio.shield(opening)

    async def _open(self, name: RoomName) -> HostedRoom:
        snapshot = await self._rooms.snapshot(name)
        check_ours(snapshot, self._center.node_id)
        if self._draining:
            raise InfrastructureError("server_draining")
        hosted = self._hosted[name] = HostedRoom(
            snapshot,
            center=self._center,
            rooms=self._rooms,
            plane=self._plane,
            config=self._config,
            numbers=self._numbers,
            counters=self.counters,
            dropped=self._drop,
        )
        self.counters["rooms_opened"] += 1
        return hosted

    def _opened(self, name: RoomName, task: "asyncio.Task[HostedRoom]") -> None:
        self._opening.pop(name, None)
        if not task.cancelled():
            task.exception()  # seen; whoever waited has got it

    def _drop(self, hosted: HostedRoom, why: str) -> None:
        """Own *hosted* no longer; its media ends."""
        if self._hosted.get(hosted.name) is not hosted:
            return
        del self._hosted[hosted.name]
        self.counters["rooms_dropped"] += 1
        task = asyncio.create_task(hosted.close(), name=f"close {hosted.name} ({why})")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _lost(self) -> None:
        """Others took this incarnation for dead and have emptied its rooms."""
        self.counters["leases_lost"] += 1
        for hosted in tuple(self._hosted.values()):
            self._drop(hosted, "the lease was lost")

    async def _give_up(self, hosted: HostedRoom) -> None:
        try:
            await hosted.release("server_draining")
        except TertuliaError as error:
            _log.warning("room %s was not released: %s", hosted.name, error.code)
        await hosted.close()
        self._drop(hosted, "drained")

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LEVELS_INTERVAL_S)
            amplitudes = self._plane.speakers()
            now = loop.time()
            for hosted in tuple(self._hosted.values()):
                try:
                    hosted.tick(amplitudes, now)
                except Exception:
                    # A bug of ours in one room must not stop the clock of all others.
                    self.counters["tick_faults"] += 1
                    _log.exception("room %s failed at a tick", hosted.name)

    # --- requests ---------------------------------------------------------------------------------

    def _handlers(self) -> dict[type[Request], Callable[[Any], Awaitable[Reply | None]]]:
        return {
            OpenRoom: self._open_room,
            PublisherOffer: self._publisher_offer,
            SubscriberAnswer: self._subscriber_answer,
            Candidate: self._candidate,
            SetTrackMuted: self._set_track_muted,
            WhipOffer: self._whip_offer,
            WhepOffer: self._whep_offer,
            SdpFragment: self._sdp_fragment,
            CollectMetrics: self._collect_metrics,
        }

    async def _open_room(self, request: OpenRoom) -> Ack:
        known = self._hosted.get(request.room)
        if known is not None:
            # Placed on us again: it may be another room of that name, or another fence.
            await known.reload()
        await self._room(request.room)
        return Ack()

    async def _publisher_offer(self, request: PublisherOffer) -> PublisherAnswer:
        hosted = await self._room(request.room)
        await hosted.present(request.participant)
        return hosted.room.publisher_offer(request.participant, request.sdp, request.tracks)

    async def _subscriber_answer(self, request: SubscriberAnswer) -> Ack:
        hosted = await self._room(request.room)
        await hosted.present(request.participant)
        hosted.room.subscriber_answer(request.participant, request.offer_id, request.sdp)
        return Ack()

    async def _candidate(self, request: Candidate) -> Ack:
        hosted = await self._room(request.room)
        await hosted.present(request.participant)
        hosted.room.candidate(request.participant, request.candidate)
        return Ack()

    async def _set_track_muted(self, request: SetTrackMuted) -> Ack:
        hosted = await self._room(request.room)
        await hosted.present(request.participant)
        hosted.room.set_muted(request.participant, request.track, request.muted, request.by)
        await hosted.written(WRITTEN_TIMEOUT_S)
        return Ack()

    async def _whip_offer(self, request: WhipOffer) -> SdpAnswer:
        hosted = await self._room(request.room)
        await hosted.present(request.participant)
        return hosted.room.whip_offer(request.participant, request.sdp)

    async def _whep_offer(self, request: WhepOffer) -> SdpAnswer:
        hosted = await self._room(request.room)
        await hosted.present(request.participant)
        return hosted.room.whep_offer(request.participant, request.sdp, request.source)

    async def _sdp_fragment(self, request: SdpFragment) -> SdpFragmentAnswer:
        hosted = await self._room(request.room)
        await hosted.present(request.participant)
        return hosted.room.fragment(request.participant, request.fragment, request.etag)

    async def _collect_metrics(self, _: CollectMetrics) -> Metrics:
        return Metrics(families=self.metrics())

    # --- metrics ----------------------------------------------------------------------------------

    def metrics(self) -> tuple[MetricFamily, ...]:
        """What this node counts, its plane's and its message center's with it; each sample carries
        the node's name."""
        hosted = tuple(self._hosted.values())
        gauges = {
            "rooms": len(hosted),
            "participants": sum(len(h.room.participants) for h in hosted),
            "tracks": sum(len(h.room.all_tracks) for h in hosted),
            "tracks_waiting": sum(h.room.waiting_tracks for h in hosted),
            "broadcasts": sum(h.on_air for h in hosted),
        }
        name = {"node": self._config.name}
        own = [
            MetricFamily(
                name=f"tertulia_media_{gauge}",
                kind="gauge",
                help=f"{gauge.replace('_', ' ').capitalize()} on this media node.",
                samples=(Sample(labels=name, value=float(value)),),
            )
            for gauge, value in gauges.items()
        ]
        own.append(
            MetricFamily(
                name="tertulia_media_load",
                kind="gauge",
                help="Share of one core that this media node uses, 0 to 1.",
                samples=(Sample(labels=name, value=self._load.look()),),
            )
        )
        own.append(
            MetricFamily(
                name="tertulia_media_node_events_total",
                kind="counter",
                help="What happened on this media node, by kind.",
                samples=tuple(
                    Sample(labels={**name, "kind": kind}, value=float(value))
                    for kind, value in sorted(self.counters.items())
                ),
            )
        )
        families = (*own, *self._plane.metrics(), *self._center.metrics())
        return tuple(_labelled(family, name) for family in families)


def _labelled(family: MetricFamily, labels: dict[str, str]) -> MetricFamily:
    return MetricFamily(
        name=family.name,
        kind=family.kind,
        help=family.help,
        samples=tuple(
            Sample(labels={**sample.labels, **labels}, value=sample.value)
            for sample in family.samples
        ),
    )
