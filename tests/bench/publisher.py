"""A synthetic camera: VP8-shaped packets, encrypted ahead of time, sent by the engine when due.

A payload holds ``MAGIC``, the packet's id and its due time, so that latency can be read from any
copy of it. The picture is noise; the descriptor and the frame header are true VP8 (RFC 7741), so a
server can find keyframes.
"""

import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.descriptions import PAYLOAD_TYPE
from tests.bench.endpoint import Endpoint
from tests.bench.engine import Engine
from tests.bench.reports import sender_report, wants_keyframe

MAGIC = b"tertBENC"
STAMP = struct.Struct("!8sIQ")
"""Magic, packet id, due time in monotonic nanoseconds."""
CLOCK_RATE_HZ = 90_000
JOIN_AHEAD_S = 0.025
"""While others join, packets are queued this far ahead: a requested keyframe leaves soon."""
MEASURE_AHEAD_S = 0.15
"""While measuring, this far: the generator may be late by as much without harm."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a publisher's packets leave."""

    packets_per_s: float
    frames_per_s: float
    payload_bytes: int
    bursts: bool
    """A frame's packets back to back; else one packet every 1/packets_per_s."""


class PacketIds:
    """Ids unique in a run; they index the engine's log of send times."""

    def __init__(self) -> None:
        self.next = 1

    def take(self) -> int:
        taken = self.next
        self.next += 1
        return taken


class TransmitQueueFull(RuntimeError):
    """The generator cannot keep the rate that was asked for."""


class Publisher:
    """Call :meth:`pump` often; :meth:`go` and :meth:`pause` say when packets leave."""

    def __init__(
        self, engine: Engine, ids: PacketIds, pace: Pace, ssrc: int, clock: Callable[[], float]
    ) -> None:
        self.ssrc = ssrc
        self.ahead_s = JOIN_AHEAD_S
        self.keyframes_requested = 0
        self._engine, self._ids, self._pace, self._clock = engine, ids, pace, clock
        self._endpoint: Endpoint | None = None
        self._noise = secrets.token_bytes(pace.payload_bytes)
        self._sequence = secrets.randbelow(20_000)
        self._base_ticks = secrets.randbits(31)
        self._picture_id = secrets.randbelow(0x7FFF)
        self._start_s = 0.0
        self._left = 0
        self._sent_since_go = 0
        self._frame = -1
        self._frame_ticks = 0
        self._is_keyframe = True
        self._want_keyframe = True
        self._octets = 0

    def use(self, endpoint: Endpoint) -> None:
        """From now on packets go through this transport."""
        self._endpoint = endpoint
        self.transmitter = self._engine.add_transmitter(endpoint.fd, endpoint.remote)

    def heard(self, rtcp: bytes) -> None:
        """RTCP from the server: a request for a keyframe is answered with the next packet."""
        if wants_keyframe(rtcp):
            self.keyframes_requested += 1
            self._want_keyframe = True

    def go(self, packets: int | None, start_s: float) -> None:
        """Send this many (None: until paused) from the monotonic time *start_s* on."""
        self._left = -1 if packets is None else packets
        self._sent_since_go, self._start_s, self._frame = 0, start_s, -1

    def pause(self) -> None:
        self._left = 0

    @property
    def idle(self) -> bool:
        """Nothing is left to queue and the queue is empty."""
        return not self._left and not self._engine.transmitted(self.transmitter).queued

    def pump(self) -> None:
        """Encrypt and queue all that is due up to :attr:`ahead_s` from now."""
        assert self._endpoint is not None, "use() comes first"
        pace, until_s = self._pace, self._clock() + self.ahead_s
        per_frame = pace.packets_per_s / pace.frames_per_s
        while self._left:
            k = self._sent_since_go
            frame = int(k / per_frame)
            offset_s = frame / pace.frames_per_s if pace.bursts else k / pace.packets_per_s
            due_s = self._start_s + offset_s
            if due_s > until_s:
                return
            first = frame != self._frame or self._want_keyframe
            last = int((k + 1) / per_frame) != frame or self._left == 1
            if first:
                self._begin_frame(frame, due_s)
            self._queue(self._endpoint, due_s, first=first, last=last)
            self._sent_since_go += 1
            self._left -= 1

    def _begin_frame(self, frame: int, due_s: float) -> None:
        self._frame = frame
        self._picture_id = (self._picture_id + 1) & 0x7FFF
        self._is_keyframe, self._want_keyframe = self._want_keyframe, False
        self._frame_ticks = (self._base_ticks + int(due_s * CLOCK_RATE_HZ)) & 0xFFFFFFFF

    def _queue(self, endpoint: Endpoint, due_s: float, *, first: bool, last: bool) -> None:
        packet_id, due_ns = self._ids.take(), int(due_s * 1e9)
        payload = self._payload(STAMP.pack(MAGIC, packet_id, due_ns), first=first)
        marker = 0x80 if last else 0
        header = struct.pack(
            "!BBHII",
            0x80,
            marker | PAYLOAD_TYPE,
            self._sequence & 0xFFFF,
            self._frame_ticks,
            self.ssrc,
        )
        self._sequence += 1
        self._octets += len(payload)
        packet = endpoint.protect(header + payload)
        if not self._engine.transmit(self.transmitter, due_ns, packet_id, packet):
            raise TransmitQueueFull("the generator cannot keep this rate")

    def _payload(self, stamp: bytes, *, first: bool) -> bytes:
        # RFC 7741 4.2: X, S on the frame's first packet; I with a 15-bit picture id.
        start = 0x10 if first else 0
        picture = bytes((0x80 | self._picture_id >> 8, self._picture_id & 0xFF))
        head = bytes((0x80 | start, 0x80)) + picture
        if first:  # RFC 6386 9.1: frame tag, and on keyframes start code and size
            tag = (1000 << 5) | (1 << 4) | (0 if self._is_keyframe else 1)
            head += struct.pack("<I", tag)[:3]
            if self._is_keyframe:
                head += b"\x9d\x01\x2a" + struct.pack("<HH", 640, 360)
        return head + stamp + self._noise[: self._pace.payload_bytes - len(head) - len(stamp)]

    def report(self) -> None:
        """Send a sender report, once something was sent."""
        if self._endpoint is not None and self._frame >= 0:
            ticks = (self._base_ticks + int(self._clock() * CLOCK_RATE_HZ)) & 0xFFFFFFFF
            self._endpoint.send_rtcp(
                sender_report(self.ssrc, time.time(), ticks, self._sequence, self._octets)
            )
