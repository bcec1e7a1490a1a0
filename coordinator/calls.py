"""Commands to Redis in order: many callers, one connection, one batch in flight.

While a batch is under way the next one gathers, so a busy process sends large batches and an idle
one waits for nobody. When the connection breaks, calls are repeated in their order until their
deadline: scripts carry an idempotency key, so a repetition changes nothing. What must not be
repeated (PUBLISH of a request) says so.
"""

import asyncio
import contextlib
import random
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import (
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from coordinator.config import CenterConfig
from coordinator.errors import InfrastructureError
from coordinator.lua import ALL, Script
from coordinator.wire import Command, Wire, WireDown

_MAX_BATCH: Final = 256
"""Commands per round trip: at 10-50 us each, Redis is ours for 10 ms at most."""
_MAX_WAITING: Final = 20_000
_WIRE_TIMEOUT_S: Final = 2.0
"""A local Redis answers in a millisecond; one that is silent so long is away."""
_FAIL_FAST_S: Final = 0.5
"""Redis away for longer: calls fail at once instead of waiting for their deadline."""
_UNABLE: Final = (OutOfMemoryError, ReadOnlyError, MasterDownError)
_UNABLE_WORDS: Final = ("OOM", "READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "BUSY")
"""Redis answers, but refuses: full, a replica, a disk that fails."""
_BACKOFF_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5)


class _Call:
    """One command and who waits for it."""

    __slots__ = ("command", "expiry", "future", "repeatable")

    def __init__(self, command: Command, future: "asyncio.Future[Any]", repeatable: bool) -> None:
        self.command = command
        self.future = future
        self.repeatable = repeatable
        self.expiry: asyncio.TimerHandle | None = None

    def settle(self, result: Any) -> None:
        if self.expiry is not None:
            self.expiry.cancel()
        if self.future.done():
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
            # Seen: nobody need await a call whose result does not matter.
            self.future.exception()
        else:
            self.future.set_result(result)


def _away(why: str) -> InfrastructureError:
    """*why* stands in tracebacks only: details travel to strangers, and it may name our address."""
    error = InfrastructureError("center_unavailable")
    error.add_note(why)
    return error


def _explained(reply: ResponseError) -> Exception:
    """An error reply: Redis cannot write now, or a bug of ours."""
    if isinstance(reply, _UNABLE) or str(reply).startswith(_UNABLE_WORDS):
        return _away(str(reply))
    return reply


class Calls:
    """The command connection of one process. Call ``start`` once, ``close`` at the end."""

    def __init__(self, config: CenterConfig, name: str) -> None:
        self._config: Final = config
        self._name: Final = name
        self._queue: deque[_Call] = deque()
        self._wake: Final = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._wire: Wire | None = None
        self._away_since: float | None = None
        self._why = "not connected yet"
        self.counters: Final[Counter[str]] = Counter()

    def start(self) -> None:
        assert self._task is None, "started twice"
        self._task = asyncio.create_task(self._run(), name=f"calls {self._name}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._wire is not None:
            await self._wire.close()
            self._wire = None
        self._fail_all(_away("this process is ending"))

    @property
    def connected(self) -> bool:
        return self._wire is not None

    def submit(
        self, command: Command, *, repeatable: bool = True, timeout_s: float | None = None
    ) -> "asyncio.Future[Any]":
        """Enqueue *command*; the future has its reply.

        Its errors: InfrastructureError("center_unavailable"), or redis' ResponseError for an error
        reply (a bug of ours). Commands run in the order in which they were submitted.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._task is None or self._task.done():
            raise _away("not started")
        if self._away_since is not None and loop.time() - self._away_since > _FAIL_FAST_S:
            self.counters["refused_away"] += 1
            raise _away(self._why)
        if len(self._queue) >= _MAX_WAITING:
            self.counters["refused_full"] += 1
            raise _away(f"{_MAX_WAITING} calls are waiting")
        call = _Call(command, future, repeatable)
        limit_s = min(self._config.request_timeout_s, _WIRE_TIMEOUT_S)
        call.expiry = loop.call_later(timeout_s or limit_s, self._expire, call)
        self._queue.append(call)
        self._wake.set()
        return future

    def script(
        self, script: Script, keys: Sequence[str], args: Sequence[bytes | str | int]
    ) -> "asyncio.Future[Any]":
        """Enqueue a script run. See ``submit``."""
        return self.submit(("EVALSHA", script.sha, len(keys), *keys, *args))

    def _expire(self, call: _Call) -> None:
        self.counters["expired"] += 1
        call.settle(_away("no answer in time"))

    def _fail_all(self, error: InfrastructureError) -> None:
        queue, self._queue = self._queue, deque()
        for call in queue:
            call.settle(error)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                if self._wire is None:
                    await self._connect()
                if not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                await self._send_some()
                failures = 0
            except WireDown as down:
                self._lost(down)
                step_s = _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
                failures += 1
                await asyncio.sleep(step_s * random.uniform(0.5, 1.0))

    def _lost(self, down: WireDown) -> None:
        self.counters["disconnected"] += 1
        self._wire = None
        self._why = str(down)
        now = asyncio.get_running_loop().time()
        if self._away_since is None:
            self._away_since = now
        elif now - self._away_since > _FAIL_FAST_S:
            self._fail_all(_away(self._why))

    async def _connect(self) -> None:
        wire = await Wire.open(self._config.url, name=self._name, timeout_s=_WIRE_TIMEOUT_S)
        try:
            await wire.call([("SCRIPT", "LOAD", script.text) for script in ALL], timeout_s=5.0)
        except WireDown:
            await wire.close()
            raise
        self._wire = wire
        self._away_since = None
        self.counters["connected"] += 1

    async def _send_some(self) -> None:
        """One round trip. A call leaves the queue's head only with its result."""
        assert self._wire is not None
        batch: list[_Call] = []
        while self._queue and len(batch) < _MAX_BATCH:
            call = self._queue.popleft()
            if not call.future.done():
                batch.append(call)
        if not batch:
            return
        try:
            replies = await self._wire.call(
                [call.command for call in batch], timeout_s=_WIRE_TIMEOUT_S
            )
        except WireDown as down:
            for call in batch:
                if not call.repeatable:
                    call.settle(_away(str(down)))
            self._queue.extendleft(reversed([call for call in batch if call.repeatable]))
            raise
        except asyncio.CancelledError:
            for call in batch:
                call.settle(_away("this process is ending"))
            raise
        self.counters["batches"] += 1
        self.counters["commands"] += len(batch)
        await self._settle(batch, replies)

    async def _settle(self, batch: list[_Call], replies: list[Any]) -> None:
        """Hand out *replies*; what failed for want of its script goes first in the next batch, in
        order: a flush strikes all scripts at once, so nothing behind it overtook it."""
        again: list[_Call] = []
        for call, reply in zip(batch, replies, strict=True):
            if isinstance(reply, NoScriptError):
                again.append(call)
            else:
                if isinstance(reply, ResponseError):
                    self.counters["error_replies"] += 1
                    reply = _explained(reply)
                call.settle(reply)
        if again:
            self.counters["scripts_reloaded"] += 1
            self._queue.extendleft(reversed(again))
            assert self._wire is not None
            await self._wire.call(
                [("SCRIPT", "LOAD", script.text) for script in ALL], timeout_s=5.0
            )
