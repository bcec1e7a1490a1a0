"""What a receiver knows of one source: order, loss, jitter, what to ask for. A sans-IO core.

RFC 3550 6.4.1 and A.3 (reports), A.8 (jitter); RFC 4585 6.2.1 (NACK).
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from media.rtp.sequence import unwrap

REORDER_S: Final = 0.010
"""A gap may be mere reordering: ask only after this long."""
RETRY_S: Final = 0.060
"""Between two requests for one packet: a common round trip and the publisher's own delay."""
TRIES_MAX: Final = 6
MISSING_MAX: Final = 256
"""Beyond this a burst is not worth repairing; a keyframe is."""
RENUMBERED: Final = -1
RESTART_GAP: Final = 3000
"""A jump this large is a new numbering, not loss (MAX_DROPOUT of RFC 3550 A.1)."""


class ReportBlock(NamedTuple):
    """RFC 3550 6.4.1."""

    ssrc: int
    fraction_lost: int
    """Of 256, since the last report."""
    cumulative_lost: int
    highest: int
    """Extended highest sequence number, 32 bits."""
    jitter_ticks: int
    last_sr: int
    """Middle 32 bits of the last SR's NTP time; 0 for none."""
    delay_since_sr: int
    """In 1/65536 s."""


@dataclass(slots=True)
class _Missing:
    due_s: float
    tries: int = 0


class Reception:
    """One source's packets as they arrive. *clock_rate_hz* is its RTP clock."""

    def __init__(self, clock_rate_hz: int, *, repair: bool) -> None:
        self._clock_rate_hz = clock_rate_hz
        self._repair = repair
        self.missing: dict[int, _Missing] = {}
        self.highest = -1
        """The newest extended number; -1 before the first packet."""
        self.received = 0
        self.duplicates = 0
        self.restarts = 0
        self._base = 0
        self._expected_prior = 0
        self._received_prior = 0
        self._jitter_ticks = 0.0
        self._transit_ticks = 0.0
        self._jitter_timestamp = -1

    @property
    def started(self) -> bool:
        return self.highest >= 0

    def place(self, sequence: int, now: float) -> int:
        """The extended number of an arriving packet, and note of what is missing before it.

        RENUMBERED, and nothing changed, if it is so far off that the source numbers anew: the
        caller finishes with the old numbers, then calls ``restart``. The caller tells duplicates
        (it has the history) and calls ``count`` for what is none.
        """
        highest = self.highest
        if highest < 0:
            # One cycle of room below, so that packets older than the first stay positive.
            self.highest = self._base = sequence + (1 << 16)
            return self.highest
        delta = (sequence - highest) & 0xFFFF
        if delta == 1:
            self.highest = highest + 1
            return highest + 1
        extended = unwrap(sequence, highest)
        if extended > highest:
            if extended - highest > RESTART_GAP:
                return RENUMBERED
            self._note_gap(highest + 1, extended, now)
            self.highest = extended
        elif highest - extended > RESTART_GAP:
            return RENUMBERED
        elif self.missing:
            self.missing.pop(extended, None)
        return extended

    def count(self, timestamp: int, now: float) -> None:
        """Count a packet that is no duplicate, and follow the jitter (RFC 3550 A.8)."""
        self.received += 1
        if timestamp == self._jitter_timestamp:
            return  # a frame's packets leave together: only the first tells the network's part
        transit = now * self._clock_rate_hz - timestamp
        if self._jitter_timestamp >= 0:
            # Timestamps wrap; the difference is taken modulo 2^32 around zero.
            change = (transit - self._transit_ticks + 2147483648.0) % 4294967296.0 - 2147483648.0
            self._jitter_ticks += (abs(change) - self._jitter_ticks) / 16.0
        self._jitter_timestamp = timestamp
        self._transit_ticks = transit

    def due(self, now: float) -> list[int]:
        """Extended numbers to ask for now, each at most TRIES_MAX times."""
        asked = []
        for extended, missing in list(self.missing.items()):
            if missing.due_s > now:
                continue
            if missing.tries >= TRIES_MAX:
                del self.missing[extended]
                continue
            missing.tries += 1
            missing.due_s = now + RETRY_S
            asked.append(extended)
        return asked

    def next_due_s(self) -> float | None:
        """When ``due`` should be called next."""
        return min((missing.due_s for missing in self.missing.values()), default=None)

    def report(self, ssrc: int, last_sr: int, delay_since_sr: int) -> ReportBlock:
        """The block for the next receiver report; the interval begins anew (RFC 3550 A.3)."""
        expected = self.highest - self._base + 1 if self.started else 0
        lost_total = max(-0x800000, min(0x7FFFFF, expected - self.received))
        expected_interval = expected - self._expected_prior
        lost_interval = expected_interval - (self.received - self._received_prior)
        self._expected_prior = expected
        self._received_prior = self.received
        fraction = 0
        if expected_interval > 0 and lost_interval > 0:
            fraction = min(255, (lost_interval << 8) // expected_interval)
        return ReportBlock(
            ssrc,
            fraction,
            lost_total,
            (self.highest - (1 << 16)) & 0xFFFFFFFF,
            min(0xFFFFFFFF, int(self._jitter_ticks)),
            last_sr,
            delay_since_sr,
        )

    def restart(self, sequence: int) -> int:
        """Begin anew at *sequence*; the extended numbers go on growing."""
        extended = self.highest + 1 + ((sequence - self.highest - 1) & 0xFFFF)
        self.restarts += 1
        self.missing.clear()
        self.highest = self._base = extended
        self.received = self._expected_prior = self._received_prior = 0
        return extended

    def _note_gap(self, start: int, end: int, now: float) -> None:
        if not self._repair:
            return
        if len(self.missing) + end - start > MISSING_MAX:
            self.missing.clear()
            return
        due_s = now + REORDER_S
        for extended in range(start, end):
            self.missing[extended] = _Missing(due_s)
