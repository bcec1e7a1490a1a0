"""Driver of the followers: one link carries the live events, one connection reads ledgers.

Recoveries and head checks of many rooms share round trips, on a connection of their own so that
they never hold up a join.
"""

import asyncio
import logging
import random
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from coordinator import keys, lua
from coordinator.calls import Calls
from coordinator.config import CenterConfig
from coordinator.envelope import StoredEvent, stored_event
from coordinator.errors import InfrastructureError, PeerError
from coordinator.follower import (
    PAGE_EVENTS,
    Deliver,
    Follower,
    FollowerOutput,
    LedgerEvent,
    LedgerPage,
    Recover,
    ResyncNeeded,
)
from coordinator.ids import START, EventId, RoomName
from coordinator.link import Channel, Link

_log: Final = logging.getLogger(__name__)

FollowOutput = StoredEvent | ResyncNeeded

_POSITION: Final = re.compile(rb"[0-9]{1,15}-[0-9]{1,16}")

_READS_PER_TURN: Final = 64
_HEADS_PER_TURN: Final = 256
_RETRY_S: Final = 0.1


def parse_page(reply: list[Any], asked: int) -> LedgerPage:
    """Read the reply of scripts/read.lua that was asked for *asked* entries."""
    epoch, head = reply[0].decode(), EventId(reply[1].decode() or START)
    events = []
    for id, fields in reply[2]:
        entry = dict(zip(fields[::2], fields[1::2], strict=True))
        events.append(
            LedgerEvent(
                EventId(id.decode()),
                EventId(entry.get(b"p", b"").decode("utf-8", "replace")),
                epoch,
                entry.get(b"d", b""),
            )
        )
    return LedgerPage(epoch, head, tuple(events), more=asked > 0 and len(events) >= asked)


def parse_message(payload: bytes) -> LedgerEvent | None:
    """Read what scripts/append.lua publishes; None for anything else."""
    parts = payload.split(b" ", 3)
    if len(parts) != 4 or not all(_POSITION.fullmatch(position) for position in parts[:2]):
        return None
    id, prev, epoch, body = parts
    return LedgerEvent(
        EventId(id.decode()), EventId(prev.decode()), epoch.decode("utf-8", "replace"), body
    )


class Following:
    """One follower and where its events go. ``close`` ends it; nothing is delivered after."""

    def __init__(
        self, owner: "Followers", core: Follower, sink: Callable[[FollowOutput], None]
    ) -> None:
        self._owner: Final = owner
        self.core: Final = core
        self._sink: Final = sink
        self.closed = False

    @property
    def room(self) -> RoomName:
        return self.core.room

    @property
    def position(self) -> EventId | None:
        """The last event handed on; None before the head was read."""
        return self.core.last

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._owner.forget(self)

    def carry_out(self, outputs: Iterable[FollowerOutput]) -> None:
        """Hand on what the core said. Never raises: the other followers share this task."""
        for output in outputs:
            if self.closed:
                return
            if isinstance(output, Recover):
                self._owner.recover(self, output)
            elif isinstance(output, ResyncNeeded):
                self._hand_on(output)
            else:
                self._deliver(output)

    def _deliver(self, output: Deliver) -> None:
        event = output.event
        try:
            stored = stored_event(event.id, event.prev, event.body)
        except PeerError as error:
            # The chain goes on behind it; the content is not ours to log.
            self._owner.counters["poison_events"] += 1
            _log.error("event %s of room %s is malformed: %s", event.id, self.room, error.code)
            return
        self._hand_on(stored)

    def _hand_on(self, output: FollowOutput) -> None:
        self._owner.counters["events_delivered"] += 1
        try:
            self._sink(output)
        except Exception:
            self._owner.counters["sink_faults"] += 1
            _log.exception("a follower of room %s failed", self.room)


class _Room:
    """All followers of one room, on one channel."""

    def __init__(self, counters: Counter[str]) -> None:
        self.followings: list[Following] = []
        self.channel: Final = Channel(self._message, self._confirmed)
        self._counters: Final = counters

    def _message(self, payload: bytes) -> None:
        event = parse_message(payload)
        if event is None:
            self._counters["poison_messages"] += 1
            return
        for following in tuple(self.followings):
            if not following.closed:
                following.carry_out(following.core.take(event))

    def _confirmed(self) -> None:
        for following in tuple(self.followings):
            if not following.closed:
                following.carry_out(following.core.subscribed())


