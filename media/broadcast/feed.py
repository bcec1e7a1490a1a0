"""The node's side of a broadcast: a worker process, and packets to it that hold up nobody.

The feed belongs to the node's event loop. Its calls never block: what the socket does not take at
once waits in a bounded queue; beyond that bound whole frames of video are dropped and counted, and
a keyframe is asked for. Sound is the last to go.
"""

import asyncio
import atexit
import contextlib
import os
import shutil
import socket
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec

from coordinator.ids import BroadcastSid, Identity, RoomName, TrackSid
from coordinator.model import TrackKind, TrackSource
from media.broadcast.directory import GRACE_S
from media.broadcast.feed_messages import (
    MAX_DATAGRAM_BYTES,
    AddTrack,
    Ended,
    KeyframeWanted,
    Live,
    RemoveTrack,
    SenderReport,
    SetMuted,
    SetSpeaker,
    Stop,
    ToWorker,
    decode_from_worker,
    encode_control,
    encode_media,
)
from media.broadcast.worker_arguments import WorkerArguments
from media.config import MediaConfig

MAX_WAITING_BYTES: Final = 4 << 20
"""Ten seconds of one 3 Mb/s video: a worker that is as late will not catch up by more."""
_AUDIO_EXTRA_BYTES: Final = 1 << 20
"""Sound may still wait when the queue is full of video."""
_MAX_WAITING_DATAGRAMS: Final = 8192
_STOP_TIMEOUT_S: Final = 5.0
_SOCKET_BUFFER_BYTES: Final = 1 << 20

_graves: Final[set[str]] = set()
"""Directories in their grace time; removed with the process if it ends before."""


class FeedObserver(Protocol):
    """Whom a feed tells. Called from the event loop; must not block."""

    def keyframe_wanted(self, track: TrackSid) -> None:
        """Ask the track's publisher for a keyframe."""

    def live(self, directory: str) -> None:
        """The broadcast can be played; once at most."""

    def ended(self, reason: str) -> None:
        """The broadcast is over: ``stopped`` or ``failed``; exactly once."""


@dataclass(frozen=True, slots=True)
class FeedTrack:
    """A published track as the worker needs to know it."""

    sid: TrackSid
    identity: Identity
    kind: TrackKind
    source: TrackSource
    mime: str
    payload_type: int
    clock_rate_hz: int
    channels: int | None = None
    fmtp: str = ""


@dataclass(slots=True)
class FeedStats:
    """Counters of one feed."""

    packets: int = 0
    dropped_packets: int = 0
    dropped_frames: int = 0


@dataclass(slots=True)
class _Track:
    number: int
    kind: TrackKind
    dropping_timestamp: bytes | None = None
    """RTP timestamp of the frame whose rest is dropped."""


