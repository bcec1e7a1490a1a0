"""Where parts and segments end."""

from media.broadcast.segmenter import (
    PartEnded,
    SegmentEnded,
    Segmenter,
    SegmenterOutput,
    SegmentStarted,
)


def shape(outputs: list[SegmenterOutput]) -> list[tuple[object, ...]]:
    out: list[tuple[object, ...]] = []
    for output in outputs:
        match output:
            case SegmentStarted():
                out.append(("start", output.msn, output.discontinuity))
            case PartEnded():
                out.append(("part", output.msn, output.index, output.duration_ticks))
            case SegmentEnded():
                out.append(("end", output.msn))
    return out


def test_ten_frames_fill_a_part_and_it_is_told_with_the_eleventh() -> None:
    segmenter = Segmenter(part_target_ticks=30_060, first_msn=5)
    out = [
        shape(segmenter.push(n * 3000, b"x", sync=n == 0, starts_segment=n == 0)) for n in range(11)
    ]
    assert out[0] == [("start", 5, False)]
    assert [o for o in out[1:10] if o] == []
    assert out[10] == [("part", 5, 0, 30_000)]


def test_a_segment_ends_with_its_last_part_where_the_next_one_starts() -> None:
    segmenter = Segmenter(part_target_ticks=30_060, first_msn=0)
    out: list[SegmenterOutput] = []
    for n in range(26):
        starts = n in (0, 24)
        out += segmenter.push(
            n * 3000, b"x", sync=starts, starts_segment=starts, discontinuity=n == 24
        )
    assert shape(out) == [
        ("start", 0, False),
        ("part", 0, 0, 30_000),
        ("part", 0, 1, 30_000),
        ("part", 0, 2, 12_000),
        ("end", 0),
        ("start", 1, True),
    ]
    assert shape(segmenter.finish()) == [("part", 1, 0, 6_000), ("end", 1)]
    assert segmenter.finish() == []


def test_only_parts_that_begin_with_a_sync_sample_are_independent() -> None:
    segmenter = Segmenter(part_target_ticks=6_100, first_msn=0)
    out: list[SegmenterOutput] = []
    for n in range(6):
        out += segmenter.push(n * 3000, b"x", sync=n in (0, 4), starts_segment=n == 0)
    out += segmenter.finish()
    assert [o.independent for o in out if isinstance(o, PartEnded)] == [True, False, True]


def test_a_frame_that_lasts_longer_than_expected_begins_a_part_of_its_own() -> None:
    segmenter = Segmenter(part_target_ticks=30_060, first_msn=0)
    out: list[SegmenterOutput] = []
    times = [0, 3000, 6000, 9000, 12_000, 34_000, 37_000]
    for n, time in enumerate(times):
        out += segmenter.push(time, b"x", sync=n == 0, starts_segment=n == 0)
    durations = [o.duration_ticks for o in out if isinstance(o, PartEnded)]
    assert durations == [12_000, 22_000]


def test_durations_add_up_to_the_time_that_passed() -> None:
    segmenter = Segmenter(part_target_ticks=30_060, first_msn=0)
    out: list[SegmenterOutput] = []
    time = 0
    for n in range(200):
        out += segmenter.push(time, b"x", sync=n % 50 == 0, starts_segment=n % 50 == 0)
        time += 2900 + n * 37 % 200
    parts = [o for o in out if isinstance(o, PartEnded)]
    assert all(part.duration_ticks <= 30_060 for part in parts)
    last_of_segment = {o.msn: o.index for o in parts}
    for part in parts[:-1]:
        if part.index != last_of_segment[part.msn]:
            # RFC 8216bis 4.4.4.9: at least 85 % of the part target.
            assert part.duration_ticks >= 0.85 * 30_000
