"""The picture of a broadcast: from the tracks' packets to one steady H.264 rendition.

Two modes. *Passed through*: the one H.264 source of the room as it is (director.py says when).
*Composed*: 30 times a second the newest picture of the chosen source is put on a canvas and
encoded, whatever comes or does not come, so that the broadcast's picture always advances.
"""

import enum
from collections.abc import Sequence
from typing import Final

from coordinator.ids import Identity, TrackSid
from coordinator.model import TrackSource
from media.broadcast.canvas import EMPTY_SIZE, Canvas, fitting_size
from media.broadcast.codec import MAX_PICTURE_PIXELS, VideoEncoder
from media.broadcast.director import Director
from media.broadcast.nal import parse_sps
from media.broadcast.output import VIDEO_TIMESCALE, Output, parameter_sets_of
from media.broadcast.packet import RtpPacket
from media.broadcast.timeline import DELAY_S
from media.broadcast.video_source import PlacedFrame, VideoSource

FRAME_RATE_HZ: Final = 30
TICK_TICKS: Final = VIDEO_TIMESCALE // FRAME_RATE_HZ
_SETTLE_EMPTY_S: Final = 0.5
_SETTLE_S: Final = 1.5
"""How long the first picture is waited for, without and with a track that may bring one."""
_FIRST_SEGMENT_S: Final = 1.0
"""The first segment is short: players begin at the first complete one."""
_MAX_LAG_S: Final = 0.25
"""The composition skips ticks rather than fall further behind than this."""
_KEEP_PICTURE_S: Final = 1.0
"""A picture whose source has gone stays for this long while the next one's keyframe comes."""
_GROW_AFTER_S: Final = 5.0
"""A source must be larger than the canvas for this long before the canvas grows."""
_RESTLESS_S: Final = 10.0
"""Two changes of picture size within this time end the passing through."""
_PASSED_PEAK_BPS: Final = 4_000_000


class Mode(enum.Enum):
    SETTLING = "settling"
    PASSED = "passed"
    COMPOSED = "composed"


