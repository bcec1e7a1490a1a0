"""The texts of playlists, and what two other parsers make of them."""

from typing import Any

import m3u8
import pytest

from media.broadcast.playlist import (
    MediaPlaylist,
    PartEntry,
    Report,
    SegmentEntry,
    Variant,
    render_delta,
    render_media,
    render_multivariant,
)

UNIX_S = 1_763_890_000.0


def segment(msn: int, *, complete: bool = True, parts: int = 6, **more: Any) -> SegmentEntry:
    return SegmentEntry(
        msn=msn,
        init_uri=more.pop("init_uri", "video-init-0.mp4"),
        discontinuity=more.pop("discontinuity", False),
        start_wallclock_s=UNIX_S + 2 * msn,
        uri=f"video-{msn}.m4s",
        parts=[PartEntry(1 / 3, f"video-{msn}.{n}.m4s", n == 0) for n in range(parts)],
        complete=complete,
    )


def playlist(segments: list[SegmentEntry], **more: Any) -> MediaPlaylist:
    last = segments[-1]
    return MediaPlaylist(
        target_duration_s=3,
        part_target_s=0.334,
        discontinuity_sequence=more.get("discontinuity_sequence", 0),
        segments=segments,
        hint_uri=more.get("hint_uri", f"video-{last.msn}.{len(last.parts)}.m4s"),
        reports=[Report("audio.m3u8", last.msn, 1)],
    )


def test_a_playlist_line_by_line() -> None:
    text = render_media(playlist([segment(7, parts=2), segment(8, complete=False, parts=1)]))
    assert text.splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:9",
        "#EXT-X-TARGETDURATION:3",
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.002,HOLD-BACK=9.0,"
        "CAN-SKIP-UNTIL=18.0",
        "#EXT-X-PART-INF:PART-TARGET=0.334",
        "#EXT-X-MEDIA-SEQUENCE:7",
        "#EXT-X-DISCONTINUITY-SEQUENCE:0",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="video-init-0.mp4{{query}}"',
        "#EXT-X-PROGRAM-DATE-TIME:2025-11-23T09:26:54.000Z",
        '#EXT-X-PART:DURATION=0.33333,URI="video-7.0.m4s{{query}}",INDEPENDENT=YES',
        '#EXT-X-PART:DURATION=0.33333,URI="video-7.1.m4s{{query}}"',
        "#EXTINF:0.66667,",
        "video-7.m4s{{query}}",
        "#EXT-X-PROGRAM-DATE-TIME:2025-11-23T09:26:56.000Z",
        '#EXT-X-PART:DURATION=0.33333,URI="video-8.0.m4s{{query}}",INDEPENDENT=YES',
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="video-8.1.m4s{{query}}"',
        '#EXT-X-RENDITION-REPORT:URI="audio.m3u8{{query}}",LAST-MSN=8,LAST-PART=1',
    ]


def test_parts_are_told_of_the_last_segments_only() -> None:
    def told(segments: list[SegmentEntry]) -> set[str]:
        lines = render_media(playlist(segments)).splitlines()
        return {line.split("-")[3].split(".")[0] for line in lines if "X-PART:" in line}

    complete = [segment(msn) for msn in range(11)]
    assert told([*complete, segment(11, complete=False, parts=2)]) == {"9", "10", "11"}
    assert told(complete[:1]) == {"0"}


def test_a_delta_leaves_out_what_lies_before_the_skip_boundary() -> None:
    whole = playlist([segment(msn) for msn in range(12)], hint_uri="video-12.0.m4s")
    delta = render_delta(whole)
    assert delta is not None
    assert "#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n" in delta
    assert "video-2.m4s" not in delta
    assert "video-3.m4s" in delta
    assert "#EXT-X-MAP" not in delta, "the client has it from before"
    assert "#EXT-X-MEDIA-SEQUENCE:0\n" in delta
    assert render_delta(playlist([segment(msn) for msn in range(9)])) is None


def test_a_delta_tells_a_map_that_changes_behind_it() -> None:
    segments = [segment(msn) for msn in range(11)]
    segments.append(segment(11, discontinuity=True, init_uri="video-init-1.mp4"))
    delta = render_delta(playlist(segments, hint_uri="video-12.0.m4s"))
    assert delta is not None
    assert '#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="video-init-1.mp4' in delta


def test_the_end_is_told_and_nothing_is_hinted() -> None:
    text = render_media(playlist([segment(7)], hint_uri=None))
    assert text.endswith("#EXT-X-ENDLIST\n")
    assert "PRELOAD-HINT" not in text
    assert "RENDITION-REPORT" not in text


def multivariant() -> str:
    variant = Variant("avc1.4d401f", "mp4a.40.2", 1280, 720, 30.0, 2_756_000, 1_378_000)
    return render_multivariant(variant, video_uri="BC_x/video.m3u8", audio_uri="BC_x/audio.m3u8")


def test_the_multivariant_playlist_line_by_line() -> None:
    assert multivariant().splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:9",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="room",NAME="Room",DEFAULT=YES,AUTOSELECT=YES,'
        'CHANNELS="2",URI="BC_x/audio.m3u8{{query}}"',
        "#EXT-X-STREAM-INF:BANDWIDTH=2756000,AVERAGE-BANDWIDTH=1378000,"
        'CODECS="avc1.4d401f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO="room"',
        "BC_x/video.m3u8{{query}}",
    ]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    changing = [segment(msn) for msn in range(12)]
    changing[9] = segment(9, discontinuity=True, init_uri="video-init-1.mp4")
    for index in (10, 11):
        changing[index] = segment(index, init_uri="video-init-1.mp4")
    live = playlist([*changing, segment(12, complete=False, parts=3)])
    delta = render_delta(live)
    assert delta is not None
    first = playlist([segment(3, complete=False, parts=1)])
    ended = playlist(changing, hint_uri=None)
    return [render_media(live), delta, render_media(first), render_media(ended), multivariant()]


def test_hls_parser_finds_no_fault_in_strict_mode(studio: Any, texts: list[str]) -> None:
    assert studio.hls_faults(texts) == []


def test_hls_parser_would_find_a_fault(studio: Any, texts: list[str]) -> None:
    broken = texts[0].replace("#EXT-X-PART-INF:PART-TARGET=0.334\n", "")
    assert len(studio.hls_faults([broken])) == 1


def test_m3u8_reads_the_same(texts: list[str]) -> None:
    live = m3u8.loads(texts[0].replace("{{query}}", ""))
    assert live.media_sequence == 0
    assert live.part_inf.part_target == pytest.approx(0.334)
    complete = [segment for segment in live.segments if segment.uri]
    assert [segment.uri for segment in complete] == [f"video-{n}.m4s" for n in range(12)]
    assert [s.uri for s in complete if s.discontinuity] == ["video-9.m4s"]
    assert complete[9].init_section.uri == "video-init-1.mp4"
    assert live.preload_hint.uri == "video-12.3.m4s"
    assert live.rendition_reports[0].last_msn == 12
    assert m3u8.loads(texts[3]).is_endlist
    [variant] = m3u8.loads(texts[4]).playlists
    assert variant.stream_info.codecs == "avc1.4d401f,mp4a.40.2"
