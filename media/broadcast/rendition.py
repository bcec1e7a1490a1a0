"""Core: one rendition of a broadcast: which files there are, and what its playlist says.

Drained after each input: file effects in the order in which they are to be done, the change that
tells of them last.
"""

from dataclasses import dataclass
from typing import Final, Literal

from media.broadcast.announcement import Change
from media.broadcast.playlist import (
    MediaPlaylist,
    PartEntry,
    Report,
    SegmentEntry,
    render_delta,
    render_media,
)
from media.broadcast.segmenter import (
    PartEnded,
    SegmentEnded,
    SegmenterOutput,
    SegmentStarted,
)


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Write aside, then rename: the name appears with the whole content."""

    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class RemoveFile:
    name: str


Effect = WriteFile | RemoveFile


@dataclass(frozen=True, slots=True)
class RenditionTimes:
    """What all renditions of a broadcast share."""

    target_duration_s: int
    part_target_s: float
    wallclock_offset_s: float
    """Unix time of media time 0."""
    window_segments: int


class Rendition:
    """Takes what the segmenter says; keeps the window; renders."""

    def __init__(
        self,
        name: Literal["video", "audio"],
        *,
        timescale: int,
        times: RenditionTimes,
        first_discontinuity: int,
    ) -> None:
        self._name: Final = name
        self._timescale: Final = timescale
        self._times: Final = times
        self._segments: list[SegmentEntry] = []
        self._bodies: list[bytes] = []
        self._init_number = -1
        self._discontinuity_sequence = first_discontinuity
        self._expired: list[SegmentEntry] = []
        self._ended = False
        self.peak_segment_bps = 0

    @property
    def playlist_uri(self) -> str:
        return f"{self._name}.m3u8"

    @property
    def report(self) -> Report | None:
        """The last part there is; None before the first."""
        for segment in reversed(self._segments):
            if segment.parts:
                return Report(self.playlist_uri, segment.msn, len(segment.parts) - 1)
        return None

    @property
    def complete_msn(self) -> int:
        """The last complete segment; -1 before the first."""
        return max((s.msn for s in self._segments if s.complete), default=-1)

    def init(self, body: bytes) -> list[Effect]:
        """The segments that start from now on need this init section."""
        self._init_number += 1
        return [WriteFile(self._init_name(), body)]

    def take(self, outputs: list[SegmenterOutput]) -> tuple[list[Effect], bool]:
        """Take what one sample completed. True: the playlist has changed."""
        effects: list[Effect] = []
        changed = False
        for output in outputs:
            match output:
                case SegmentStarted():
                    self._start(output)
                case PartEnded():
                    effects += self._add_part(output)
                    changed = True
                case SegmentEnded():
                    effects += self._end_segment()
                    changed = True
        return effects, changed

    def end(self) -> None:
        """Nothing more comes: the next change is the last."""
        self._ended = True

    def change(self, others: list[Report]) -> Change:
        """Return what is true now. There is a part."""
        report = self.report
        assert report is not None, "a change tells of parts"
        segments = [segment for segment in self._segments if segment.parts]
        hint = None if self._ended else self._hint()
        playlist = MediaPlaylist(
            target_duration_s=self._times.target_duration_s,
            part_target_s=self._times.part_target_s,
            discontinuity_sequence=self._discontinuity_sequence,
            segments=segments,
            hint_uri=hint,
            reports=others,
        )
        return Change(
            rendition=self._name,
            msn=report.msn,
            part=report.part,
            complete_msn=self.complete_msn,
            hint=hint,
            playlist=render_media(playlist),
            delta=render_delta(playlist),
            ended=self._ended,
        )

    def _hint(self) -> str:
        last = self._segments[-1]
        if last.complete:
            # The broadcast was closed; its end is told in a moment.
            return self._part_name(last.msn + 1, 0)
        return self._part_name(last.msn, len(last.parts))

    def _init_name(self) -> str:
        return f"{self._name}-init-{self._init_number}.mp4"

    def _part_name(self, msn: int, index: int) -> str:
        return f"{self._name}-{msn}.{index}.m4s"

    def _start(self, started: SegmentStarted) -> None:
        assert self._init_number >= 0, "an init section comes before the first segment"
        media_s = started.start_ticks / self._timescale
        self._segments.append(
            SegmentEntry(
                msn=started.msn,
                init_uri=self._init_name(),
                discontinuity=started.discontinuity,
                start_wallclock_s=media_s + self._times.wallclock_offset_s,
                uri=f"{self._name}-{started.msn}.m4s",
            )
        )

    def _add_part(self, ended: PartEnded) -> list[Effect]:
        segment = self._segments[-1]
        assert (segment.msn, len(segment.parts)) == (ended.msn, ended.index), "parts in order"
        name = self._part_name(ended.msn, ended.index)
        duration_s = ended.duration_ticks / self._timescale
        segment.parts.append(PartEntry(duration_s, name, ended.independent))
        self._bodies.append(ended.body)
        return [WriteFile(name, ended.body)]

    def _end_segment(self) -> list[Effect]:
        segment = self._segments[-1]
        segment.complete = True
        body = b"".join(self._bodies)
        self._bodies = []
        self.peak_segment_bps = max(
            self.peak_segment_bps, int(8 * len(body) / max(0.1, segment.duration_s))
        )
        return [WriteFile(segment.uri, body), *self._expire()]

    def _expire(self) -> list[Effect]:
        """Let the window slide; remove what left it one playlist length ago (6.2.2)."""
        while len(self._segments) > self._times.window_segments:
            oldest = self._segments.pop(0)
            if self._segments[0].discontinuity:
                # 6.2.2: a discontinuity that has left the playlist is counted.
                self._discontinuity_sequence += 1
            self._expired.append(oldest)
        effects: list[Effect] = []
        while len(self._expired) > self._times.window_segments:
            gone = self._expired.pop(0)
            effects += [RemoveFile(part.uri) for part in gone.parts]
            effects.append(RemoveFile(gone.uri))
            still_needed = {s.init_uri for s in (*self._expired, *self._segments)}
            if gone.init_uri not in still_needed:
                effects.append(RemoveFile(gone.init_uri))
        return effects
