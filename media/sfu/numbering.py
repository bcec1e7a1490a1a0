"""How a subscription numbers what it sends. A sans-IO core.

A subscriber sees one unbroken sequence, whatever happens behind it: late start, pause, mute, a
switch to another publication, a publisher that numbers anew. Each unbroken stretch is a
``Segment``: constant offsets from the publisher's numbers.

An outgoing (ssrc, sequence) must stand for one plaintext only, ever: a nonce of AES-GCM used twice
gives the key away (RFC 7714 8.1). So segments never overlap, and a packet from before its segment
is not sent.
"""

from collections import deque
from typing import Final

from media.rtp.sequence import unwrap

SEGMENTS_MAX: Final = 8
"""Ended segments whose packets may still be asked for again."""


class Segment:
    """Outgoing number = publisher's extended number + ``offset``, from ``first`` on."""

    __slots__ = ("first", "last", "offset", "source", "timestamp_offset")

    def __init__(self, source: object, first: int, offset: int, timestamp_offset: int) -> None:
        self.source: Final = source
        """Whose numbers: a token of the publication that changes when it numbers anew."""
        self.first: Final = first
        """The first extended number of the publisher's that belongs to it."""
        self.offset: Final = offset
        self.timestamp_offset: Final = timestamp_offset
        self.last: int | None = None
        """The last one; None while it is open."""


class Numbering:
    """One subscription's segments. *clock_rate_hz* is the codec's."""

    def __init__(self, clock_rate_hz: int) -> None:
        self._clock_rate_hz = clock_rate_hz
        self._ended: deque[Segment] = deque(maxlen=SEGMENTS_MAX)
        self.current: Segment | None = None
        self._next = -1
        self._last_timestamp = 0
        self._last_at_s = 0.0

    @property
    def remembered(self) -> int:
        """Ended segments that NACKs can still reach."""
        return len(self._ended)

    def begin(self, source: object, extended: int, timestamp: int, now: float) -> Segment:
        """Open a segment at the publisher's packet *extended* with *timestamp*."""
        assert self.current is None, "end the open segment first"
        if self._next < 0:
            # Keep the publisher's numbers, so that subscribers share them; but below 2^15, so that
            # losing the first packets cannot hide a wrap from the receiver (RFC 3711 3.3.1).
            segment = Segment(source, extended, (extended & 0x7FFF) - extended, 0)
        else:
            segment = Segment(
                source,
                extended,
                self._next - extended,
                self._timestamp_offset(source, timestamp, now),
            )
        self.current = segment
        return segment

    def end(self, highest: int, timestamp: int, at_s: float) -> None:
        """Close the open segment, if any; *highest* is the newest number its source has had, with
        *timestamp*, at *at_s*."""
        segment = self.current
        if segment is None:
            return
        segment.last = max(highest, segment.first)
        self._next = segment.last + segment.offset + 1
        self._last_timestamp = (timestamp + segment.timestamp_offset) & 0xFFFFFFFF
        self._last_at_s = at_s
        self._ended.append(segment)
        self.current = None

    def locate(self, sequence: int, highest: int) -> tuple[Segment, int] | None:
        """Which segment sent *sequence*, and the publisher's number for it.

        *highest* is the newest number of the open segment's source. None if nothing was sent by
        that number, or too long ago.
        """
        if self.current is not None:
            near = highest + self.current.offset
        elif self._next >= 0:
            near = self._next - 1
        else:
            return None
        number = unwrap(sequence, near)
        if self.current is not None:
            extended = number - self.current.offset
            if self.current.first <= extended <= highest:
                return self.current, extended
        for segment in reversed(self._ended):
            extended = number - segment.offset
            if segment.last is not None and segment.first <= extended <= segment.last:
                return segment, extended
        return None

    def _timestamp_offset(self, source: object, timestamp: int, now: float) -> int:
        previous = self._ended[-1]
        if previous.source is source:
            return previous.timestamp_offset
        elapsed_ticks = max(1, round((now - self._last_at_s) * self._clock_rate_hz))
        return (self._last_timestamp + elapsed_ticks - timestamp) & 0xFFFFFFFF
