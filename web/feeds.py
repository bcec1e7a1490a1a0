"""What long answers wait for: a room's ledger as it grows, and the state of its broadcast.

A reader of the ledger has a bounded queue. When it is full the reader stops following, and begins
again behind what it has handed out: the ledger keeps the rest, so a slow reader loses nothing.
Readers of a broadcast's state need only the latest one, and share one follower per room.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Final

from coordinator.center import Center, Following, FollowOutput, StoredEvent
from coordinator.errors import InfrastructureError, PeerError
from coordinator.events import (
    BroadcastEnded,
    BroadcastLive,
    BroadcastRequested,
    BroadcastStopping,
    RoomClosed,
)
from coordinator.ids import EventId, RoomName
from coordinator.model import BroadcastInfo
from coordinator.requests import MetricFamily
from coordinator.rooms import Rooms
from web.bodies import LiveState
from web.tally import Tally

MAX_QUEUED: Final = 1000
"""Events of one reader, some 400 bytes each."""
MAX_READERS: Final = 10_000
"""Long answers of one process; each holds a socket and some 20 KiB."""

_RETRY_S: Final = 1.0


class Feeds:
    """The long answers of one process."""

    def __init__(self, center: Center, rooms: Rooms) -> None:
        self._center: Final = center
        self._rooms: Final = rooms
        self._live: dict[RoomName, _LiveRoom] = {}
        self._open = 0
        self._happened: Final = Tally(
            "tertulia_feed_events_total", "What happened to long answers, by kind."
        )

    @contextlib.asynccontextmanager
    async def ledger(
        self, room: RoomName, position: EventId | None
    ) -> AsyncIterator["LedgerReader"]:
        """Follow *room* after *position* (None: from now). Raises PeerError("rate_limited")."""
        with self._counted():
            reader = LedgerReader(self._center, room, position, self._happened)
            try:
                yield reader
            finally:
                reader.close()

    @contextlib.asynccontextmanager
    async def live(self, room: RoomName) -> AsyncIterator["LiveReader"]:
        """Follow the state of *room*'s broadcast; the room need not be there.

        Raises PeerError("rate_limited"), InfrastructureError.
        """
        with self._counted():
            shared = self._live.get(room)
            if shared is None:
                shared = self._live[room] = _LiveRoom(self._center, self._rooms, room)
            shared.readers += 1
            try:
                await shared.ready()
                yield LiveReader(shared)
            finally:
                shared.readers -= 1
                if shared.readers == 0:
                    # A new one may have taken its place after a failure.
                    if self._live.get(room) is shared:
                        del self._live[room]
                    await shared.close()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        if self._open >= MAX_READERS:
            self._happened.add(kind="refused")
            raise PeerError("rate_limited", "Too many long answers are open.")
        self._open += 1
        self._happened.add(kind="opened")
        try:
            yield
        finally:
            self._open -= 1

    def metrics(self) -> tuple[MetricFamily, ...]:
        gauge = Tally("tertulia_feeds", "Open server-sent event answers.", kind="gauge")
        gauge.add(self._open)
        return (gauge.family(), self._happened.family())


class LedgerReader:
    """One reader of a ledger."""

    def __init__(
        self, center: Center, room: RoomName, position: EventId | None, happened: Tally
    ) -> None:
        self._center: Final = center
        self._room: Final = room
        self._position = position
        self._happened: Final = happened
        self._queue: Final[deque[FollowOutput]] = deque()
        self._wake: Final = asyncio.Event()
        self._following: Following | None = center.follow(room, position, self._take)

    async def next(self, timeout_s: float) -> FollowOutput | None:
        """The next output; None: nothing came within *timeout_s*."""
        if not self._queue:
            if self._following is None:
                self._following = self._center.follow(self._room, self._position, self._take)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout_s)
        if not self._queue:
            return None
        output = self._queue.popleft()
        self._position = output.id if isinstance(output, StoredEvent) else output.position
        return output

    def close(self) -> None:
        if self._following is not None:
            self._following.close()
            self._following = None

    def _take(self, output: FollowOutput) -> None:
        if len(self._queue) >= MAX_QUEUED:
            self._happened.add(kind="reader_behind")
            self.close()
            return
        self._queue.append(output)
        self._wake.set()


class _LiveRoom:
    """The latest state of one room's broadcast, for all readers of it."""

    def __init__(self, center: Center, rooms: Rooms, room: RoomName) -> None:
        self._center: Final = center
        self._rooms: Final = rooms
        self._room: Final = room
        self._following: Following | None = None
        self._reloading = asyncio.create_task(self._load(), name=f"live state of {room}")
        self.readers = 0
        self.state = LiveState(room=room, state="none")
        self.version = 0
        self.changed = asyncio.Event()

    async def ready(self) -> None:
        """Wait until the state is known. Raises InfrastructureError."""
        await asyncio.shield(self._reloading)

    async def close(self) -> None:
        if self._following is not None:
            self._following.close()
        self._reloading.cancel()
        await asyncio.gather(self._reloading, return_exceptions=True)

    async def _load(self) -> None:
        position = await self._rooms.head(self._room)
        try:
            snapshot = await self._rooms.snapshot(self._room)
        except PeerError:
            self._set(LiveState(room=self._room, state="none"))
        else:
            position = snapshot.position
            self._set(live_state(self._room, snapshot.room.broadcast))
        if self._following is not None:
            self._following.close()
        self._following = self._center.follow(self._room, position, self._take)

    async def _load_again(self) -> None:
        while True:
            try:
                return await self._load()
            except InfrastructureError:
                await asyncio.sleep(_RETRY_S)

    def _take(self, output: FollowOutput) -> None:
        if not isinstance(output, StoredEvent):
            # Events may be missing: what the room says now is true.
            if self._reloading.done():
                self._reloading = asyncio.create_task(self._load_again(), name="live state again")
            return
        event = output.event
        room = self._room
        if isinstance(event, BroadcastRequested):
            self._set(LiveState(room=room, state="requested", sid=event.sid))
        elif isinstance(event, BroadcastLive):
            self._set(LiveState(room=room, state="live", sid=event.sid, url=event.url))
        elif isinstance(event, BroadcastStopping):
            self._set(LiveState(room=room, state="stopping", sid=event.sid, url=self.state.url))
        elif isinstance(event, BroadcastEnded):
            self._set(LiveState(room=room, state="ended", sid=event.sid))
        elif isinstance(event, RoomClosed) and self.state.state != "ended":
            self._set(LiveState(room=room, state="none"))

    def _set(self, state: LiveState) -> None:
        if state != self.state or self.version == 0:
            self.state = state
            self.version += 1
            self.changed.set()
            self.changed = asyncio.Event()


class LiveReader:
    """One reader of a broadcast's state."""

    def __init__(self, shared: _LiveRoom) -> None:
        self._shared: Final = shared
        self._version = 0

    async def next(self, timeout_s: float) -> LiveState | None:
        """The state if it is another than last time; None: it stayed so for *timeout_s*. States
        that lasted shorter than the reader took are skipped."""
        if self._version == self._shared.version:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._shared.changed.wait(), timeout_s)
        if self._version == self._shared.version:
            return None
        self._version = self._shared.version
        return self._shared.state


def live_state(room: RoomName, broadcast: BroadcastInfo | None) -> LiveState:
    if broadcast is None:
        return LiveState(room=room, state="none")
    return LiveState(room=room, state=broadcast.state, sid=broadcast.sid, url=broadcast.url)
