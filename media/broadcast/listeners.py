"""The announce socket: any number of web processes hear of each part (ANNOUNCE.md)."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from media.broadcast.announcement import (
    LISTENER_QUEUE_LINES,
    Change,
    RenditionName,
    State,
    encode_line,
)

_MAX_LISTENERS: Final = 256
_CLOSE_TIMEOUT_S: Final = 1.0


class _Listener:
    """One connection: a bounded queue and the task that empties it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer: Final = writer
        self.queue: Final[asyncio.Queue[bytes | None]] = asyncio.Queue(LISTENER_QUEUE_LINES)

    async def run(self) -> None:
        """Write what is queued until the end, or until the other side is gone."""
        with contextlib.suppress(ConnectionError):
            while (line := await self.queue.get()) is not None:
                self.writer.write(line)
                await self.writer.drain()

    def cut(self) -> None:
        """Drop the connection with all that waits."""
        self.writer.transport.abort()


class Listeners:
    """Serves the announce socket. ``state`` makes the first line without its renditions."""

    def __init__(self, state: Callable[[tuple[Change, ...]], State]) -> None:
        self._state: Final = state
        self._latest: dict[RenditionName, Change] = {}
        self._listeners: dict[_Listener, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None
        self.slow_listeners = 0
        """Cut off because their queue was full."""

    async def open(self, path: Path) -> None:
        # A line may be 1 MiB; what listeners send is not read beyond 64 KiB.
        self._server = await asyncio.start_unix_server(self._connected, path)

    async def close(self) -> None:
        """Let the listeners have what waits for them, for a second at most; then hang up."""
        assert self._server is not None, "closing follows opening"
        self._server.close()
        for listener in list(self._listeners):
            self._put(listener, None)
        if self._listeners:
            await asyncio.wait(self._listeners.values(), timeout=_CLOSE_TIMEOUT_S)
        for listener in list(self._listeners):
            listener.cut()
        tasks = list(self._listeners.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def announce(self, change: Change) -> None:
        """Queue *change* for everybody; who is too slow is cut off."""
        self._latest[change.rendition] = change
        line = encode_line(change)
        for listener in list(self._listeners):
            self._put(listener, line)

    def _put(self, listener: _Listener, line: bytes | None) -> None:
        try:
            listener.queue.put_nowait(line)
        except asyncio.QueueFull:
            self.slow_listeners += 1
            listener.cut()
            task = self._listeners.pop(listener, None)
            if task is not None:
                task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._listeners) >= _MAX_LISTENERS:
            writer.transport.abort()
            return
        listener = _Listener(writer)
        # State and registration in one step of the loop: no change falls between them.
        listener.queue.put_nowait(encode_line(self._state(tuple(self._latest.values()))))
        sending = asyncio.create_task(listener.run())
        self._listeners[listener] = sending
        try:
            await asyncio.wait(
                [sending, asyncio.create_task(_until_gone(reader))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._listeners.pop(listener, None)
            sending.cancel()
            writer.close()


async def _until_gone(reader: asyncio.StreamReader) -> None:
    """Read and ignore until the listener hangs up."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(4096):
            pass
