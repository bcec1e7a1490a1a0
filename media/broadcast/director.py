"""Core: whose picture the broadcast shows, and whether it can be passed through.

The picture follows the active speaker: their shared screen if they share one, else their camera.
A speaker without a picture changes nothing while the one shown can go on.

Passing H.264 through saves an encoder, but each change of source would be a discontinuity, at
which players stumble. So a source is passed through only while it is the only picture in the room
and its frames come as LL-HLS needs them: at least 20 a second without holes, a keyframe when one
is asked for, times that only grow. In every other case one encoder makes one steady rendition.
"""

from dataclasses import dataclass
from typing import Final

from coordinator.ids import Identity, TrackSid
from coordinator.model import TrackSource

HOLD_S: Final = 1.0
"""The least time between two changes of source: a cough is no change of speaker."""
MAX_FRAME_GAP_S: Final = 0.25
"""A frame that lasts longer breaks the part target (RFC 8216bis 4.4.4.9)."""
MAX_KEYFRAME_INTERVAL_S: Final = 3.0
"""Segments end at keyframes; one of more than 3.5 s would break the target duration of 3 s."""
_MIN_FRAME_RATE_HZ: Final = 20.0
"""15 % of a part of 0.333 s: so parts come out no shorter than 85 % of the target."""
_FIRST_TRIAL_S: Final = 10.0
_LONGEST_TRIAL_S: Final = 300.0


@dataclass(slots=True)
class _Candidate:
    identity: Identity
    source: TrackSource
    muted: bool


class Director:
    """Chooses a video track. Tell it of tracks and speakers, ask ``choose``."""

    def __init__(self) -> None:
        self._tracks: dict[TrackSid, _Candidate] = {}
        self._speaker: Identity | None = None
        self._chosen: TrackSid | None = None
        self._chosen_at_s = float("-inf")

    def add(self, track: TrackSid, identity: Identity, source: TrackSource) -> None:
        self._tracks[track] = _Candidate(identity, source, muted=False)

    def remove(self, track: TrackSid) -> None:
        self._tracks.pop(track, None)

    def set_muted(self, track: TrackSid, muted: bool) -> None:
        if track in self._tracks:
            self._tracks[track].muted = muted

    def set_speaker(self, identity: Identity | None) -> None:
        self._speaker = identity

    @property
    def shown_tracks(self) -> list[TrackSid]:
        """The tracks that have a picture now."""
        return [sid for sid, track in self._tracks.items() if not track.muted]

    def choose(self, now: float) -> TrackSid | None:
        """Return the track to show; None: nobody shows a picture."""
        wanted = self._wanted()
        if wanted == self._chosen:
            return wanted
        chosen_can_go_on = self._chosen in self.shown_tracks
        if chosen_can_go_on and now - self._chosen_at_s < HOLD_S:
            return self._chosen
        self._chosen, self._chosen_at_s = wanted, now
        return wanted

    def _wanted(self) -> TrackSid | None:
        shown = self.shown_tracks
        speakers = [sid for sid in shown if self._tracks[sid].identity == self._speaker]
        screens = [sid for sid in shown if self._tracks[sid].source == "screen_share"]
        for group in (
            [sid for sid in speakers if sid in screens],
            speakers,
            [sid for sid in shown if sid == self._chosen],
            screens,
            shown,
        ):
            if group:
                return group[0]
        return None


class PassthroughTrial:
    """Whether a source's frames fit to be passed through, and for how long they have.

    A source that failed is tried anew after 10 s, then 20, 40 ... of good frames, so that a
    source on the edge does not make a discontinuity every few seconds.
    """

    def __init__(self) -> None:
        self._needed_s = 0.0
        self._good_since_s: float | None = None
        self._last_frame_s = float("-inf")
        self._last_keyframe_s = float("-inf")
        self._mean_gap_s = 1 / 30

    def frame(self, time_s: float, *, keyframe: bool) -> None:
        """A frame with this media time came, in decode order."""
        gap_s = time_s - self._last_frame_s
        self._last_frame_s = time_s
        if keyframe:
            self._last_keyframe_s = time_s
        if self._good_since_s is None:
            self._good_since_s = time_s
            return
        self._mean_gap_s += (gap_s - self._mean_gap_s) / 30
        if not 0 < gap_s < MAX_FRAME_GAP_S or self._mean_gap_s > 1 / _MIN_FRAME_RATE_HZ:
            self._good_since_s = None

    def lost(self) -> None:
        """Frames are missing: there is nothing to pass through until the next keyframe."""
        self._good_since_s = None

    def may_begin(self, now: float) -> bool:
        """Whether passing through may begin, at a keyframe."""
        # A frame's media time may be a little ahead of now, as clocks are estimates.
        good_since_s = self._good_since_s
        return good_since_s is not None and now - good_since_s >= self._needed_s - 0.05

    def may_go_on(self, now: float) -> bool:
        """Whether what is passed through still fits."""
        return (
            self._good_since_s is not None
            and now - self._last_frame_s < MAX_FRAME_GAP_S
            and now - self._last_keyframe_s < MAX_KEYFRAME_INTERVAL_S
        )

    def failed(self) -> None:
        """It was passed through, and fits no more."""
        self._needed_s = min(_LONGEST_TRIAL_S, max(_FIRST_TRIAL_S, 2 * self._needed_s))
        self._good_since_s = None
