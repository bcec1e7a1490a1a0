"""The pub/sub connection: which channels we want, what comes on them, and when it was confirmed.

One connection carries thousands of channels. After it broke, all of them are subscribed anew, and
each confirmation is told: it is the only sign that messages may have been lost before it.
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from redis.exceptions import ResponseError

from coordinator.config import CenterConfig
from coordinator.wire import Wire, WireDown

_log: Final = logging.getLogger(__name__)

_PING_S: Final = 1.0
_SILENCE_S: Final = 3.0
"""Nothing heard for three pings: the link only looks alive."""
_CHANNELS_PER_COMMAND: Final = 512
_MESSAGES_PER_TURN: Final = 64
"""Messages handed on before others on the loop get their turn."""
_CONNECT_TIMEOUT_S: Final = 2.0
_BACKOFF_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5)


class Channel:
    """What to do about one channel."""

    __slots__ = ("confirmed", "on_confirmed", "on_message")

    def __init__(
        self, on_message: Callable[[bytes], None], on_confirmed: Callable[[], None]
    ) -> None:
        self.on_message = on_message
        self.on_confirmed = on_confirmed
        self.confirmed = False


class Link:
    """The subscriptions of one process. Call ``start`` once, ``close`` at the end."""

    def __init__(self, config: CenterConfig, name: str) -> None:
        self._config: Final = config
        self._name: Final = name
        self._channels: Final[dict[bytes, Channel]] = {}
        self._changes: Final[deque[tuple[str, bytes]]] = deque()
        self._changed: Final = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._heard_at = 0.0
        self.counters: Final[Counter[str]] = Counter()

    def start(self) -> None:
        assert self._task is None, "started twice"
        self._task = asyncio.create_task(self._run(), name=f"link {self._name}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def add(self, name: str, channel: Channel) -> None:
        """Subscribe to *name*. Each confirmation calls ``on_confirmed``, then messages follow."""
        key = name.encode()
        assert key not in self._channels, f"channel {name} was added twice"
        self._channels[key] = channel
        self._change("SUBSCRIBE", key)

    def discard(self, name: str) -> None:
        key = name.encode()
        if self._channels.pop(key, None) is not None:
            self._change("UNSUBSCRIBE", key)

    def _change(self, verb: str, key: bytes) -> None:
        self._changes.append((verb, key))
        self._changed.set()

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                wire = await Wire.open(
                    self._config.url, name=self._name, timeout_s=_CONNECT_TIMEOUT_S
                )
                failures = 0
                self.counters["link_connected"] += 1
                try:
                    await self._converse(wire)
                finally:
                    await wire.close()
            except WireDown as down:
                self.counters["link_lost"] += 1
                _log.debug("pub/sub link lost: %s", down)
            for channel in self._channels.values():
                channel.confirmed = False
            step_s = _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
            failures += 1
            await asyncio.sleep(step_s * random.uniform(0.5, 1.0))

    async def _converse(self, wire: Wire) -> None:
        """Subscribe to everything wanted, then write changes and read until the wire breaks."""
        self._changes.clear()
        self._changes.extend(("SUBSCRIBE", key) for key in self._channels)
        self._changed.set()
        self._heard_at = asyncio.get_running_loop().time()
        tasks = {
            asyncio.create_task(self._write(wire), name="link write"),
            asyncio.create_task(self._read(wire), name="link read"),
            asyncio.create_task(self._watch(wire), name="link watch"),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        assert any(results), "a link task ended without a reason"

    async def _write(self, wire: Wire) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._changes:
                verb, keys = self._changes[0][0], list[bytes]()
                while (
                    self._changes
                    and self._changes[0][0] == verb
                    and len(keys) < _CHANNELS_PER_COMMAND
                ):
                    keys.append(self._changes.popleft()[1])
                await wire.send((verb, *keys))

    async def _watch(self, wire: Wire) -> None:
        """Notice a link that is open and silent: a paused server, a path that drops packets."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_PING_S)
            if loop.time() - self._heard_at > _SILENCE_S:
                raise WireDown(f"silent for {_SILENCE_S} s")
            await wire.send(("PING",))

    async def _read(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        turns = 0
        while True:
            push = await wire.read()
            self._heard_at = loop.time()
            if isinstance(push, ResponseError):
                raise WireDown(str(push))
            if isinstance(push, list) and len(push) == 3:
                self._push(push[0], push[1], push[2])
            turns += 1
            if turns % _MESSAGES_PER_TURN == 0:
                await asyncio.sleep(0)

    def _push(self, kind: bytes, name: bytes, payload: bytes) -> None:
        channel = self._channels.get(name)
        if channel is None:
            return
        try:
            if kind == b"message":
                self.counters["messages"] += 1
                channel.on_message(payload)
            elif kind == b"subscribe":
                channel.confirmed = True
                channel.on_confirmed()
        except Exception:
            # One receiver's fault must not deafen the others.
            self.counters["receiver_faults"] += 1
            _log.exception("a receiver of %s failed", name.decode("utf-8", "replace"))
