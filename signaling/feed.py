"""One room's ledger, followed once for all participants of this process in it.

Who joins has a snapshot of its own, true at a position of its own. Each stay remembers how far it
has heard and drops what is older; if the feed is already ahead of a newcomer, the ledger is
followed anew from the newcomer's position. So nobody misses an event or hears it twice.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from coordinator.center import Center, Following, FollowOutput, ResyncNeeded, StoredEvent
from coordinator.errors import InfrastructureError, PeerError, TertuliaError
from coordinator.events import ParticipantLeft, RoomClosed
from coordinator.follower import position_key
from coordinator.ids import EventId, ParticipantSid, RoomName
from coordinator.model import LeaveReason, Snapshot
from coordinator.requests import ActiveSpeakers
from coordinator.rooms import Rooms
from signaling.stay import Resynced, Stay

_log: Final = logging.getLogger(__name__)

MAX_HELD: Final = 1000
"""Events that wait while a snapshot is loaded; more of them make it load once more."""
_RETRY_S: Final = 0.2
_LONGEST_RETRY_S: Final = 2.0


class RoomFeed:
    """*gone* is called with each stay that the ledger ended, after the stay was told."""

    def __init__(
        self,
        center: Center,
        rooms: Rooms,
        room: RoomName,
        *,
        gone: Callable[[Stay], None],
        counters: Counter[str],
    ) -> None:
        self._center: Final = center
        self._rooms: Final = rooms
        self._room: Final = room
        self._gone: Final = gone
        self._counters: Final = counters
        self._stays: Final[dict[ParticipantSid, Stay]] = {}
        self._following: Following | None = None
        self._epoch = ""
        self._speakers: ActiveSpeakers | None = None
        self._resync: asyncio.Task[None] | None = None
        self._held: list[StoredEvent] = []
        self._again = ""

    @property
    def empty(self) -> bool:
        return not self._stays

    def add(self, stay: Stay) -> None:
        """*stay* was admitted: it hears everything after its snapshot."""
        epoch = stay.joined.snapshot.epoch
        others = bool(self._stays)
        self._stays[stay.sid] = stay
        at = None if self._following is None else self._following.position
        if at is None or position_key(at) > position_key(stay.position):
            self._follow(stay.position)
        if others and epoch != self._epoch and self._resync is None:
            # The newcomer saw another history before the follower could tell us.
            self._resynchronise("fork")
        self._epoch = epoch
        if self._speakers is not None and self._speakers.speakers:
            stay.hear(self._speakers)

    def discard(self, stay: Stay) -> None:
        self._stays.pop(stay.sid, None)

    def speakers(self, notice: ActiveSpeakers) -> None:
        self._speakers = notice
        for stay in tuple(self._stays.values()):
            stay.hear(notice)

    def close(self) -> None:
        """Nothing is delivered after."""
        if self._following is not None:
            self._following.close()
            self._following = None
        if self._resync is not None:
            self._resync.cancel()

    async def closed(self) -> None:
        """Wait for what ``close`` ended."""
        if self._resync is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._resync

    def _follow(self, position: EventId) -> None:
        if self._following is not None:
            self._counters["feeds_followed_anew"] += 1
            self._following.close()
        self._following = self._center.follow(self._room, position, self._take)

    def _take(self, output: FollowOutput) -> None:
        if isinstance(output, ResyncNeeded):
            self._resynchronise(output.reason)
        elif self._resync is None:
            self._deliver(output)
        elif len(self._held) < MAX_HELD:
            self._held.append(output)
        else:
            self._counters["feed_overflows"] += 1
            self._again = "trimmed"

    def _deliver(self, stored: StoredEvent) -> None:
        key = position_key(stored.id)
        event = stored.event
        for stay in tuple(self._stays.values()):
            if position_key(stay.position) >= key:
                continue
            stay.position = stored.id
            if isinstance(event, ParticipantLeft) and event.sid == stay.sid:
                self._end(stay, event.reason)
            elif isinstance(event, RoomClosed):
                self._end(stay, "room_closed")
            else:
                stay.hear(stored)

    def _end(self, stay: Stay, reason: LeaveReason) -> None:
        self.discard(stay)
        stay.end(reason)
        self._gone(stay)

    # --- when events were lost --------------------------------------------------------------------

    def _resynchronise(self, reason: str) -> None:
        self._counters["resyncs"] += 1
        # What was held belongs to the history that the new snapshot replaces, or follows again.
        self._held.clear()
        if self._resync is None:
            self._resync = asyncio.create_task(self._reload(reason), name=f"resync {self._room}")
        else:
            self._again = reason

    async def _reload(self, reason: str) -> None:
        while True:
            self._again = ""
            snapshot = await self._snapshot()
            if not self._again:
                break
            reason = self._again
            self._held.clear()
        # From here on without a pause: nothing may be delivered in between.
        self._resync = None
        held, self._held = self._held, []
        self._replace(reason, snapshot)
        for stored in held:
            self._deliver(stored)

    async def _snapshot(self) -> Snapshot | None:
        """The room now; None: it is gone. While Redis is away it goes on trying."""
        pause_s = _RETRY_S
        while True:
            try:
                return await self._rooms.snapshot(self._room)
            except PeerError:
                return None
            except InfrastructureError as error:
                _log.info("room %s cannot be reloaded yet: %s", self._room, error.code)
            except TertuliaError:
                _log.exception("room %s cannot be reloaded", self._room)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_RETRY_S)

    def _replace(self, reason: str, snapshot: Snapshot | None) -> None:
        present = set() if snapshot is None else {p.sid for p in snapshot.participants}
        # A ledger outlives its room by a day: where even that is gone, the data was lost.
        closed = snapshot is None and reason != "empty"
        gone: LeaveReason = "room_closed" if closed else "signaling_lost"
        if snapshot is not None:
            self._epoch = snapshot.epoch
        for stay in tuple(self._stays.values()):
            if snapshot is None or stay.sid not in present:
                self._end(stay, gone)
            else:
                stay.position = snapshot.position
                stay.hear(Resynced(reason, snapshot))
