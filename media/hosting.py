"""One room that this media node owns: what the ledger says goes into the room, what the room says
goes to the ledger and to the signaling processes.

Media never waits for Redis. Writes to the ledger are repeated in their order until they are taken;
notices are told once. When the ledger says that something was lost, the room is compared with a
fresh snapshot and both sides are made to agree.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from coordinator.center import Center, Following, FollowOutput, ResyncNeeded, StoredEvent
from coordinator.errors import InfrastructureError, PeerError
from coordinator.events import (
    BroadcastEnded,
    BroadcastRequested,
    BroadcastStopping,
    ParticipantJoined,
    ParticipantLeft,
    RoomClosed,
    RoomPlaced,
)
from coordinator.ids import START, BroadcastSid, EventId, NodeId, ParticipantSid, TrackSid
from coordinator.model import BroadcastInfo, LeaveReason, Snapshot
from coordinator.requests import ActiveSpeakers, Request, SubscriberOffer
from coordinator.rooms import Rooms
from media.config import MediaConfig
from media.errands import Errands
from media.on_air import BroadcastNews, OnAir, WentLive, WentOff
from media.sfu.outputs import (
    OfferReady,
    PeerLost,
    RoomOutput,
    SpeakersChanged,
    TrackBegan,
    TrackEnded,
    TrackMuteChanged,
)
from media.sfu.peer import Numbers
from media.sfu.plane import MediaPlane
from media.sfu.room import Room

_log: Final = logging.getLogger(__name__)

MAX_WRITES: Final = 2000
"""Ledger writes of one room that wait for Redis. What goes beyond is found again by comparing."""
MAX_NOTICES: Final = 512
ARRIVAL_WAIT_S: Final = 0.25
"""A request may overtake the word of its sender's join by a network's jitter."""
RELOAD_RETRY_S: Final = 0.5
BROADCAST_RENEWAL_S: Final = 120.0
"""A broadcast whose worker crashes is begun anew if the last time was so long ago."""


class HostedRoom:
    """Made with a snapshot that says that this node owns the room; ``close`` ends its media.

    *dropped* is called when the room is not ours any more (closed, placed elsewhere, fenced).
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        center: Center,
        rooms: Rooms,
        plane: MediaPlane,
        config: MediaConfig,
        numbers: Numbers,
        counters: Counter[str],
        dropped: Callable[["HostedRoom", str], None],
    ) -> None:
        self.name: Final = snapshot.room.name
        self.sid: Final = snapshot.room.sid
        self._fence = snapshot.fence
        self._center: Final = center
        self._rooms: Final = rooms
        self._counters: Final = counters
        self._dropped: Final = dropped
        self._loop: Final = asyncio.get_running_loop()
        self.room: Final = Room(self.name, plane, numbers, wake=self._wake)
        self._on_air: Final = OnAir(
            self.name,
            plane,
            config,
            self._broadcast_news,
            lambda: (self.room.tracks, self.room.dominant),
        )
        self._writes: Final = Errands(
            "ledger_writes",
            limit=MAX_WRITES,
            patient=True,
            counters=counters,
            fenced=lambda: self._drop("fenced"),
            overflowed=self._reload_soon,
        )
        self._notices: Final = Errands(
            "notices", limit=MAX_NOTICES, patient=False, counters=counters
        )
        self._following: Following | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._waiting: dict[ParticipantSid, asyncio.Event] = {}
        self._flush_is_due = False
        self._broadcast_began_anew_s = float("-inf")
        self.closed = False
        self._reconcile(snapshot)

    # --- for the node -----------------------------------------------------------------------------

    @property
    def on_air(self) -> bool:
        return self._on_air.sid is not None

    async def present(self, participant: ParticipantSid) -> None:
        """Return when *participant* is in the room as it is known here.

        Raises PeerError("participant_not_found"), InfrastructureError.
        """
        if self.room.has(participant):
            return
        if not self.room.gone(participant):
            arrival = self._waiting.setdefault(participant, asyncio.Event())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(arrival.wait(), ARRIVAL_WAIT_S)
            if self._waiting.get(participant) is arrival:
                del self._waiting[participant]
        if not self.room.has(participant) and not self.room.gone(participant):
            await self.reload()
        if not self.room.has(participant):
            raise PeerError("participant_not_found")

    def tick(self, amplitudes: Mapping[TrackSid, float], now: float) -> None:
        """Time goes on; *amplitudes* is how loud each track was since the last call."""
        self.room.hear(amplitudes, now)
        self.room.tick(now)
        self._on_air.sync()

    async def reload(self) -> None:
        """Compare with a fresh snapshot; calls at the same time share one.

        Raises InfrastructureError (following goes on where it was), PeerError("room_not_found").
        """
        if self._reloading is None:
            self._reloading = asyncio.create_task(self._reload(), name=f"reload {self.name}")
            self._reloading.add_done_callback(self._reloaded)
        await asyncio.shield(self._reloading)

    async def written(self, timeout_s: float) -> None:
        """Wait until the ledger has what the room said so far, or for *timeout_s*."""
        self._flush()
        await self._writes.settled(timeout_s)

    async def release(self, reason: LeaveReason) -> None:
        """Give the room up: everybody leaves with *reason*; a broadcast waits for the next owner.
        Raises InfrastructureError."""
        if self._following is not None:
            self._following.close()  # what now becomes of the room is for its next owner
        await self._rooms.release(self.name, fence=self._fence, reason=reason)

    async def close(self) -> None:
        """End the room's media and its broadcast."""
        if self.closed:
            return
        self.closed = True
        if self._following is not None:
            self._following.close()
        if self._reloading is not None:
            self._reloading.cancel()
        self.room.close()
        await self._writes.close()
        await self._notices.close()
        await self._on_air.close()

    # --- what the ledger says ---------------------------------------------------------------------

    def _heard(self, output: FollowOutput) -> None:
        if self.closed:
            return
        if isinstance(output, ResyncNeeded):
            _log.warning("room %s: the ledger lost events (%s)", self.name, output.reason)
            self._counters["resyncs"] += 1
            self._reload_soon()
            return
        self._apply(output)
        self._flush()

    def _apply(self, stored: StoredEvent) -> None:
        match stored.event:
            case ParticipantJoined(participant=info):
                # The event was appended by the participant's signaling process.
                self.room.add(info, NodeId(stored.envelope.src))
                self._arrived(info.sid)
            case ParticipantLeft(sid=sid):
                self.room.remove(sid)
            case RoomPlaced(node=node, fence=fence):
                if node == self._center.node_id:
                    self._fence = max(self._fence, fence)
                else:
                    self._drop("placed elsewhere")
            case RoomClosed():
                self._drop("closed")
            case BroadcastRequested(sid=broadcast):
                self._on_air.start(broadcast)
            case BroadcastStopping(sid=broadcast):
                self._on_air.stop(broadcast)
            case BroadcastEnded(sid=broadcast):
                if self._on_air.sid == broadcast:
                    self._on_air.stop(broadcast)
            case _:
                pass  # what we told ourselves, or what concerns others

    def _arrived(self, sid: ParticipantSid) -> None:
        arrival = self._waiting.pop(sid, None)
        if arrival is not None:
            arrival.set()

    def _drop(self, why: str) -> None:
        if not self.closed:
            _log.info("room %s is not ours any more: %s", self.name, why)
            self._dropped(self, why)

    def _reload_soon(self) -> None:
        if not self.closed and self._reloading is None:
            self._reloading = asyncio.create_task(
                self._reload_patiently(), name=f"reload {self.name}"
            )
            self._reloading.add_done_callback(self._reloaded)

    def _reloaded(self, task: "asyncio.Task[None]") -> None:
        self._reloading = None
        if not task.cancelled():
            task.exception()  # seen; whoever waited has got it

    async def _reload_patiently(self) -> None:
        while not self.closed:
            try:
                await self._reload()
                return
            except InfrastructureError as error:
                _log.debug("room %s: reload: %s", self.name, error.code)
                await asyncio.sleep(RELOAD_RETRY_S)
            except PeerError:
                return

    async def _reload(self) -> None:
        # What happens after the snapshot must be heard after it: so nothing is heard meanwhile.
        following = self._following
        assert following is not None, "a hosted room follows its ledger from the first"
        following.close()
        try:
            snapshot = await self._rooms.snapshot(self.name)
        except InfrastructureError:
            self._follow(following.position or START)
            raise
        except PeerError:
            self._drop("not there any more")
            raise
        if self.closed:
            return
        if snapshot.room.sid != self.sid or snapshot.room.node != self._center.node_id:
            self._drop("another room or another owner")
            return
        self._reconcile(snapshot)
        self.room.repeat_offers()

    def _reconcile(self, snapshot: Snapshot) -> None:
        """Make the room, the ledger and the broadcast agree as of *snapshot*, and follow on."""
        self._fence = snapshot.fence
        there = {info.sid: info for info in snapshot.participants}
        for sid in self.room.participants:
            if sid not in there:
                self.room.remove(sid)
        for info in snapshot.participants:
            self.room.add(info, None)
            self._arrived(info.sid)
            if self.room.gone(info.sid):
                self._write(PeerLost(info.sid, "transport_failed", "said again"))
        told = {track.sid: track for info in snapshot.participants for track in info.tracks}
        ours = {track.told.sid: track for track in self.room.all_tracks}
        for info in snapshot.participants:
            for track in info.tracks:
                if track.sid not in ours:
                    self._write(TrackEnded(info.sid, track.sid))
        for track_sid, mine in ours.items():
            if track_sid not in told:
                self._write(TrackBegan(mine.participant, mine.info))
            elif told[track_sid].muted != mine.muted:
                by = "admin" if mine.muted_by_admin else "participant"
                self._write(TrackMuteChanged(mine.participant, track_sid, mine.muted, by))
        self._reconcile_broadcast(snapshot.room.broadcast)
        self._follow(snapshot.position)
        self._flush()

    def _follow(self, position: EventId) -> None:
        if not self.closed:
            self._following = self._center.follow(self.name, position, self._heard)

    def _reconcile_broadcast(self, broadcast: BroadcastInfo | None) -> None:
        if broadcast is None or broadcast.state == "ended":
            if self._on_air.sid is not None:
                self._on_air.stop(self._on_air.sid)
        elif broadcast.state == "stopping":
            self._on_air.stop(broadcast.sid)
        elif broadcast.state == "live" and self._on_air.sid != broadcast.sid:
            # Its worker is not here (any more): players need a new one under a new name.
            self._begin_broadcast_anew(broadcast.sid, "failed")
        else:
            self._on_air.start(broadcast.sid)

    # --- what the room says -----------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._flush_is_due and not self.closed:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Carry out what the room said."""
        self._flush_is_due = False
        if self.closed:
            return
        outputs = self.room.drain()
        for output in outputs:
            if isinstance(output, OfferReady):
                self._offer(output)
            elif isinstance(output, SpeakersChanged):
                notice = ActiveSpeakers(room=self.name, speakers=output.speakers)
                self._notices.add(partial(self._notify_all, notice))
            else:
                self._write(output)
        self._on_air.sync()

    def _write(self, output: RoomOutput) -> None:
        """Tell the ledger, behind what it was told before."""
        rooms, name = self._rooms, self.name
        match output:
            case TrackBegan(participant=sid, track=info):
                self._writes.add(
                    lambda: rooms.publish(name, fence=self._fence, participant=sid, track=info)
                )
            case TrackEnded(participant=sid, track=track):
                self._writes.add(
                    lambda: rooms.unpublish(name, fence=self._fence, participant=sid, track=track)
                )
            case TrackMuteChanged(participant=sid, track=track, muted=muted, by=by):
                self._writes.add(
                    lambda: rooms.set_muted(
                        name, fence=self._fence, participant=sid, track=track, muted=muted, by=by
                    )
                )
            case PeerLost(participant=sid, reason=reason, why=why):
                _log.info("room %s: %s lost its transport: %s", name, sid, why)
                self._counters[f"peers_lost_{why}"] += 1
                self._writes.add(lambda: rooms.leave(name, sid, reason))
            case _:
                raise AssertionError(f"{output} is not for the ledger")

    def _offer(self, offer: OfferReady) -> None:
        notice = SubscriberOffer(
            room=self.name,
            participant=offer.participant,
            offer_id=offer.offer_id,
            sdp=offer.sdp,
            tracks=offer.tracks,
        )
        edge = offer.edge
        if edge is None:
            self._notices.add(partial(self._notify_all, notice))
        else:
            self._notices.add(partial(self._center.notify, edge, notice))

    async def _notify_all(self, notice: Request) -> None:
        for edge in await self._rooms.edges(self.name):
            await self._center.notify(edge, notice)

    # --- the broadcast ----------------------------------------------------------------------------

    def _broadcast_news(self, news: BroadcastNews) -> None:
        match news:
            case WentLive(sid=sid, directory=directory):
                url = f"/live/{self.name}/index.m3u8"
                self._writes.add(
                    lambda: self._rooms.broadcast_live(
                        self.name, fence=self._fence, sid=sid, url=url, directory=directory
                    )
                )
            case WentOff(sid=sid, reason="failed"):
                self._counters["broadcasts_failed"] += 1
                self._begin_broadcast_anew(sid, "failed")
            case WentOff(sid=sid, reason=reason):
                self._end_broadcast(sid, reason)

    def _end_broadcast(self, sid: BroadcastSid, reason: str) -> None:
        self._writes.add(
            lambda: self._rooms.broadcast_ended(
                self.name, fence=self._fence, sid=sid, reason=reason
            )
        )

    def _begin_broadcast_anew(self, sid: BroadcastSid, reason: str) -> None:
        """End *sid*, and ask for another broadcast unless the last renewal was just now."""
        self._end_broadcast(sid, reason)
        now = self._loop.time()
        if now - self._broadcast_began_anew_s < BROADCAST_RENEWAL_S:
            return
        self._broadcast_began_anew_s = now
        self._writes.add(lambda: self._rooms.request_broadcast(self.name))


def check_ours(snapshot: Snapshot, node: NodeId) -> None:
    """Raises InfrastructureError unless *node* owns the room of *snapshot*."""
    if snapshot.room.node != node:
        raise InfrastructureError("node_lost", "This node does not own the room.")
