"""Leaves on their way to the ledger. None is lost while this process lives: while Redis is away it
is tried again and again; and should the process die, the reaper finds its participants."""

import asyncio
import logging
from collections import Counter
from typing import Final

from coordinator.errors import InfrastructureError, TertuliaError
from coordinator.ids import ParticipantSid, RoomName
from coordinator.model import LeaveReason
from coordinator.rooms import Rooms

_log: Final = logging.getLogger(__name__)

_FIRST_RETRY_S: Final = 0.1


class Departures:
    """Bounded by the participants of this process: each has one leave at most."""

    def __init__(self, rooms: Rooms, counters: Counter[str], *, longest_retry_s: float) -> None:
        self._rooms: Final = rooms
        self._counters: Final = counters
        self._longest_retry_s: Final = longest_retry_s
        self._under_way: Final[dict[ParticipantSid, asyncio.Task[None]]] = {}

    @property
    def count(self) -> int:
        """Leaves that are not recorded yet."""
        return len(self._under_way)

    def begin(self, room: RoomName, sid: ParticipantSid, reason: LeaveReason) -> None:
        """*sid* leaves. Told again while the first is under way: the first counts."""
        if sid not in self._under_way:
            task = asyncio.create_task(self._leave(room, sid, reason), name=f"leave {sid}")
            self._under_way[sid] = task
            task.add_done_callback(lambda _: self._under_way.pop(sid, None))

    async def recorded(self, sid: ParticipantSid | None = None, *, timeout_s: float) -> bool:
        """Wait until the leave of *sid* (None: all) is on the ledger; False: it goes on trying."""
        tasks = [task for key, task in self._under_way.items() if sid in (None, key)]
        if not tasks:
            return True
        _, pending = await asyncio.wait(tasks, timeout=timeout_s)
        return not pending

    async def drop(self) -> None:
        """Give up what is under way: the lease goes too, and the reaper does the rest."""
        tasks = tuple(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._counters["leaves_dropped"] += sum(task.cancelled() for task in tasks)

    async def _leave(self, room: RoomName, sid: ParticipantSid, reason: LeaveReason) -> None:
        pause_s = _FIRST_RETRY_S
        while True:
            try:
                await self._rooms.leave(room, sid, reason)
                return
            except InfrastructureError as error:
                self._counters["leaves_retried"] += 1
                _log.info("the leave of %s is not recorded yet: %s", sid, error.code)
            except TertuliaError as error:
                # The room is gone, and with it the participant.
                _log.debug("the leave of %s was refused: %s", sid, error.code)
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._longest_retry_s)
