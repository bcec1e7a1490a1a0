"""One room's events in order, exactly once, or a loud word. A sans-IO core.

Each event names its predecessor. A number alone is not enough: after a rollback of Redis new
events reuse numbers already seen, and who checks numbers drops them silently. Feed it what
happens, carry out the ``Recover`` it returns, hand on the rest.

    state       input          becomes
    NEW         subscribed     RECOVERING, read the ledger after the position
    RECOVERING  live           RECOVERING, the event waits in a bounded buffer
    RECOVERING  recovered      LIVE after the last page; the buffer is drained
    LIVE        live in chain  LIVE, delivered
    LIVE        live, a gap    RECOVERING
    LIVE        head differs   RECOVERING
    any         subscribed     RECOVERING: what was said before the confirmation may be lost
"""

from collections import Counter, deque
from typing import Final, Literal

from msgspec import Struct

from coordinator.ids import START, EventId, RoomName

ResyncReason = Literal["trimmed", "fork", "rollback", "empty"]

PAGE_EVENTS: Final = 500
"""Ledger entries per recovery read: some 200 KiB, a millisecond of Redis."""
MAX_BUFFERED: Final = 1000
"""Live events that wait for a recovery. More: all are dropped, the ledger is read once more."""
_SEEN: Final = 256
"""Ids remembered to tell a late copy from a gap; an older copy costs one needless read."""


class LedgerEvent(Struct, frozen=True):
    """An event as it came from the wire or the ledger; the body is opaque here."""

    id: EventId
    prev: EventId
    epoch: str
    body: bytes


class LedgerPage(Struct, frozen=True):
    """What one atomic read of a ledger after a position returned."""

    epoch: str
    head: EventId
    """``0-0`` if there is no ledger."""
    events: tuple[LedgerEvent, ...] = ()
    more: bool = False
    """The page was full: read on after its last event."""


class Deliver(Struct, frozen=True):
    event: LedgerEvent


class ResyncNeeded(Struct, frozen=True):
    """Events may be missing: reload the room's snapshot. Following goes on after *position*;
    whoever loads a snapshot drops events up to the snapshot's own position.

    ``trimmed``: the ledger no longer reaches back; ``fork``: it holds another history;
    ``rollback``: it ends before the position; ``empty``: it is gone.
    """

    room: RoomName
    reason: ResyncReason
    position: EventId


class Recover(Struct, frozen=True):
    """Read the ledger after *after* (None: only its head) and call ``recovered``."""

    after: EventId | None


FollowerOutput = Deliver | ResyncNeeded | Recover


def position_key(position: EventId) -> tuple[int, int]:
    """Order of positions in one history: ``<ms>-<seq>`` as numbers."""
    ms, _, seq = position.partition("-")
    return int(ms), int(seq)


class Follower:
    """Follows *room* after *position* (None: from its head at the first recovery).

    *counters* may be shared by many followers.
    """

    def __init__(
        self, room: RoomName, position: EventId | None, counters: Counter[str] | None = None
    ) -> None:
        self.room: Final = room
        self.last = position
        self.counters: Final = Counter[str]() if counters is None else counters
        self._state: Literal["NEW", "RECOVERING", "LIVE"] = "NEW"
        self._epoch = ""
        self._seen: deque[EventId] = deque(maxlen=_SEEN)
        self._round = 0
        self._again = False
        self._buffer: list[tuple[int, LedgerEvent]] = []

    @property
    def live(self) -> bool:
        """In step with the ledger, as far as is known."""
        return self._state == "LIVE"

    def subscribed(self) -> list[FollowerOutput]:
        """The live wire was confirmed (anew): what was said before may be lost."""
        if self._state == "RECOVERING":
            # The read that is under way may have been made before this confirmation.
            self._again = True
            return []
        return self._recover("subscribed")

    def take(self, event: LedgerEvent) -> list[FollowerOutput]:
        """An event came on the live wire."""
        if self._state != "LIVE":
            if len(self._buffer) >= MAX_BUFFERED:
                self.counters["buffer_overflow"] += 1
                self._buffer.clear()
                self._again = True
            self._buffer.append((self._round, event))
            return []
        if event.prev == self.last:
            return [self._deliver(event)]
        if event.id == self.last or event.id in self._seen:
            self.counters["duplicate"] += 1
            return []
        self._buffer.append((self._round, event))
        return self._recover("gap")

    def head(self, head: EventId, epoch: str, asked_at: EventId | None) -> list[FollowerOutput]:
        """The ledger's head was read while we stood at *asked_at*: catches a lost tail, and a link
        that only looks alive. An event still on its way costs a needless read, nothing else."""
        if self._state != "LIVE" or self.last != asked_at:
            return []
        if head == self.last and (not self._epoch or epoch == self._epoch):
            return []
        return self._recover("head")

    def recovered(self, page: LedgerPage) -> list[FollowerOutput]:
        """The ledger read that ``Recover`` asked for."""
        assert self._state == "RECOVERING", "a page that nobody asked for"
        output: list[FollowerOutput] = []
        broken = self._fault(page)
        if self.last is None:
            self.last = page.head
        elif broken is not None:
            self.counters["resync_" + broken] += 1
            self.last = page.head
            self._seen.clear()
            output.append(ResyncNeeded(self.room, broken, page.head))
        else:
            for event in page.events:
                self.counters["replayed"] += 1
                output.append(self._deliver(event))
            if page.more:
                output.append(self._ask())
                return output
        self._epoch = page.epoch
        if self._again:
            self._again = False
            output.append(self._ask())
            return output
        self._state = "LIVE"
        self._drain(output)
        return output

    def _fault(self, page: LedgerPage) -> ResyncReason | None:
        """Why *page* does not go on where we stand; None if it does."""
        if self.last is None:
            return None
        if page.head == START:
            return None if self.last == START else "empty"
        if self._epoch and page.epoch != self._epoch and self.last != START:
            return "fork"
        if not page.events:
            if page.head == self.last:
                return None
            ahead = position_key(page.head) > position_key(self.last)
            return "trimmed" if ahead else "rollback"
        last = self.last
        for event in page.events:
            if event.prev != last:
                first = page.events[0]
                skipped = position_key(first.id)[1] > position_key(self.last)[1] + 1
                return "trimmed" if event is first and skipped else "fork"
            last = event.id
        return None

    def _drain(self, output: list[FollowerOutput]) -> None:
        """Hand on what waited. Events up to the position were in the ledger just read, or on a
        lost branch: without dropping them a fork would be recovered from for ever."""
        waiting, self._buffer = self._buffer, []
        for at, (told_in, event) in enumerate(waiting):
            assert self.last is not None
            if position_key(event.id) <= position_key(self.last):
                self.counters["drained"] += 1
            elif event.prev == self.last:
                output.append(self._deliver(event))
            elif told_in < self._round:
                # It came before the ledger was read, and yet the ledger does not know it.
                self.counters["stray"] += 1
            else:
                self._buffer = waiting[at:]
                output.extend(self._recover("gap"))
                return

    def _deliver(self, event: LedgerEvent) -> Deliver:
        self.last = event.id
        if event.epoch:
            self._epoch = event.epoch
        self._seen.append(event.id)
        return Deliver(event)

    def _recover(self, why: str) -> list[FollowerOutput]:
        self.counters["recover_" + why] += 1
        self._state = "RECOVERING"
        return [self._ask()]

    def _ask(self) -> Recover:
        self._round += 1
        return Recover(self.last)