class Followers:
    """All followers of one process. Call ``start`` once, ``close`` at the end."""

    def __init__(self, config: CenterConfig, link: Link, reads: Calls) -> None:
        self._config: Final = config
        self._link: Final = link
        self._reads: Final = reads
        self._rooms: Final[dict[RoomName, _Room]] = {}
        self._recoveries: Final[deque[tuple[Following, Recover]]] = deque()
        self._wake: Final = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.counters: Final[Counter[str]] = Counter()

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run_recoveries(), name="follower recoveries"),
            asyncio.create_task(self._run_head_checks(), name="follower head checks"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def count(self) -> int:
        return sum(len(room.followings) for room in self._rooms.values())

    def follow(
        self, name: RoomName, position: EventId | None, sink: Callable[[FollowOutput], None]
    ) -> Following:
        room = self._rooms.get(name)
        following = Following(self, Follower(name, position, self.counters), sink)
        if room is None:
            room = self._rooms[name] = _Room(self.counters)
            room.followings.append(following)
            self._link.add(keys.channel(name), room.channel)
        else:
            room.followings.append(following)
            if room.channel.confirmed:
                following.carry_out(following.core.subscribed())
        return following

    def forget(self, following: Following) -> None:
        room = self._rooms[following.room]
        room.followings.remove(following)
        if not room.followings:
            del self._rooms[following.room]
            self._link.discard(keys.channel(following.room))

    def recover(self, following: Following, wanted: Recover) -> None:
        self._recoveries.append((following, wanted))
        self._wake.set()

    async def _run_recoveries(self) -> None:
        while True:
            if not self._recoveries:
                self._wake.clear()
                await self._wake.wait()
            batch: list[tuple[Following, Recover]] = []
            while self._recoveries and len(batch) < _READS_PER_TURN:
                entry = self._recoveries.popleft()
                if not entry[0].closed:
                    batch.append(entry)
            if not await self._recover_some(batch):
                await asyncio.sleep(_RETRY_S * random.uniform(0.5, 1.0))

    async def _recover_some(self, batch: list[tuple[Following, Recover]]) -> bool:
        """Read for *batch* in one round trip. False: some were put back to be tried again."""
        replies = await self._answers(
            lambda: [
                self._reads.script(
                    lua.READ,
                    (keys.meta(following.room), keys.ledger(following.room)),
                    (wanted.after or START, PAGE_EVENTS if wanted.after is not None else 0),
                )
                for following, wanted in batch
            ]
        )
        if replies is None:
            self.counters["recover_failures"] += 1
            self._recoveries.extendleft(reversed(batch))
            return False
        for (following, wanted), reply in zip(batch, replies, strict=True):
            if following.closed:
                continue
            asked = PAGE_EVENTS if wanted.after is not None else 0
            page = parse_page(reply, asked)
            following.carry_out(following.core.recovered(page))
        return True

    async def _answers(self, submit: Callable[[], list["asyncio.Future[Any]"]]) -> list[Any] | None:
        """All replies, or None if any of them failed."""
        futures: list[asyncio.Future[Any]] = []
        try:
            futures = submit()
        except InfrastructureError:
            return None
        replies = await asyncio.gather(*futures, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, InfrastructureError):
                return None
            if isinstance(reply, BaseException):
                _log.error("a ledger read failed: %s", reply)
                return None
        return replies

    async def _run_head_checks(self) -> None:
        while True:
            # Spread, so that many processes do not ask in step.
            await asyncio.sleep(self._config.head_check_s * random.uniform(0.75, 1.25))
            live = [
                (following, following.core.last)
                for room in self._rooms.values()
                for following in room.followings
                if following.core.live
            ]
            for at in range(0, len(live), _HEADS_PER_TURN):
                await self._check_heads(live[at : at + _HEADS_PER_TURN])

    async def _check_heads(self, batch: list[tuple[Following, EventId | None]]) -> None:
        heads = await self._answers(
            lambda: [
                self._reads.submit(("HMGET", keys.meta(following.room), "epoch", "last"))
                for following, _ in batch
            ]
        )
        if heads is None:
            return
        for (following, asked_at), (epoch, head) in zip(batch, heads, strict=True):
            if not following.closed:
                following.carry_out(
                    following.core.head(
                        EventId(head.decode()) if head else START,
                        epoch.decode() if epoch else "",
                        asked_at,
                    )
                )
