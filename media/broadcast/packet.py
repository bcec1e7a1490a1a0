"""Core: one RTP packet's header (RFC 3550 5.1), and numbers that wrap."""

from dataclasses import dataclass
from typing import Final

_FIXED_HEADER_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """A plain RTP packet, its extensions and padding taken off."""

    payload_type: int
    marker: bool
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse_rtp(data: bytes) -> RtpPacket | None:
    """Return the packet in *data*, or None where it is not one."""
    if len(data) < _FIXED_HEADER_BYTES or data[0] >> 6 != 2:
        return None
    first, second = data[0], data[1]
    start = _FIXED_HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10:  # RFC 3550 5.3.1: one extension header, its length in words
        if len(data) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    end = len(data)
    if first & 0x20:  # the last byte counts the padding, itself included
        padding_bytes = data[-1]
        if padding_bytes == 0:
            return None
        end -= padding_bytes
    if start > end:
        return None
    return RtpPacket(
        payload_type=second & 0x7F,
        marker=bool(second & 0x80),
        sequence_number=int.from_bytes(data[2:4], "big"),
        timestamp=int.from_bytes(data[4:8], "big"),
        ssrc=int.from_bytes(data[8:12], "big"),
        payload=data[start:end],
    )


class Unwrapper:
    """Extends a counter of *bits* bits: each value is taken as the nearest to the last one."""

    def __init__(self, bits: int) -> None:
        self._modulus: Final = 1 << bits
        self._last: int | None = None

    def extend(self, value: int) -> int:
        """Return *value* extended, and remember it. The first is returned as it is."""
        extended = self.peek(value)
        self._last = extended
        return extended

    def peek(self, value: int) -> int:
        """Return *value* extended as ``extend`` would, without remembering it."""
        if self._last is None:
            return value
        half = self._modulus >> 1
        return self._last + (value - self._last + half) % self._modulus - half

    def forget(self) -> None:
        self._last = None
