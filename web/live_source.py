"""Driver: one listener at a broadcast worker's socket, and those who wait for what it says."""

import asyncio
import logging
from pathlib import Path
from typing import Final

from coordinator.errors import InfrastructureError
from coordinator.ids import BroadcastSid, RoomName
from web.live_announcement import MAX_LINE_BYTES, Change, Heard, State, decode_line

log = logging.getLogger(__name__)

SOCKET_NAME: Final = "announce.sock"
RETRY_DELAYS_S: Final = (0.1, 0.3, 1.0)
"""A worker that cut us off is there again at once; one that died stays away."""


class LiveSource:
    """What one broadcast worker announces.

    ``heard`` is the latest; ``changed(rendition)`` is a future that is done at the next change of
    it. After ``gone`` no change will come: the worker died, or its socket is not on this machine.
    """

    def __init__(self, room: RoomName, sid: BroadcastSid, directory: Path) -> None:
        self.room: Final = room
        self.sid: Final = sid
        self.directory: Final = directory
        self.heard = Heard()
        self.gone = False
        self.last_used_s = 0.0
        self.asked_s = 0.0
        """When the room was last asked for a successor. Monotonic, both; the owner keeps them."""
        self._ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._changed: dict[str, asyncio.Future[None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def open(self, timeout_s: float) -> bool:
        """Start listening. Returns whether the full state was heard within *timeout_s*."""
        assert self._task is None, "a source is opened once"
        self._task = asyncio.create_task(self._run(), name=f"live {self.sid}")
        await asyncio.wait({self._ready}, timeout=timeout_s)
        return self._ready.done() and self._ready.result()

    async def close(self) -> None:
        """Stop listening; whoever waits is woken and finds ``gone``."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._give_up()

    def changed(self, rendition: str) -> asyncio.Future[None]:
        """A future shared by all who wait: never cancel it, wait with ``asyncio.wait``."""
        future = self._changed.get(rendition)
        if future is None or future.done():
            future = self._changed[rendition] = asyncio.get_running_loop().create_future()
        return future

    async def _run(self) -> None:
        failures = 0
        while failures < len(RETRY_DELAYS_S):
            if await self._listen():
                failures = 0
            if self._has_ended():
                break
            await asyncio.sleep(RETRY_DELAYS_S[failures])
            failures += 1
        self._give_up()

    def _has_ended(self) -> bool:
        return self.heard.ended

    async def _listen(self) -> bool:
        """Listen until the socket closes. Returns whether anything was heard."""
        try:
            reader, writer = await asyncio.open_unix_connection(
                self.directory / SOCKET_NAME, limit=MAX_LINE_BYTES
            )
        except OSError as error:
            log.info("broadcast %s: no announcements: %s", self.sid, error.strerror)
            return False
        heard_any = False
        try:
            while line := await reader.readline():
                heard_any = self._take(line) or heard_any
        except (OSError, ValueError, InfrastructureError) as error:
            # ValueError: a line longer than the limit.
            log.warning("broadcast %s: announcements broke off: %s", self.sid, error)
        finally:
            writer.close()
        return heard_any

    def _take(self, line: bytes) -> bool:
        message = decode_line(line)
        if message is None:
            return False
        self.heard.take(message)
        if isinstance(message, Change):
            self._wake(message.rendition)
        elif isinstance(message, State):
            for rendition in list(self._changed):
                self._wake(rendition)
            if not self._ready.done():
                self._ready.set_result(True)
        return True

    def _wake(self, rendition: str) -> None:
        future = self._changed.pop(rendition, None)
        if future is not None and not future.done():
            future.set_result(None)

    def _give_up(self) -> None:
        self.gone = True
        if not self._ready.done():
            self._ready.set_result(False)
        for rendition in list(self._changed):
            self._wake(rendition)
