"""Core: the two renditions of a broadcast, kept in step.

The picture decides where segments begin; the sound's segments begin at the first AAC frame from
there on, with the same media sequence numbers and the same discontinuities (RFC 8216bis 6.2.4:
matching content has matching discontinuity sequence numbers).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from media.broadcast.announcement import Change
from media.broadcast.fmp4 import avc1_entry, init_section, mp4a_entry
from media.broadcast.nal import (
    NAL_DELIMITER,
    NAL_PPS,
    NAL_SPS,
    join_length_prefixed,
    nal_type,
    parse_sps,
)
from media.broadcast.playlist import QUERY_MARKER, Variant, render_multivariant
from media.broadcast.rendition import Effect, Rendition, RenditionTimes
from media.broadcast.segmenter import Segmenter

VIDEO_TIMESCALE: Final = 90_000
AUDIO_TIMESCALE: Final = 48_000
AUDIO_FRAME_SAMPLES: Final = 1024
AUDIO_CODEC: Final = "mp4a.40.2"
_NOT_IN_SAMPLES: Final = frozenset({NAL_SPS, NAL_PPS, NAL_DELIMITER})


class Sink(Protocol):
    """Where files and announcements go."""

    def apply(self, effects: Sequence[Effect]) -> None:
        """Do all of *effects* before returning."""

    def announce(self, change: Change) -> None:
        """Tell the listeners; never blocks."""


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """What does not change while a broadcast lasts."""

    broadcast: str
    times: RenditionTimes
    first_msn: int
    first_discontinuity: int
    audio_config: bytes
    audio_bps: int


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """What a decoder must know before the first picture."""

    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]


def parameter_sets_of(nals: Sequence[bytes]) -> ParameterSets:
    """Return the parameter sets in an access unit, each once."""
    return ParameterSets(
        sps=tuple(dict.fromkeys(nal for nal in nals if nal_type(nal) == NAL_SPS)),
        pps=tuple(dict.fromkeys(nal for nal in nals if nal_type(nal) == NAL_PPS)),
    )


class Output:
    """Takes access units and AAC frames, leaves files and announcements."""

    def __init__(self, settings: OutputSettings, sink: Sink) -> None:
        self._settings: Final = settings
        self._sink: Final = sink
        part_target_s = settings.times.part_target_s
        first = settings.first_msn
        self._video = Rendition(
            "video",
            timescale=VIDEO_TIMESCALE,
            times=settings.times,
            first_discontinuity=settings.first_discontinuity,
        )
        self._audio = Rendition(
            "audio",
            timescale=AUDIO_TIMESCALE,
            times=settings.times,
            first_discontinuity=settings.first_discontinuity,
        )
        self._video_segmenter = Segmenter(
            part_target_ticks=int(part_target_s * VIDEO_TIMESCALE), first_msn=first
        )
        self._audio_segmenter = Segmenter(
            part_target_ticks=int(part_target_s * AUDIO_TIMESCALE), first_msn=first
        )
        self._parameters: ParameterSets | None = None
        self._variant: Variant | None = None
        self._multivariant: str | None = None
        self._cuts: deque[tuple[int, bool]] = deque()
        self._audio_started = False
        self._last_video_ticks = -1
        self._audio_end = 0

    @property
    def started(self) -> bool:
        """The first picture is in."""
        return self._parameters is not None

    @property
    def audio_start(self) -> int:
        """The sample at which the first picture stands."""
        assert self._cuts, "the first picture is in, the first sound is not"
        return self._cuts[0][0]

    @property
    def playable(self) -> bool:
        """Each rendition has a complete segment, so that every player can begin."""
        return self._video.complete_msn >= 0 and self._audio.complete_msn >= 0

    @property
    def last_video_ticks(self) -> int:
        """Decode time of the last picture; times must grow from here."""
        return self._last_video_ticks

    def parameters_changed(self, nals: Sequence[bytes]) -> bool:
        """Whether this keyframe needs another init section than the pictures before it."""
        return self._parameters != parameter_sets_of(nals)

    def video(
        self,
        dts_ticks: int,
        nals: Sequence[bytes],
        *,
        keyframe: bool,
        starts_segment: bool,
        peak_bps: int,
    ) -> None:
        """Take one access unit. A keyframe has its parameter sets in it.

        *starts_segment* only with a keyframe; where the parameter sets change a segment begins in
        any case. Raises ValueError where the parameter sets are not valid.
        """
        assert dts_ticks > self._last_video_ticks, "decode times grow"
        discontinuity = False
        if keyframe and self.parameters_changed(nals):
            discontinuity = self.started
            starts_segment = True
            self._begin_encoding(parameter_sets_of(nals), peak_bps)
        assert self.started, "the first picture is a keyframe"
        assert keyframe or not starts_segment, "segments begin with keyframes"
        if starts_segment:
            self._cuts.append((dts_ticks * AUDIO_TIMESCALE // VIDEO_TIMESCALE, discontinuity))
        self._last_video_ticks = dts_ticks
        # 14496-15 5.4.2.1: in an avc1 track parameter sets stand in the sample entry alone.
        sample = join_length_prefixed([n for n in nals if nal_type(n) not in _NOT_IN_SAMPLES])
        effects, changed = self._video.take(
            self._video_segmenter.push(
                dts_ticks,
                sample,
                sync=keyframe,
                starts_segment=starts_segment,
                discontinuity=discontinuity,
            )
        )
        self._publish(self._video, effects, changed)

    def audio(self, position: int, frame: bytes) -> None:
        """Take one AAC frame whose first sample is at *position*; the picture came first."""
        starts, discontinuity = False, False
        while self._cuts and self._cuts[0][0] <= position + AUDIO_FRAME_SAMPLES // 2:
            if starts:
                break  # a segment has at least one frame; the next cut comes with the next one
            starts = True
            _, discontinuity = self._cuts.popleft()
        if not self._audio_started:
            if not starts:
                return
            self._audio_started = True
            self._sink.apply(self._audio.init(self._audio_init()))
        self._audio_end = position + AUDIO_FRAME_SAMPLES
        effects, changed = self._audio.take(
            self._audio_segmenter.push(
                position, frame, sync=True, starts_segment=starts, discontinuity=discontinuity
            )
        )
        self._publish(self._audio, effects, changed)

    def close(self) -> None:
        """The broadcast ends: close what is open. ``end`` follows a little later.

        Apart, because hls.js does not load a last part that it hears of together with the end.
        The picture lasts as long as the sound: hls.js sees the end only when the last part of
        either is in the range that both have.
        """
        for rendition, segmenter, end_ticks in (
            (self._video, self._video_segmenter, self._audio_end * 90_000 // 48_000),
            (self._audio, self._audio_segmenter, self._audio_end),
        ):
            effects, _ = rendition.take(segmenter.finish(end_ticks))
            self._publish(rendition, effects, changed=True)

    def end(self) -> None:
        """Tell the end. Nothing comes after it."""
        for rendition in (self._video, self._audio):
            rendition.end()
            self._publish(rendition, [], changed=True)
        if self._multivariant is not None:
            self._announce_multivariant(ended=True)

    def _audio_init(self) -> bytes:
        entry = mp4a_entry(
            AUDIO_TIMESCALE, 2, self._settings.audio_config, self._settings.audio_bps
        )
        return init_section(timescale=AUDIO_TIMESCALE, sample_entry=entry)

    def _begin_encoding(self, parameters: ParameterSets, peak_bps: int) -> None:
        if not parameters.sps or not parameters.pps:
            raise ValueError("a keyframe without parameter sets")
        sps = parse_sps(parameters.sps[0])
        entry = avc1_entry(sps.width, sps.height, parameters.sps, parameters.pps)
        body = init_section(
            timescale=VIDEO_TIMESCALE, sample_entry=entry, width=sps.width, height=sps.height
        )
        self._parameters = parameters
        self._sink.apply(self._video.init(body))
        first = parameters.sps[0]
        self._variant = Variant(
            video_codec=f"avc1.{first[1:4].hex()}",
            audio_codec=AUDIO_CODEC,
            width=sps.width,
            height=sps.height,
            frame_rate_hz=30.0,
            peak_bps=peak_bps + 2 * self._settings.audio_bps,
            average_bps=peak_bps // 2 + self._settings.audio_bps,
        )
        directory = self._settings.broadcast
        self._multivariant = render_multivariant(
            self._variant,
            video_uri=f"{directory}/{self._video.playlist_uri}",
            audio_uri=f"{directory}/{self._audio.playlist_uri}",
        )
        self._announce_multivariant(ended=False)

    def _announce_multivariant(self, *, ended: bool) -> None:
        assert self._multivariant is not None, "it was rendered"
        assert QUERY_MARKER in self._multivariant, "URIs can carry a query"
        self._sink.announce(
            Change(
                rendition="multivariant",
                msn=-1,
                part=-1,
                complete_msn=-1,
                hint=None,
                playlist=self._multivariant,
                delta=None,
                ended=ended,
            )
        )

    def _publish(self, rendition: Rendition, effects: Sequence[Effect], changed: bool) -> None:
        if effects:
            self._sink.apply(effects)
        if changed and rendition.report is not None:
            other = self._audio if rendition is self._video else self._video
            self._sink.announce(rendition.change([other.report] if other.report else []))
