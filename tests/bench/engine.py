"""The packet engine from Python: builds ``engine.c`` on first use and owns its two threads.

From the moment a socket is given to the engine, the engine alone reads it; control datagrams come
back through callbacks on the event loop. One engine per process (its state is global).
"""

import asyncio
import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NewType

Address = tuple[str, int]
SocketIndex = NewType("SocketIndex", int)
TransmitterIndex = NewType("TransmitterIndex", int)

SOURCE = Path(__file__).with_name("engine.c")
MAX_SOURCES = 8
LATE_BUCKETS = 20
MAX_DATAGRAM_BYTES = 2048
CONTROL_PER_TURN = 256
"""Control datagrams handled before the event loop gets its turn."""


def built_library() -> Path:
    """The shared library for this source, compiled into the user's cache if it is not there."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(cache_home) / "tertulia-bench"
    cache.mkdir(parents=True, exist_ok=True)
    library = cache / f"engine-{SOURCE.stat().st_mtime_ns}.so"
    if not library.exists():
        fresh = library.with_suffix(f".{os.getpid()}")
        compiler = os.environ.get("CC", "cc")
        flags = ["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-pthread"]
        subprocess.run([compiler, *flags, "-o", fresh, SOURCE], check=True)
        fresh.replace(library)
    return library


class SocketCounters(NamedTuple):
    """Datagrams of one socket since it was added."""

    media: int
    """RTP of at least the size that was asked for."""
    other_rtp: int
    rtcp: int
    control: int
    first_ns: int
    """Wallclock arrival of the first media packet; 0: none yet."""
    sources: int


class SourceCounters(NamedTuple):
    """One synchronization source on one socket."""

    ssrc: int
    highest_sequence: int
    """Extended by the cycles."""
    received: int


class Transmitted(NamedTuple):
    """One transmitter's packets since it was added."""

    sent: int
    errors: int
    queued: int


class Lateness(NamedTuple):
    """How far behind its due time packets left; says whether a run can be trusted."""

    p99_us_at_most: int
    max_us: int


class Captured(NamedTuple):
    """One datagram as it came, with the kernel's wallclock arrival time."""

    socket: SocketIndex
    arrival_ns: int
    datagram: bytes


@dataclass(frozen=True, slots=True)
class _Reader:
    control: Callable[[bytes, Address], None]
    rtcp: Callable[[bytes], None] | None


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    u64, u32, i32, text = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int, ctypes.c_char_p
    library.engine_open.argtypes = [u64]
    library.transmit_open.argtypes = [u64, i32]
    library.receiver_add.argtypes = [i32, u32, i32, i32]
    library.transmitter_add.argtypes = [i32, text, i32]
    library.transmit.argtypes = [i32, u64, u32, text, i32]
    library.transmit_time_ns.argtypes = [u32]
    library.transmit_time_ns.restype = u64
    library.control_dropped.restype = u64
    library.capture_read.restype = ctypes.c_void_p
    return library