class VideoProgram:
    """Owns the video tracks, the director and the encoder; writes to *output*.

    All times are media time of the broadcast, in seconds.
    """

    def __init__(self, output: Output, *, start_s: float, segment_target_s: float) -> None:
        self._output: Final = output
        self._segment_target_s: Final = segment_target_s
        self._start_s: Final = start_s
        self._director = Director()
        self._sources: dict[TrackSid, VideoSource] = {}
        self._mode = Mode.SETTLING
        self._chosen: VideoSource | None = None
        """Whom the director wants."""
        self._shown: VideoSource | None = None
        """Whose picture is on the canvas."""
        self._lost_shown_at_s: float | None = None
        self._canvas: Canvas | None = None
        self._encoder: VideoEncoder | None = None
        self._next_tick = 0
        self._segment_start_ticks = 0
        self._segments = 0
        self._smaller_since_s: float | None = None
        self._last_parameter_change_s = float("-inf")
        self._asked_for_cut = False
        self.ticks_skipped = 0
        self.mode_changes = 0

    @property
    def mode(self) -> Mode:
        return self._mode

    @property
    def end_s(self) -> float:
        """When the last picture has been seen for as long as a picture is."""
        return (self._output.last_video_ticks + TICK_TICKS) / VIDEO_TIMESCALE

    def add(self, source: VideoSource, identity: Identity, kind: TrackSource, now: float) -> None:
        self._sources[source.sid] = source
        self._director.add(source.sid, identity, kind)
        self._follow(now)

    def remove(self, sid: TrackSid, now: float) -> None:
        self._director.remove(sid)
        self._follow(now)
        source = self._sources.pop(sid, None)
        if source is not None:
            self._forget_shown(source, now)
            source.release()

    def set_muted(self, sid: TrackSid, muted: bool, now: float) -> None:
        self._director.set_muted(sid, muted)
        source = self._sources.get(sid)
        if muted and source is not None:
            self._forget_shown(source, now)
        self._follow(now)

    def set_speaker(self, identity: Identity | None, now: float) -> None:
        self._director.set_speaker(identity)
        self._follow(now)

    def packets(
        self, sid: TrackSid, packets: list[RtpPacket], arrival_s: float, now: float
    ) -> None:
        """Take a track's packets, in the order of arrival."""
        source = self._sources.get(sid)
        if source is not None and source.engaged:
            self._frames(source, source.take(packets, arrival_s, now), now)

    def advance(self, now: float) -> None:
        """Do what is due at *now*."""
        self._follow(now)
        for source in list(self._sources.values()):
            if source.engaged:
                self._frames(source, source.poll(now), now)
        if self._mode is Mode.PASSED:
            self._check_passed(now)
        if self._mode is Mode.SETTLING:
            self._settle(now)
        if self._mode is Mode.COMPOSED:
            self._compose(now)

    def keyframes_wanted(self, now: float) -> list[TrackSid]:
        """The tracks whose senders are to be asked for a keyframe now."""
        wanted = [sid for sid, source in self._sources.items() if source.keyframe_due(now)]
        chosen = self._chosen
        if chosen is None or chosen.sid in wanted:
            return wanted
        if self._mode is Mode.PASSED:
            # WebRTC senders make keyframes only when asked: a moment before the segment is full.
            if not self._asked_for_cut and self._segment_age_s(now) > self._limit_s() - 0.1:
                self._asked_for_cut = True
                wanted.append(chosen.sid)
        elif not self._asked_for_cut and self._may_pass(chosen, now):
            self._asked_for_cut = True
            wanted.append(chosen.sid)
        return wanted

    # Who is shown.

    def _follow(self, now: float) -> None:
        sid = self._director.choose(now)
        chosen = None if sid is None else self._sources[sid]
        if chosen is not self._chosen:
            if self._mode is Mode.PASSED:
                self._leave_passed(now)
            if self._chosen is not None and self._chosen is not self._shown:
                self._chosen.release()
            self._chosen = chosen
            self._asked_for_cut = False
            if chosen is not None:
                chosen.engage()
        elif self._mode is Mode.PASSED and len(self._director.shown_tracks) > 1:
            self._leave_passed(now)

    def _forget_shown(self, source: VideoSource, now: float) -> None:
        if self._mode is Mode.PASSED and source is self._chosen:
            self._leave_passed(now)
        if source is self._shown:
            self._shown = None
            self._lost_shown_at_s = now

    def _frames(self, source: VideoSource, frames: list[PlacedFrame], now: float) -> None:
        for placed in frames:
            if placed.frame.keyframe and self._may_pass(source, now):
                self._begin_passed(source)
            if self._mode is Mode.PASSED and source is self._chosen:
                self._pass(source, placed, now)
            else:
                source.decode(placed)

    # Passed through.

    def _may_pass(self, source: VideoSource, now: float) -> bool:
        return (
            self._mode is not Mode.PASSED
            and source.h264
            and source is self._chosen
            and len(self._director.shown_tracks) == 1
            and source.trial.may_begin(now)
        )

    def _begin_passed(self, source: VideoSource) -> None:
        self._mode = Mode.PASSED
        self.mode_changes += 1
        source.stop_decoding()
        self._shown = source
        self._encoder = None

    def _pass(self, source: VideoSource, placed: PlacedFrame, now: float) -> None:
        nals, keyframe = placed.frame.units, placed.frame.keyframe
        if keyframe and self._output.parameters_changed(nals):
            # A sender that changes its size all the time would make a discontinuity each time.
            restless = now - self._last_parameter_change_s < _RESTLESS_S
            if self._output.started:
                self._last_parameter_change_s = now
            if restless or not _passable(nals):
                source.keep(placed)
                self._leave_passed(now, failed=True)
                return
        source.keep(placed)
        ticks = max(round(placed.time_s * VIDEO_TIMESCALE), self._output.last_video_ticks + 90)
        age_s = (ticks - self._segment_start_ticks) / VIDEO_TIMESCALE
        starts = keyframe and age_s >= 0.75 * self._limit_s()
        starts = starts or (keyframe and self._output.parameters_changed(nals))
        if starts:
            self._segment_begins(ticks)
        self._output.video(
            ticks, nals, keyframe=keyframe, starts_segment=starts, peak_bps=_PASSED_PEAK_BPS
        )

    def _check_passed(self, now: float) -> None:
        assert self._chosen is not None, "what is passed through was chosen"
        if not self._chosen.trial.may_go_on(now):
            self._leave_passed(now, failed=True)

    def _leave_passed(self, now: float, *, failed: bool = False) -> None:
        """Compose from here on, beginning with the picture that was passed through last."""
        source = self._chosen
        assert source is not None, "what is passed through was chosen"
        if failed:
            source.trial.failed()
        source.decode_kept()
        self._shown = source
        self._begin_composed(now)
        assert self._canvas is not None, "composing has a canvas"
        picture = source.picture_at(now)
        if picture is not None:
            self._canvas.draw(picture)

    # Composed.

    def _settle(self, now: float) -> None:
        waited_s = now - self._start_s
        chosen = self._chosen
        if chosen is None:
            ready = waited_s >= _SETTLE_EMPTY_S
        else:
            ready = waited_s >= _SETTLE_S or chosen.has_picture
        if ready:
            self._begin_composed(now)

    def _begin_composed(self, now: float) -> None:
        self._mode = Mode.COMPOSED
        self.mode_changes += 1
        self._asked_for_cut = False
        size, first_s = EMPTY_SIZE, now - DELAY_S
        for source in (self._chosen, self._shown):
            if source is not None and source.next_picture is not None:
                time_s, picture = source.next_picture
                size, first_s = fitting_size(picture.width, picture.height), max(first_s, time_s)
        self._use_canvas(size)
        first_ticks = max(
            int(first_s * VIDEO_TIMESCALE), self._output.last_video_ticks + TICK_TICKS
        )
        self._next_tick = -(-first_ticks // TICK_TICKS)

    def _use_canvas(self, size: tuple[int, int]) -> None:
        self._canvas = Canvas(*size)
        self._encoder = VideoEncoder(*size, frame_rate_hz=FRAME_RATE_HZ)
        self._smaller_since_s = None

    def _compose(self, now: float) -> None:
        due_tick = int((now - DELAY_S) * FRAME_RATE_HZ)
        behind = due_tick - self._next_tick
        if behind > _MAX_LAG_S * FRAME_RATE_HZ:
            self.ticks_skipped += behind
            self._next_tick = due_tick
        while self._next_tick <= due_tick:
            self._tick(self._next_tick)
            self._next_tick += 1

    def _tick(self, tick: int) -> None:
        ticks = tick * TICK_TICKS
        self._draw(ticks / VIDEO_TIMESCALE)
        assert self._canvas is not None, "composing has a canvas"
        assert self._encoder is not None, "composing has an encoder"
        age_s = (ticks - self._segment_start_ticks) / VIDEO_TIMESCALE
        fresh = self._encoder.frames == 0
        starts = fresh or age_s >= self._limit_s() - 0.001
        nals = self._encoder.encode(self._canvas.frame, ticks, keyframe=starts)
        if starts:
            self._segment_begins(ticks)
        self._output.video(
            ticks,
            nals,
            keyframe=starts,
            starts_segment=starts,
            peak_bps=self._encoder.max_bps,
        )

    def _draw(self, time_s: float) -> None:
        """Put what is to be seen at *time_s* on the canvas."""
        chosen = self._chosen
        picture = None if chosen is None else chosen.picture_at(time_s)
        if chosen is not self._shown and picture is not None:
            # The next one's picture is here: only now the old one may go.
            if self._shown is not None:
                self._shown.release()
            self._shown = chosen
        if picture is None and self._shown is not None:
            picture = self._shown.picture_at(time_s)
        assert self._canvas is not None, "composing has a canvas"
        if picture is not None:
            self._fit_canvas(picture.width, picture.height, time_s)
            self._canvas.draw(picture)
            self._lost_shown_at_s = None
        elif self._lost_shown_at_s is not None and (
            chosen is None or time_s - self._lost_shown_at_s > _KEEP_PICTURE_S
        ):
            self._canvas.clear()
            self._lost_shown_at_s = None

    def _fit_canvas(self, width: int, height: int, time_s: float) -> None:
        """Take a larger canvas for what is larger for a while; at once if nothing was drawn."""
        assert self._canvas is not None, "composing has a canvas"
        size = fitting_size(width, height)
        if not self._canvas.drawn and size != (self._canvas.width, self._canvas.height):
            self._use_canvas(size)
        elif 2 * size[0] * size[1] < 3 * self._canvas.width * self._canvas.height:
            self._smaller_since_s = None
        elif self._smaller_since_s is None:
            self._smaller_since_s = time_s
        elif time_s - self._smaller_since_s > _GROW_AFTER_S:
            self._use_canvas(size)

    # Segments.

    def _limit_s(self) -> float:
        return _FIRST_SEGMENT_S if self._segments <= 1 else self._segment_target_s

    def _segment_age_s(self, now: float) -> float:
        return now - self._segment_start_ticks / VIDEO_TIMESCALE

    def _segment_begins(self, ticks: int) -> None:
        self._segment_start_ticks = ticks
        self._segments += 1
        self._asked_for_cut = False


def _passable(nals: Sequence[bytes]) -> bool:
    """Whether players take these parameter sets: one SPS, 4:2:0 in 8 bits, of usual sizes."""
    sps, pps = parameter_sets_of(nals).sps, parameter_sets_of(nals).pps
    if len(sps) != 1 or not 0 < len(pps) <= 16 or any(len(nal) > 1024 for nal in (*sps, *pps)):
        return False
    try:
        found = parse_sps(sps[0])
        return found.eight_bit_420 and found.width * found.height <= MAX_PICTURE_PIXELS
    except ValueError:
        return False
