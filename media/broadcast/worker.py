"""The broadcast worker: ``python -m media.broadcast.worker``, started by ``BroadcastFeed`` alone.

One event loop, thin: datagrams from the node into ``Broadcast``, its files to the directory, its
announcements to the listeners, its wishes back to the node. It lives as long as its node.
"""

import asyncio
import ctypes
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Final

import msgspec
import uvloop

from media.broadcast.announcement import Change, State
from media.broadcast.broadcast import MEDIA_START_S, Broadcast
from media.broadcast.codec import AAC_BIT_RATE_BPS, AAC_CONFIG
from media.broadcast.directory import BroadcastDirectory, base_directory, sweep
from media.broadcast.feed_messages import (
    MAX_DATAGRAM_BYTES,
    Ended,
    FromWorker,
    KeyframeWanted,
    Live,
    MediaDatagram,
    Stop,
    decode_to_worker,
    encode_control,
)
from media.broadcast.listeners import Listeners
from media.broadcast.output import Output, OutputSettings
from media.broadcast.rendition import Effect, RenditionTimes
from media.broadcast.worker_arguments import WorkerArguments

_PR_SET_PDEATHSIG: Final = 1
_STEP_S: Final = 0.015
"""How often the node's socket and the clocks are looked at: about half a frame. Nothing is gained
by waking up for each datagram: arrivals carry their time, and the mix is further behind."""
_MAX_DATAGRAMS_PER_STEP: Final = 256
_END_AFTER_S: Final = 0.7
"""Two parts: players have the last one before they hear of the end."""
_WINDOW_SEGMENTS: Final = 12
"""24 s: six target durations of 3 s before the skip boundary, and something to skip."""

log = logging.getLogger("tertulia.broadcast")


class _Files:
    """The sink of an output: the directory and the listeners."""

    def __init__(self, directory: BroadcastDirectory, listeners: Listeners) -> None:
        self._directory = directory
        self._listeners = listeners

    def apply(self, effects: Sequence[Effect]) -> None:
        self._directory.apply(effects)

    def announce(self, change: Change) -> None:
        self._listeners.announce(change)


class Worker:
    """Composes one broadcast and drives it."""

    def __init__(self, arguments: WorkerArguments, node: socket.socket) -> None:
        base = base_directory(arguments.base)
        self._node: Final = node
        self.swept = sweep(base, unix_now=time.time())
        self._directory: Final = BroadcastDirectory(base, arguments.sid)
        segment_target_s = arguments.segment_target_ms / 1000
        # Rounded up: ten frames at 30 Hz are a third of a millisecond more than 333 ms.
        part_target_s = (arguments.part_target_ms + 1) / 1000
        # One half more than the target: a keyframe that is passed through comes when it comes.
        target_duration_s = math.ceil(1.5 * segment_target_s)
        self._listeners: Final = Listeners(
            lambda renditions: State(
                broadcast=arguments.sid,
                room=arguments.room,
                target_duration_s=target_duration_s,
                part_target_s=part_target_s,
                ended=self._ended,
                renditions=renditions,
            )
        )
        now, unix_now = time.monotonic(), time.time()
        settings = OutputSettings(
            broadcast=arguments.sid,
            times=RenditionTimes(
                target_duration_s=target_duration_s,
                part_target_s=part_target_s,
                wallclock_offset_s=unix_now - MEDIA_START_S,
                window_segments=_WINDOW_SEGMENTS,
            ),
            # See ANNOUNCE.md: names are not used twice by a broadcast that begins again.
            first_msn=int(unix_now),
            # Another one after a restart too, but small: hls.js counts through them.
            first_discontinuity=int(unix_now) // 10 % 1000,
            audio_config=AAC_CONFIG,
            audio_bps=AAC_BIT_RATE_BPS,
        )
        self._output: Final = Output(settings, _Files(self._directory, self._listeners))
        self._broadcast: Final = Broadcast(self._output, now=now, segment_target_s=segment_target_s)
        self._live = False
        self._ended = False
        self._stopping = asyncio.Event()
        self._orphaned = False
        self.malformed_datagrams = 0

    async def run(self) -> None:
        """Work until the node says stop, or is gone."""
        loop = asyncio.get_running_loop()
        await self._listeners.open(self._directory.socket_path)
        loop.add_signal_handler(signal.SIGTERM, self._orphan)
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C is the node's to answer
        try:
            while not self._stopping.is_set():
                self._step()
                await asyncio.sleep(_STEP_S)
            if not self._orphaned:
                await self._finish()
            await self._listeners.close()
        finally:
            if self._live and not self._orphaned:
                self._directory.touch()  # the node removes it after a while
            else:
                self._directory.remove()
            if not self._orphaned:
                self._tell(Ended())

    def _orphan(self) -> None:
        self._orphaned = True
        self._stopping.set()

    def _read(self) -> None:
        """Take what the node sent; a bounded number, so that the clocks are looked at too."""
        for _ in range(_MAX_DATAGRAMS_PER_STEP):
            try:
                datagram = self._node.recv(MAX_DATAGRAM_BYTES + 1)
            except BlockingIOError:
                return
            except OSError:
                datagram = b""
            if not datagram:
                self._orphan()
                return
            self._take(datagram)
            if self._stopping.is_set():
                return

    def _take(self, datagram: bytes) -> None:
        now = time.monotonic()
        try:
            message = decode_to_worker(datagram)
        except (msgspec.DecodeError, ValueError):
            self.malformed_datagrams += 1
            return
        match message:
            case MediaDatagram():
                self._broadcast.media(message, now)
            case Stop():
                self._stopping.set()
            case _:
                self._broadcast.control(message, now)

    def _step(self) -> None:
        self._read()
        now = time.monotonic()
        self._broadcast.advance(now)
        for sid in self._broadcast.keyframes_wanted(now):
            self._tell(KeyframeWanted(sid=sid))
        if not self._live and self._output.playable:
            self._live = True
            self._tell(Live(directory=str(self._directory.path)))

    async def _finish(self) -> None:
        self._broadcast.close()
        if self._live:
            await asyncio.sleep(_END_AFTER_S)
        self._broadcast.end()
        self._ended = True

    def _tell(self, message: FromWorker) -> None:
        try:
            self._node.send(encode_control(message))
        except BlockingIOError:
            log.warning("the node does not read; %s was dropped", type(message).__name__)
        except OSError:
            self._orphan()


def _die_with_parent(parent_pid: int) -> None:
    """Let the kernel end us when the node ends, however it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit(0)  # it ended before we asked


async def _run(arguments: WorkerArguments, node: socket.socket) -> None:
    await Worker(arguments, node).run()


def main() -> None:
    arguments = msgspec.json.decode(sys.argv[1], type=WorkerArguments)
    _die_with_parent(arguments.parent_pid)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("libav").setLevel(logging.CRITICAL)  # noise of a peer is counted, not logged
    node = socket.socket(fileno=arguments.socket_fd)
    node.setblocking(False)
    uvloop.run(_run(arguments, node))


if __name__ == "__main__":
    main()
