"""Which files there are, and what is announced of them."""

from typing import Any

from media.broadcast.playlist import Report
from media.broadcast.rendition import Rendition, RenditionTimes, WriteFile
from media.broadcast.segmenter import PartEnded, SegmentEnded, SegmentStarted

TIMES = RenditionTimes(
    target_duration_s=3, part_target_s=0.334, wallclock_offset_s=1e9, window_segments=4
)


class Driven:
    """A rendition and the files it asked for."""

    def __init__(self, studio: Any) -> None:
        self.rendition = Rendition("video", timescale=90_000, times=TIMES, first_discontinuity=50)
        self.sink = studio.sink()
        self.ticks = 0

    def init(self) -> None:
        self.sink.apply(self.rendition.init(b"init"))

    def segment(self, msn: int, *, parts: int = 6, discontinuity: bool = False) -> None:
        self.rendition.take([SegmentStarted(msn, self.ticks, discontinuity)])
        for index in range(parts):
            outputs: list[Any] = [PartEnded(msn, index, 30_000, index == 0, b"%d." % index)]
            if index == parts - 1:
                outputs.append(SegmentEnded(msn))
            self.sink.apply(self.rendition.take(outputs)[0])
            self.ticks += 30_000


def test_a_segment_is_exactly_its_parts(studio: Any) -> None:
    driven = Driven(studio)
    driven.init()
    driven.segment(100)
    assert driven.sink.files["video-100.m4s"] == b"0.1.2.3.4.5."
    assert driven.sink.files["video-100.3.m4s"] == b"3."


def test_a_change_tells_the_last_part_the_complete_segment_and_the_hint(studio: Any) -> None:
    driven = Driven(studio)
    driven.init()
    driven.segment(100)
    driven.rendition.take([SegmentStarted(101, driven.ticks, False)])
    change = driven.rendition.change([Report("audio.m3u8", 100, 2)])
    assert (change.msn, change.part, change.complete_msn) == (100, 5, 100)
    assert change.hint == "video-101.0.m4s"
    assert '"video-101.0.m4s{{query}}"' in change.playlist
    driven.sink.apply(driven.rendition.take([PartEnded(101, 0, 30_000, True, b"x")])[0])
    change = driven.rendition.change([])
    assert (change.msn, change.part, change.complete_msn) == (101, 0, 100)
    assert change.hint == "video-101.1.m4s"
    assert not change.ended


def test_files_stay_for_one_more_playlist_after_they_left_it(studio: Any) -> None:
    driven = Driven(studio)
    driven.init()
    for msn in range(100, 108):
        driven.segment(msn)
    assert driven.sink.removed == []
    driven.segment(108)
    assert "video-100.m4s" in driven.sink.removed
    assert "video-100.5.m4s" in driven.sink.removed
    assert "video-101.m4s" in driven.sink.files
    driven.rendition.take([SegmentStarted(109, driven.ticks, False)])
    text = driven.rendition.change([]).playlist
    assert "#EXT-X-MEDIA-SEQUENCE:105\n" in text
    assert "video-104.m4s" not in text


def test_a_discontinuity_that_left_the_playlist_is_counted(studio: Any) -> None:
    driven = Driven(studio)
    driven.init()
    driven.segment(100)
    driven.init()
    driven.segment(101, discontinuity=True)

    def text() -> str:
        driven.rendition.end()
        return driven.rendition.change([]).playlist

    assert "#EXT-X-DISCONTINUITY-SEQUENCE:50\n" in text()
    assert text().count("#EXT-X-DISCONTINUITY\n") == 1
    for msn in (102, 103, 104):
        driven.segment(msn)
    # Segment 101 is the first now; its tag has gone into the number.
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:51\n" in text()
    assert text().count("#EXT-X-DISCONTINUITY\n") == 0
    driven.segment(105)
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:51\n" in text()


def test_an_init_section_goes_with_the_last_segment_that_needs_it(studio: Any) -> None:
    driven = Driven(studio)
    driven.init()
    driven.segment(100)
    driven.init()
    for msn in range(101, 109):
        driven.segment(msn, discontinuity=msn == 101)
    assert "video-init-0.mp4" in driven.sink.removed
    assert "video-init-1.mp4" in driven.sink.files


def test_the_end_has_no_hint() -> None:
    rendition = Rendition("audio", timescale=48_000, times=TIMES, first_discontinuity=0)
    assert rendition.init(b"i") == [WriteFile("audio-init-0.mp4", b"i")]
    rendition.take([SegmentStarted(5, 0, False)])
    rendition.take([PartEnded(5, 0, 15_360, True, b"x"), SegmentEnded(5)])
    rendition.end()
    change = rendition.change([])
    assert (change.ended, change.hint) == (True, None)
    assert change.playlist.endswith("#EXT-X-ENDLIST\n")
