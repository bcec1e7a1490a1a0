"""Core: playlists as text (RFC 8216bis, draft-pantos-hls-rfc8216bis).

Every URI ends with ``QUERY_MARKER``; whoever serves the text puts the viewer's query there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

QUERY_MARKER: Final = "{{query}}"
_VERSION: Final = 9
"""Section 7: EXT-X-SKIP needs 9; EXT-X-MAP in a playlist with all frames needs 6."""
_COMPLETE_SEGMENTS_WITH_PARTS: Final = 2
"""4.4.4.9: parts further than three target durations from the end should be removed. Two segments
and the one under way are 4 s and more, and players begin 1 s from the end."""
SKIP_UNTIL_TARGETS: Final = 6
"""4.4.3.8: the skip boundary is at least six target durations from the end."""


@dataclass(frozen=True, slots=True)
class PartEntry:
    duration_s: float
    uri: str
    independent: bool


@dataclass(slots=True)
class SegmentEntry:
    """One segment, complete or under way."""

    msn: int
    init_uri: str
    discontinuity: bool
    start_wallclock_s: float
    """Unix time of its first sample, for EXT-X-PROGRAM-DATE-TIME."""
    uri: str
    parts: list[PartEntry] = field(default_factory=list)
    complete: bool = False

    @property
    def duration_s(self) -> float:
        return sum(part.duration_s for part in self.parts)


@dataclass(frozen=True, slots=True)
class Report:
    """Where another rendition is, for EXT-X-RENDITION-REPORT."""

    uri: str
    msn: int
    part: int


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """All that stands in one rendition's playlist. There is at least one segment."""

    target_duration_s: int
    part_target_s: float
    discontinuity_sequence: int
    segments: Sequence[SegmentEntry]
    """Complete ones, oldest first, then perhaps the one under way."""
    hint_uri: str | None
    """None: the broadcast has ended."""
    reports: Sequence[Report] = ()


def render_media(playlist: MediaPlaylist) -> str:
    """Return the whole playlist."""
    return _render(playlist, 0)


def render_delta(playlist: MediaPlaylist) -> str | None:
    """Return the playlist with its old segments skipped (6.2.5.1); None: there are none."""
    skipped = _skippable(playlist)
    return _render(playlist, skipped) if skipped else None


def _skippable(playlist: MediaPlaylist) -> int:
    """How many segments lie wholly before the skip boundary."""
    boundary_s = SKIP_UNTIL_TARGETS * playlist.target_duration_s
    after_s = sum(segment.duration_s for segment in playlist.segments)
    skipped = 0
    for segment in playlist.segments:
        after_s -= segment.duration_s
        if after_s < boundary_s - 1e-6 or not segment.complete:
            break
        skipped += 1
    return skipped


def _render(playlist: MediaPlaylist, skipped: int) -> str:
    lines = _header(playlist)
    if skipped:
        # 4.4.5.2; what held of the skipped segments the client has kept.
        lines.append(f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")
    init_uri = playlist.segments[skipped - 1].init_uri if skipped else None
    parts_from = _first_with_parts(playlist)
    for index, segment in enumerate(playlist.segments[skipped:], skipped):
        if segment.discontinuity and index > 0:
            # 4.4.4.3. Of the first segment the discontinuity sequence alone tells.
            lines.append("#EXT-X-DISCONTINUITY")
        if segment.init_uri != init_uri:
            lines.append(f'#EXT-X-MAP:URI="{segment.init_uri}{QUERY_MARKER}"')
            init_uri = segment.init_uri
        if segment.parts:
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{_date_time(segment.start_wallclock_s)}")
        if index >= parts_from:
            lines += [_part_line(part) for part in segment.parts]
        if segment.complete:
            lines += [f"#EXTINF:{segment.duration_s:.5f},", segment.uri + QUERY_MARKER]
    if playlist.hint_uri is None:
        lines.append("#EXT-X-ENDLIST")
    else:
        # 4.4.5.3: exactly one, the part that is being made.
        lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{playlist.hint_uri}{QUERY_MARKER}"')
        lines += [
            f'#EXT-X-RENDITION-REPORT:URI="{report.uri}{QUERY_MARKER}",'
            f"LAST-MSN={report.msn},LAST-PART={report.part}"
            for report in playlist.reports
        ]
    return "\n".join(lines) + "\n"


def _header(playlist: MediaPlaylist) -> list[str]:
    target_s = playlist.target_duration_s
    # 4.4.3.8: PART-HOLD-BACK is at least twice and should be three times the part target;
    # HOLD-BACK is at least three times the target duration.
    part_hold_back_s = math.ceil(3000 * playlist.part_target_s - 1e-6) / 1000
    return [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        f"#EXT-X-TARGETDURATION:{target_s}",
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,"
        f"PART-HOLD-BACK={part_hold_back_s:.3f},HOLD-BACK={3 * target_s}.0,"
        f"CAN-SKIP-UNTIL={SKIP_UNTIL_TARGETS * target_s}.0",
        f"#EXT-X-PART-INF:PART-TARGET={playlist.part_target_s:.3f}",
        f"#EXT-X-MEDIA-SEQUENCE:{playlist.segments[0].msn}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{playlist.discontinuity_sequence}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]


def _first_with_parts(playlist: MediaPlaylist) -> int:
    """Index of the first segment whose parts are still told."""
    complete = sum(segment.complete for segment in playlist.segments)
    return max(0, complete - _COMPLETE_SEGMENTS_WITH_PARTS)


def _part_line(part: PartEntry) -> str:
    independent = ",INDEPENDENT=YES" if part.independent else ""
    return f'#EXT-X-PART:DURATION={part.duration_s:.5f},URI="{part.uri}{QUERY_MARKER}"{independent}'


def _date_time(unix_s: float) -> str:
    stamp = datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Variant:
    """The one variant of a broadcast: what EXT-X-STREAM-INF says of it (4.4.6.2)."""

    video_codec: str
    audio_codec: str
    width: int
    height: int
    frame_rate_hz: float
    peak_bps: int
    average_bps: int


def render_multivariant(variant: Variant, *, video_uri: str, audio_uri: str) -> str:
    """Return the multivariant playlist: one video rendition, one of all microphones."""
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="room",NAME="Room",DEFAULT=YES,AUTOSELECT=YES,'
        f'CHANNELS="2",URI="{audio_uri}{QUERY_MARKER}"',
        f"#EXT-X-STREAM-INF:BANDWIDTH={variant.peak_bps},"
        f"AVERAGE-BANDWIDTH={variant.average_bps},"
        f'CODECS="{variant.video_codec},{variant.audio_codec}",'
        f"RESOLUTION={variant.width}x{variant.height},"
        f'FRAME-RATE={variant.frame_rate_hz:.3f},AUDIO="room"',
        video_uri + QUERY_MARKER,
    ]
    return "\n".join(lines) + "\n"
