"""Work for the outside, one piece after the other, bounded."""

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Final

from coordinator.errors import Fenced, InfrastructureError, PeerError

_log: Final = logging.getLogger(__name__)

Errand = Callable[[], Awaitable[object]]

_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)


class Errands:
    """Runs errands in their order on one task.

    With *patient*, an errand that meets an InfrastructureError is repeated until it succeeds (it
    must be idempotent); else it is dropped and counted. An errand refused with a PeerError is
    dropped: what it told of is over. When *limit* errands wait, the oldest is dropped and
    *overflowed* called. Fenced goes to *fenced* and ends the patience with all that wait.
    """

    def __init__(
        self,
        name: str,
        *,
        limit: int,
        patient: bool,
        counters: Counter[str],
        fenced: Callable[[], None] = lambda: None,
        overflowed: Callable[[], None] = lambda: None,
    ) -> None:
        self._name: Final = name
        self._limit: Final = limit
        self._patient: Final = patient
        self._counters: Final = counters
        self._fenced: Final = fenced
        self._overflowed: Final = overflowed
        self._waiting: deque[Errand] = deque()
        self._idle: Final = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def add(self, errand: Errand) -> None:
        """Run *errand* after those before it. Ignored once closed."""
        if self._closed:
            return
        if len(self._waiting) >= self._limit:
            self._waiting.popleft()
            self._counters[f"{self._name}_dropped"] += 1
            self._overflowed()
        self._waiting.append(errand)
        if self._task is None:
            self._idle.clear()
            self._task = asyncio.create_task(self._run(), name=self._name)

    async def settled(self, timeout_s: float) -> None:
        """Wait until nothing is left to do, or for *timeout_s*."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)

    async def close(self) -> None:
        """Drop what waits."""
        self._closed = True
        self._waiting.clear()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._idle.set()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._carry_out(self._waiting.popleft())
        finally:
            self._task = None
            self._idle.set()

    async def _carry_out(self, errand: Errand) -> None:
        attempt = 0
        while not self._closed:
            try:
                await errand()
                return
            except Fenced:
                self._counters["fenced"] += 1
                self._fenced()
                return
            except PeerError as refusal:
                self._counters[f"{self._name}_refused"] += 1
                _log.debug("%s: refused with %s", self._name, refusal.code)
                return
            except InfrastructureError as error:
                self._counters[f"{self._name}_failed"] += 1
                if not self._patient:
                    return
                _log.debug("%s: %s; trying again", self._name, error.code)
            await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            attempt += 1
