"""Core: packets of one RTP source in order, with a word where some are missing.

The node recovers losses by NACK, so a retransmission may come a round trip later than its
neighbours; the window waits for it a little, then says that it is lost.
"""

from dataclasses import dataclass
from typing import Final

from media.broadcast.packet import RtpPacket, Unwrapper

MAX_WAIT_S: Final = 0.1
"""How long a missing packet is waited for: a NACK's round trip over a common path."""
MAX_WAITING_PACKETS: Final = 512
"""A keyframe of 1080p is about 300 packets; more than this behind a gap is a gap."""
RESTART_DISTANCE: Final = 3000
"""RFC 3550 A.1 MAX_DROPOUT: a larger jump is a source that began anew."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Packets that will not come stood here."""


class ReorderWindow:
    """In: packets as they come. Out: each once, in order, ``Gap`` where some are missing."""

    def __init__(self, *, max_wait_s: float = MAX_WAIT_S) -> None:
        self._max_wait_s: Final = max_wait_s
        self._unwrapper = Unwrapper(16)
        self._ssrc: int | None = None
        self._expected: int | None = None
        self._waiting: dict[int, RtpPacket] = {}
        self._waiting_since_s = 0.0
        self.gaps = 0
        self.late_packets = 0
        """Came after they were given up, or twice."""

    def push(self, packet: RtpPacket, now: float) -> list[RtpPacket | Gap]:
        """Take one packet; return what is in order now."""
        if self._ssrc != packet.ssrc:
            begun_anew = self._ssrc is not None
            self._restart(packet)
            if begun_anew:
                self.gaps += 1
                return [Gap(), *self._drain()]
            return self._drain()
        assert self._expected is not None, "a source that is known has an expected packet"
        number = self._unwrapper.peek(packet.sequence_number)
        if abs(number - self._expected) > RESTART_DISTANCE:
            self._restart(packet)
            self.gaps += 1
            return [Gap(), *self._drain()]
        self._unwrapper.extend(packet.sequence_number)
        if number < self._expected or number in self._waiting:
            self.late_packets += 1
            return []
        if not self._waiting:
            self._waiting_since_s = now
        self._waiting[number] = packet
        released = self._drain()
        if len(self._waiting) >= MAX_WAITING_PACKETS:
            return released + self._skip(now)
        return released + self.poll(now)

    def poll(self, now: float) -> list[RtpPacket | Gap]:
        """Give up what was waited for long enough."""
        released: list[RtpPacket | Gap] = []
        while self._waiting and now - self._waiting_since_s >= self._max_wait_s:
            released += self._skip(now)
        return released

    def _restart(self, packet: RtpPacket) -> None:
        self._ssrc = packet.ssrc
        self._unwrapper.forget()
        self._expected = self._unwrapper.extend(packet.sequence_number)
        self._waiting = {self._expected: packet}

    def _drain(self) -> list[RtpPacket | Gap]:
        released: list[RtpPacket | Gap] = []
        assert self._expected is not None, "draining follows a packet"
        while (packet := self._waiting.pop(self._expected, None)) is not None:
            released.append(packet)
            self._expected += 1
        return released

    def _skip(self, now: float) -> list[RtpPacket | Gap]:
        self._expected = min(self._waiting)
        # What still waits behind the next gap has waited less; its time begins here, which is
        # at most one more wait.
        self._waiting_since_s = now
        self.gaps += 1
        return [Gap(), *self._drain()]