class Engine:
    """Sockets to count on, transmitters to send by, and what they counted."""

    def __init__(
        self,
        *,
        capture_bytes: int = 64 << 20,
        max_packet_ids: int = 1 << 22,
        transmit_nice: int = -10,
    ) -> None:
        self._library = _load(built_library())
        self._event_fd: int = self._library.engine_open(capture_bytes)
        self._library.transmit_open(max_packet_ids, transmit_nice)
        self._readers: dict[SocketIndex, _Reader] = {}
        self._meta = (ctypes.c_int32 * 3)()
        self._datagram = ctypes.create_string_buffer(MAX_DATAGRAM_BYTES)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let *loop* carry control datagrams to their sockets' callbacks."""
        loop.add_reader(self._event_fd, self._carry_control)

    def close(self) -> None:
        """End both threads. The counters stay readable."""
        self._library.engine_close()

    def _carry_control(self) -> None:
        os.read(self._event_fd, 8)
        for _ in range(CONTROL_PER_TURN):
            length = self._library.control_pop(self._meta, self._datagram)
            if length < 0:
                return
            reader = self._readers.get(SocketIndex(self._meta[0]))
            if reader is None:
                continue
            data = self._datagram.raw[:length]
            if 128 <= data[0] <= 191:
                if reader.rtcp is not None:
                    reader.rtcp(data)
            else:
                host = socket.inet_ntoa(struct.pack("=i", self._meta[1]))
                reader.control(data, (host, self._meta[2]))
        os.write(self._event_fd, struct.pack("=Q", 1))  # more wait: come back after the others

    # -- receive -----------------------------------------------------------------------------
    def add_socket(
        self,
        fd: int,
        *,
        min_bytes: int,
        capture: bool = False,
        control: Callable[[bytes, Address], None],
        rtcp: Callable[[bytes], None] | None = None,
    ) -> SocketIndex:
        """Take over reading *fd*; RTP from *min_bytes* on counts as media."""
        index = self._library.receiver_add(fd, min_bytes, int(capture), int(rtcp is not None))
        if index < 0:
            raise RuntimeError("the packet engine takes no more sockets")
        self._readers[SocketIndex(index)] = _Reader(control, rtcp)
        return SocketIndex(index)

    def remove_socket(self, index: SocketIndex) -> None:
        """Stop reading; must be called before the descriptor is closed."""
        self._library.receiver_remove(index)
        self._readers.pop(index, None)

    def counters(self, index: SocketIndex) -> SocketCounters:
        out = (ctypes.c_uint64 * 6)()
        self._library.receiver_counters(index, out)
        return SocketCounters(*out)

    def sources(self, index: SocketIndex) -> list[SourceCounters]:
        out = (ctypes.c_uint64 * (3 * MAX_SOURCES))()
        count = self._library.receiver_sources(index, out)
        return [SourceCounters(*out[3 * k : 3 * k + 3]) for k in range(count)]

    def nap(self, microseconds: int) -> None:
        """Let the receive thread sleep this long between polls (0: not at all)."""
        self._library.receive_nap(microseconds)

    def stop_capture(self) -> None:
        self._library.capture_stop()

    def captured(self) -> Iterator[Captured]:
        """All captured datagrams in order of arrival at the engine."""
        length = ctypes.c_uint64()
        pointer = self._library.capture_read(ctypes.byref(length))
        raw = ctypes.string_at(pointer, length.value)
        at = 0
        while at < len(raw):
            index, size, arrival_ns = struct.unpack_from("=IIQ", raw, at)
            yield Captured(SocketIndex(index), arrival_ns, raw[at + 16 : at + 16 + size])
            at += 16 + size

    @property
    def control_dropped(self) -> int:
        """Control datagrams that found the ring full."""
        return int(self._library.control_dropped())

    # -- transmit ----------------------------------------------------------------------------
    def add_transmitter(self, fd: int, to: Address) -> TransmitterIndex:
        index = self._library.transmitter_add(fd, to[0].encode(), to[1])
        if index < 0:
            raise RuntimeError("the packet engine takes no more transmitters")
        return TransmitterIndex(index)

    def transmit(self, by: TransmitterIndex, due_ns: int, packet_id: int, packet: bytes) -> bool:
        """Queue *packet* for the monotonic time *due_ns*; False: the queue is full."""
        queued = self._library.transmit(by, due_ns, packet_id, packet, len(packet))
        return bool(queued == 0)

    def transmitted(self, index: TransmitterIndex) -> Transmitted:
        out = (ctypes.c_uint64 * 3)()
        self._library.transmitter_counters(index, out)
        return Transmitted(*out)

    def transmit_time_ns(self, packet_id: int) -> int:
        """Wallclock just before sendto(); 0: not sent."""
        return int(self._library.transmit_time_ns(packet_id))

    def lateness(self, *, reset: bool = False) -> Lateness:
        out = (ctypes.c_uint64 * (LATE_BUCKETS + 1))()
        self._library.transmit_lateness(out, int(reset))
        counts, max_us = list(out)[:LATE_BUCKETS], out[LATE_BUCKETS]
        total, seen = sum(counts), 0
        for bucket, count in enumerate(counts):
            seen += count
            if total and seen >= 0.99 * total:
                return Lateness(1 << bucket, max_us)
        return Lateness(0, max_us)
