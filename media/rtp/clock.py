"""RTP time and wall-clock time of one source (RFC 3550 6.4.1). A sans-IO core.

Subscribers get sender reports in this node's time: each publisher's clock is moved by one constant
for all its tracks, so that what was captured together stays together, across a switch as well.
"""

from typing import Final

NTP_EPOCH_S: Final = 2208988800.0
"""1900 to 1970."""
STEP_S: Final = 0.5
"""A publisher's clock that moved by more than this against ours was set, not delayed."""


def ntp_to_s(ntp: int) -> float:
    """64-bit NTP time as seconds of the Unix epoch."""
    return ntp / 4294967296.0 - NTP_EPOCH_S


def s_to_ntp(seconds: float) -> int:
    """Seconds of the Unix epoch as 64-bit NTP time."""
    return int((seconds + NTP_EPOCH_S) * 4294967296.0) & 0xFFFFFFFFFFFFFFFF


class PublisherClock:
    """How far one publisher's wall clock is from ours; shared by its tracks."""

    def __init__(self) -> None:
        self._ahead_s: float | None = None

    def to_ours(self, theirs_s: float, our_wallclock_s: float) -> float:
        """*theirs_s*, heard at *our_wallclock_s*, on our clock."""
        ahead_s = theirs_s - our_wallclock_s
        if self._ahead_s is None or abs(ahead_s - self._ahead_s) > STEP_S:
            self._ahead_s = ahead_s
        return theirs_s - self._ahead_s


class SourceClock:
    """One source's pair of (wall clock, RTP timestamp), from its last sender report."""

    def __init__(self, clock_rate_hz: int) -> None:
        self.clock_rate_hz: Final = clock_rate_hz
        self._wallclock_s: float | None = None
        self._timestamp = 0

    @property
    def known(self) -> bool:
        return self._wallclock_s is not None

    def set(self, wallclock_s: float, timestamp: int) -> None:
        """*timestamp* was captured at *wallclock_s* (our clock)."""
        self._wallclock_s = wallclock_s
        self._timestamp = timestamp

    def timestamp_at(self, wallclock_s: float) -> int:
        """The RTP timestamp of *wallclock_s*; ``known`` must be true."""
        assert self._wallclock_s is not None, "no sender report yet"
        ticks = round((wallclock_s - self._wallclock_s) * self.clock_rate_hz)
        return (self._timestamp + ticks) & 0xFFFFFFFF
