"""Core: samples of one rendition cut into parts and segments.

The last sample is held until the next one tells how long it lasts. A part ends where one more
sample would pass the part target; a segment ends where the caller says that a new one begins.
"""

from dataclasses import dataclass
from typing import Final

from media.broadcast.fmp4 import Sample, part


@dataclass(frozen=True, slots=True)
class SegmentStarted:
    msn: int
    start_ticks: int
    discontinuity: bool


@dataclass(frozen=True, slots=True)
class PartEnded:
    msn: int
    index: int
    duration_ticks: int
    independent: bool
    """Begins with a sync sample (RFC 8216bis 4.4.4.9 INDEPENDENT)."""
    body: bytes


@dataclass(frozen=True, slots=True)
class SegmentEnded:
    msn: int


SegmenterOutput = SegmentStarted | PartEnded | SegmentEnded


@dataclass(slots=True)
class _Held:
    dts_ticks: int
    sync: bool
    data: bytes


class Segmenter:
    """Feed it samples in decode order; their times grow."""

    def __init__(self, *, part_target_ticks: int, first_msn: int) -> None:
        self._part_target_ticks: Final = part_target_ticks
        self._msn = first_msn - 1
        self._index = 0
        self._sequence_number = 0
        self._held: _Held | None = None
        self._samples: list[Sample] = []
        self._start_ticks = 0
        self._duration_ticks = 0
        self._last_duration_ticks = 0

    def push(
        self,
        dts_ticks: int,
        data: bytes,
        *,
        sync: bool,
        starts_segment: bool = False,
        discontinuity: bool = False,
    ) -> list[SegmenterOutput]:
        """Take the next sample; return what it completes."""
        outputs: list[SegmenterOutput] = []
        held = self._held
        assert held is not None or starts_segment, "the first sample begins a segment"
        if held is not None:
            duration_ticks = dts_ticks - held.dts_ticks
            assert duration_ticks > 0, f"decode time went from {held.dts_ticks} to {dts_ticks}"
            outputs += self._place(held, duration_ticks)
            if starts_segment:
                outputs += self._end_part()
                outputs.append(SegmentEnded(self._msn))
        if starts_segment:
            self._msn += 1
            self._index = 0
            outputs.append(SegmentStarted(self._msn, dts_ticks, discontinuity))
        self._held = _Held(dts_ticks, sync, data)
        return outputs

    def finish(self, end_ticks: int = 0) -> list[SegmenterOutput]:
        """The last sample came: it lasts until *end_ticks*, or as long as the one before it."""
        if self._held is None:
            return []
        duration_ticks = end_ticks - self._held.dts_ticks
        if not 0 < duration_ticks <= self._part_target_ticks:
            duration_ticks = max(1, self._last_duration_ticks)
        outputs = self._place(self._held, duration_ticks)
        outputs += self._end_part()
        outputs.append(SegmentEnded(self._msn))
        self._held = None
        return outputs

    def _place(self, held: _Held, duration_ticks: int) -> list[SegmenterOutput]:
        outputs: list[SegmenterOutput] = []
        if self._samples and self._duration_ticks + duration_ticks > self._part_target_ticks:
            outputs += self._end_part()
        if not self._samples:
            self._start_ticks = held.dts_ticks
        self._samples.append(Sample(duration_ticks, held.sync, held.data))
        self._duration_ticks += duration_ticks
        self._last_duration_ticks = duration_ticks
        # The next sample will most likely last as long; if it would not fit, waiting for it
        # would only make the viewers wait a frame more.
        if self._duration_ticks + duration_ticks > self._part_target_ticks:
            outputs += self._end_part()
        return outputs

    def _end_part(self) -> list[SegmenterOutput]:
        if not self._samples:
            return []
        self._sequence_number += 1
        ended = PartEnded(
            msn=self._msn,
            index=self._index,
            duration_ticks=self._duration_ticks,
            independent=self._samples[0].sync,
            body=part(self._sequence_number, self._start_ticks, self._samples),
        )
        self._index += 1
        self._samples = []
        self._duration_ticks = 0
        return [ended]
