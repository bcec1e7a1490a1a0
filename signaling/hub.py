"""All participants whose signaling process is this one, on whatever door they came in.

A participant's stay begins with ``admit`` and ends with ``leave``, or when the ledger, the lease or
a drain says so; the stay is told. See stay.py for what it hears.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from coordinator.center import Center
from coordinator.errors import InfrastructureError
from coordinator.ids import Identity, ParticipantSid, RoomName, new_participant_sid
from coordinator.model import LeaveReason, ParticipantKind, Permissions
from coordinator.requests import (
    ActiveSpeakers,
    MetricFamily,
    Sample,
    SubscriberOffer,
)
from coordinator.rooms import JoinResult, Rooms
from signaling.config import SignalingConfig
from signaling.departures import Departures
from signaling.feed import RoomFeed
from signaling.stay import Heard, Stay

__all__ = ["SignalingHub", "Stay"]


class SignalingHub:
    """Call ``start`` once; ``drain`` and then ``close`` at the end. The process keeps a NodeLease
    of kind ``web`` whose ``lost`` is this hub's ``lost``."""

    def __init__(self, center: Center, rooms: Rooms, config: SignalingConfig) -> None:
        self.center: Final = center
        self.rooms: Final = rooms
        self.config: Final = config
        self.counters: Final[Counter[str]] = Counter()
        self._stays: Final[dict[ParticipantSid, Stay]] = {}
        self._feeds: Final[dict[RoomName, RoomFeed]] = {}
        self._departures: Final = Departures(
            rooms, self.counters, longest_retry_s=config.leave_retry_s
        )
        self._conversations: Final[set[asyncio.Future[None]]] = set()
        self._draining = False

    @property
    def draining(self) -> bool:
        return self._draining

    async def start(self) -> None:
        """Listen to the media nodes' notices."""
        self.center.serve(
            {SubscriberOffer: self._subscriber_offer, ActiveSpeakers: self._active_speakers}
        )

    async def drain(self) -> None:
        """Admit nobody any more and let all go, with ``server_draining``. Returns when that is on
        the ledger and said on the sockets, at the latest after twice ``close_timeout_s``."""
        self._draining = True
        for stay in tuple(self._stays.values()):
            self._dismiss(stay, "server_draining", leave=True)
        await self._departures.recorded(timeout_s=self.config.close_timeout_s)
        if self._conversations:
            await asyncio.wait(self._conversations, timeout=self.config.close_timeout_s)

    async def close(self) -> None:
        """End everything; what could not be recorded is left to the reaper."""
        self._draining = True
        for stay in tuple(self._stays.values()):
            self._dismiss(stay, "server_draining", leave=True)
        await self._departures.recorded(timeout_s=self.config.close_timeout_s)
        await self._departures.drop()
        for feed in tuple(self._feeds.values()):
            feed.close()
            await feed.closed()
        self._feeds.clear()

    def lost(self) -> None:
        """Others took this process for dead: its participants have left, or will in a moment."""
        self.counters["leases_lost"] += 1
        for stay in tuple(self._stays.values()):
            self._dismiss(stay, "signaling_lost", leave=False)

    @contextlib.contextmanager
    def conversation(self) -> Iterator[None]:
        """Around the talk with one participant: ``drain`` waits for its end."""
        done = asyncio.get_running_loop().create_future()
        self._conversations.add(done)
        try:
            yield
        finally:
            self._conversations.discard(done)
            done.set_result(None)

    # --- participants -----------------------------------------------------------------------------

    async def admit(
        self,
        room: RoomName,
        *,
        identity: Identity,
        display_name: str,
        kind: ParticipantKind,
        permissions: Permissions,
        metadata: str = "",
        create: bool = True,
        hear: Callable[[Heard], None] | None = None,
        on_left: Callable[[LeaveReason], None] | None = None,
    ) -> JoinResult:
        """Let *identity* join *room*, which is made if it is not there and *create*. Whether it
        may is the caller's business.

        *hear* gets all that the stay hears, the result first; *on_left* is called once when the
        stay ends by anything but ``leave``: the ledger said so, a drain, a lost lease.

        Raises PeerError: room_not_found, room_full, room_closed, message_too_large;
        InfrastructureError: server_draining, signaling_lost, no_node, no_responder,
        deadline_exceeded, node_lost, center_unavailable. Then nobody is in the room.
        """
        if self._draining:
            raise InfrastructureError("server_draining")
        stay = Stay(room, new_participant_sid(), kind, hear=hear, on_left=on_left)
        # Known before it is in the room: the node may offer before the join's reply is here.
        self._stays[stay.sid] = stay
        try:
            joined = await self.rooms.join(
                room,
                sid=stay.sid,
                identity=identity,
                display_name=display_name,
                kind=kind,
                permissions=permissions,
                metadata=metadata,
                create=create,
            )
        except BaseException:
            self._stays.pop(stay.sid, None)
            raise
        if stay.ended is not None:
            self._stays.pop(stay.sid, None)
            self._departures.begin(room, stay.sid, stay.ended)
            raise InfrastructureError(stay.ended)
        self.counters[f"admitted_{kind}"] += 1
        stay.begin(joined)
        if stay.ended is None:
            self._feed(room).add(stay)
        return joined

    def depart(self, room: RoomName, sid: ParticipantSid, reason: LeaveReason) -> None:
        """*sid* goes; its stay hears nothing more. The leave is tried until it is recorded."""
        stay = self._stays.pop(sid, None)
        if stay is not None:
            stay.quit()
            self._forget(stay)
        self._departures.begin(room, sid, reason)

    async def leave(self, room: RoomName, sid: ParticipantSid, reason: LeaveReason) -> None:
        """``depart``, and wait until the ledger says so, at most ``close_timeout_s``. Cancelling
        the call does not undo it."""
        self.depart(room, sid, reason)
        await self._departures.recorded(sid, timeout_s=self.config.close_timeout_s)

    def _dismiss(self, stay: Stay, reason: LeaveReason, *, leave: bool) -> None:
        admitted = stay.admitted
        if admitted:
            self._stays.pop(stay.sid, None)
            self._forget(stay)
        stay.end(reason)
        if admitted and leave:
            self._departures.begin(stay.room, stay.sid, reason)

    def _feed(self, room: RoomName) -> RoomFeed:
        feed = self._feeds.get(room)
        if feed is None:
            feed = self._feeds[room] = RoomFeed(
                self.center, self.rooms, room, gone=self._gone, counters=self.counters
            )
        return feed

    def _gone(self, stay: Stay) -> None:
        """The ledger ended *stay*."""
        self._stays.pop(stay.sid, None)
        self._forget(stay)

    def _forget(self, stay: Stay) -> None:
        feed = self._feeds.get(stay.room)
        if feed is None:
            return
        feed.discard(stay)
        if feed.empty:
            del self._feeds[stay.room]
            feed.close()

    # --- notices of the media nodes ---------------------------------------------------------------

    async def _subscriber_offer(self, notice: SubscriberOffer) -> None:
        stay = self._stays.get(notice.participant)
        if stay is None or stay.room != notice.room:
            # A node that does not know whose process it is tells every one of the room's.
            self.counters["offers_for_others"] += 1
            return
        stay.hear(notice)

    async def _active_speakers(self, notice: ActiveSpeakers) -> None:
        feed = self._feeds.get(notice.room)
        if feed is not None:
            feed.speakers(notice)

    # --- metrics ----------------------------------------------------------------------------------

    def metrics(self) -> tuple[MetricFamily, ...]:
        """What this process's participants do."""
        kinds = Counter(stay.kind for stay in self._stays.values())
        all_kinds: tuple[ParticipantKind, ...] = ("standard", "whip", "whep")
        return (
            MetricFamily(
                name="tertulia_signaling_participants",
                kind="gauge",
                help="Participants whose signaling process this is, by kind.",
                samples=tuple(
                    Sample(labels={"kind": kind}, value=float(kinds[kind])) for kind in all_kinds
                ),
            ),
            MetricFamily(
                name="tertulia_signaling_rooms",
                kind="gauge",
                help="Rooms whose ledger is followed for participants of this process.",
                samples=(Sample(labels={}, value=float(len(self._feeds))),),
            ),
            MetricFamily(
                name="tertulia_signaling_leaves_waiting",
                kind="gauge",
                help="Leaves that are not on the ledger yet.",
                samples=(Sample(labels={}, value=float(self._departures.count)),),
            ),
            MetricFamily(
                name="tertulia_signaling_events_total",
                kind="counter",
                help="What happened in signaling, by kind.",
                samples=tuple(
                    Sample(labels={"kind": kind}, value=float(value))
                    for kind, value in sorted(self.counters.items())
                ),
            ),
        )
