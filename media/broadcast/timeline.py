"""Core: RTP timestamps of several senders on one clock, that of arrivals (monotonic seconds).

A track alone is placed by its arrivals: media time plus the least delay seen lately. Once sender
reports tell how a participant's tracks stand to one another (RFC 3550 6.4.1), all of them are
placed by the participant's own clock, so that lips and voice keep together whatever their delays.
"""

from typing import Final

from media.broadcast.packet import Unwrapper

DELAY_S: Final = 0.2
"""Mix and composition run this far behind the least delay: the jitter of a radio link, a
retransmission, and a node that had to wait for its core fit in."""
_BUCKET_S: Final = 5.0
"""The least delay is that of the last two buckets: clocks that drift apart are followed within
ten seconds, and one late packet moves nothing."""
_SLEW_S: Final = 0.001
"""How far the mapping moves per call; 3 to 5 % of a frame's time, not to be seen or heard."""
_JUMP_S: Final = 0.2
"""A mapping that is this wrong is not moved but set."""
_STEP_S: Final = 10.0
"""No delay changes by as much."""
_LATE_S: Final = 0.5
_LATE_PACKETS: Final = 10
"""When as many packets in a row are as late, the sender's clock has stepped back (it paused): wait
for no bucket to pass, place it anew."""
_MAX_DISAGREEMENT_S: Final = 1.5
"""Reports that place a track further than this from its arrivals are not believed."""


class LeastDelay:
    """The least of the differences told in the last 5 to 10 seconds."""

    def __init__(self) -> None:
        self.value: float | None = None
        self._previous: float | None = None
        self._current: float | None = None
        self._bucket_end_s = 0.0

    def add(self, difference: float, now: float) -> None:
        if self._current is None or now >= self._bucket_end_s:
            self._previous = self._current
            self._current = difference
            self._bucket_end_s = now + _BUCKET_S
        else:
            self._current = min(self._current, difference)
        self.value = self._current if self._previous is None else min(self._current, self._previous)


class ParticipantClock:
    """What one participant's tracks share: how far its wallclock is from our clock."""

    def __init__(self) -> None:
        self.delay = LeastDelay()
        self.reporting_tracks = 0


class TrackClock:
    """Places the RTP timestamps of one track. Feed it each packet, ask it for each frame."""

    def __init__(self, clock_rate_hz: int, participant: ParticipantClock) -> None:
        assert clock_rate_hz > 0, "a codec has a clock"
        self._rate_hz: Final = clock_rate_hz
        self._participant: Final = participant
        self._unwrapper = Unwrapper(32)
        self._delay = LeastDelay()
        self._report: tuple[float, int] | None = None
        self._offset_s: float | None = None
        self._late_packets = 0
        self.refused_reports = 0

    def packet(self, timestamp: int, arrival_s: float) -> None:
        """A packet of this timestamp came."""
        ticks = self._unwrapper.extend(timestamp)
        media_s = ticks / self._rate_hz
        if self._delay.value is not None:
            late_s = arrival_s - media_s - self._delay.value
            self._late_packets = self._late_packets + 1 if late_s > _LATE_S else 0
            if abs(late_s) > _STEP_S or self._late_packets >= _LATE_PACKETS:
                # A new random offset (a new ssrc), or a step: nothing known holds any more.
                self.restart()
        self._delay.add(arrival_s - media_s, arrival_s)
        sender_s = self._sender_time(ticks)
        if sender_s is not None:
            self._participant.delay.add(arrival_s - sender_s, arrival_s)

    def sender_report(self, ntp_s: float, timestamp: int) -> None:
        """A report said that *timestamp* was at *ntp_s* on the participant's wallclock."""
        if self._report is None:
            self._participant.reporting_tracks += 1
        self._report = (ntp_s, self._unwrapper.peek(timestamp))

    def restart(self) -> None:
        """The track's timestamps begin anew."""
        if self._report is not None:
            self._participant.reporting_tracks -= 1
            self._participant.delay = LeastDelay()
        self._delay = LeastDelay()
        self._late_packets = 0
        self._report = None
        self._offset_s = None

    def time_of(self, timestamp: int) -> float:
        """Return when *timestamp* is, in seconds on our clock. A packet came before."""
        media_s = self._unwrapper.peek(timestamp) / self._rate_hz
        target_s = self._target_offset_s()
        if self._offset_s is None or abs(target_s - self._offset_s) > _JUMP_S:
            self._offset_s = target_s
        else:
            self._offset_s += max(-_SLEW_S, min(_SLEW_S, target_s - self._offset_s))
        return media_s + self._offset_s

    def extended(self, timestamp: int) -> int:
        """Return *timestamp* in ticks that do not wrap. A packet came before."""
        return self._unwrapper.peek(timestamp)

    def _sender_time(self, ticks: int) -> float | None:
        if self._report is None:
            return None
        ntp_s, report_ticks = self._report
        return ntp_s + (ticks - report_ticks) / self._rate_hz

    def _target_offset_s(self) -> float:
        alone_s = self._delay.value
        assert alone_s is not None, "a packet comes before its frame"
        shared_s = self._participant.delay.value
        if self._report is None or shared_s is None or self._participant.reporting_tracks < 2:
            return alone_s
        ntp_s, report_ticks = self._report
        together_s = ntp_s - report_ticks / self._rate_hz + shared_s
        if abs(together_s - alone_s) > _MAX_DISAGREEMENT_S:
            self.refused_reports += 1
            return alone_s
        return together_s