class BroadcastFeed:
    """One broadcast of one room. Made by ``start``; over when the observer hears ``ended``."""

    def __init__(
        self,
        worker_socket: socket.socket,
        process: asyncio.subprocess.Process,
        observer: FeedObserver,
    ) -> None:
        self._socket: Final = worker_socket
        self._process: Final = process
        self._observer: Final = observer
        self._loop: Final = asyncio.get_running_loop()
        self._tracks: dict[TrackSid, _Track] = {}
        self._next_number = 0
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._writing = False
        self._directory: str | None = None
        self._said_ended = False
        self._closed = False
        self.stats: Final = FeedStats()
        self._loop.add_reader(worker_socket, self._read)
        self._watching: Final = self._loop.create_task(self._watch())

    @classmethod
    async def start(
        cls, config: MediaConfig, room: RoomName, sid: BroadcastSid, observer: FeedObserver
    ) -> "BroadcastFeed":
        """Start a worker for *room*; it is ready for tracks at once. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            for end in (ours, theirs):
                end.setblocking(False)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
            arguments = WorkerArguments(
                room=room,
                sid=sid,
                base=config.broadcast_dir,
                part_target_ms=config.part_target_ms,
                segment_target_ms=config.segment_target_ms,
                socket_fd=theirs.fileno(),
                parent_pid=os.getpid(),
            )
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "media.broadcast.worker",
                    msgspec.json.encode(arguments).decode(),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=_worker_environment(),
                )
            except BaseException:
                ours.close()
                raise
        return cls(ours, process, observer)

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def waiting_bytes(self) -> int:
        """What the worker's socket did not take yet."""
        return self._waiting_bytes

    def add_track(self, track: FeedTrack) -> None:
        """From now on packets of *track* may come."""
        self._next_number += 1
        self._tracks[track.sid] = _Track(self._next_number, track.kind)
        self._control(
            AddTrack(
                number=self._next_number,
                sid=track.sid,
                identity=track.identity,
                kind=track.kind,
                source=track.source,
                mime=track.mime,
                payload_type=track.payload_type,
                clock_rate_hz=track.clock_rate_hz,
                channels=track.channels,
                fmtp=track.fmtp,
            )
        )

    def remove_track(self, sid: TrackSid) -> None:
        if self._tracks.pop(sid, None) is not None:
            self._control(RemoveTrack(sid=sid))

    def set_muted(self, sid: TrackSid, muted: bool) -> None:
        if sid in self._tracks:
            self._control(SetMuted(sid=sid, muted=muted))

    def set_speaker(self, identity: Identity | None) -> None:
        """Who speaks; their picture is shown."""
        self._control(SetSpeaker(identity=identity))

    def sender_report(self, sid: TrackSid, ntp_s: float, rtp_timestamp: int) -> None:
        """A sender report of the track (RFC 3550 6.4.1)."""
        if sid in self._tracks:
            self._control(SenderReport(sid=sid, ntp_s=ntp_s, rtp_timestamp=rtp_timestamp))

    def packets(self, sid: TrackSid, packets: Sequence[bytes], arrival_s: float) -> None:
        """Take plain RTP packets of one track, in the order of arrival (CLOCK_MONOTONIC)."""
        track = self._tracks.get(sid)
        if track is None or self._closed:
            return
        self.stats.packets += len(packets)
        taken = packets if track.dropping_timestamp is None else self._after_drop(track, packets)
        if not taken:
            return
        for datagram in encode_media(track.number, arrival_s, taken):
            if self._full(track, len(datagram)):
                self._drop(sid, track, taken)
                return
            self._send(datagram)

    async def stop(self) -> None:
        """End the broadcast: the playlists get their end, the worker goes."""
        self._control(Stop())
        try:
            await asyncio.wait_for(asyncio.shield(self._watching), _STOP_TIMEOUT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._watching

    # What the queue can not take.

    def _full(self, track: _Track, size_bytes: int) -> bool:
        limit_bytes = MAX_WAITING_BYTES + (_AUDIO_EXTRA_BYTES if track.kind == "audio" else 0)
        return bool(self._waiting) and (
            self._waiting_bytes + size_bytes > limit_bytes
            or len(self._waiting) >= _MAX_WAITING_DATAGRAMS
        )

    def _drop(self, sid: TrackSid, track: _Track, packets: Sequence[bytes]) -> None:
        self.stats.dropped_packets += len(packets)
        if track.kind == "video":
            timestamps = list(dict.fromkeys(packet[4:8] for packet in packets))
            self.stats.dropped_frames += len(timestamps)
            track.dropping_timestamp = timestamps[-1]
            self._observer.keyframe_wanted(sid)

    def _after_drop(self, track: _Track, packets: Sequence[bytes]) -> Sequence[bytes]:
        """Leave out the rest of the frame that was dropped."""
        for index, packet in enumerate(packets):
            if packet[4:8] != track.dropping_timestamp:
                track.dropping_timestamp = None
                self.stats.dropped_packets += index
                return packets[index:]
        self.stats.dropped_packets += len(packets)
        return ()

    # The socket.

    def _control(self, message: ToWorker) -> None:
        if not self._closed:
            self._send(encode_control(message))

    def _send(self, datagram: bytes) -> None:
        if not self._waiting:
            try:
                self._socket.send(datagram)
            except BlockingIOError:
                pass
            except OSError:
                return  # the worker is gone; the watcher says so
            else:
                return
        self._waiting.append(datagram)
        self._waiting_bytes += len(datagram)
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._socket, self._flush)

    def _flush(self) -> None:
        while self._waiting:
            try:
                self._socket.send(self._waiting[0])
            except BlockingIOError:
                return
            except OSError:
                self._waiting.clear()
                break
            self._waiting_bytes -= len(self._waiting.popleft())
        self._waiting_bytes = 0 if not self._waiting else self._waiting_bytes
        self._writing = False
        self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        while True:
            try:
                datagram = self._socket.recv(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:
                datagram = b""
            if not datagram:
                self._loop.remove_reader(self._socket)
                return
            self._take(datagram)

    def _take(self, datagram: bytes) -> None:
        match decode_from_worker(datagram):
            case KeyframeWanted(sid=sid):
                if sid in self._tracks:
                    self._observer.keyframe_wanted(sid)
            case Live(directory=directory):
                self._directory = directory
                self._observer.live(directory)
            case Ended():
                self._said_ended = True

    # The end.

    async def _watch(self) -> None:
        await self._process.wait()
        if not self._closed:
            self._read()
            self._close()
            self._observer.ended("stopped" if self._said_ended else "failed")

    def _close(self) -> None:
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._waiting.clear()
        if self._directory is not None:
            _bury_later(self._loop, self._directory)


def _worker_environment() -> dict[str, str]:
    """Ours, and where our packages are: the worker imports them wherever we were started."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _bury_later(loop: asyncio.AbstractEventLoop, directory: str) -> None:
    """Remove *directory* after its grace time, or with this process."""
    _graves.add(directory)
    loop.call_later(GRACE_S, _bury, directory)


def _bury(directory: str) -> None:
    _graves.discard(directory)
    shutil.rmtree(directory, ignore_errors=True)


@atexit.register
def _bury_all() -> None:
    for directory in list(_graves):
        _bury(directory)
