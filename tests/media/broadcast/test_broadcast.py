"""A whole broadcast on a virtual clock: real media in, files and playlists out."""

import io
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import av
import m3u8
import numpy as np
import pytest

from coordinator.ids import Identity, TrackSid
from coordinator.model import TrackSource
from media.broadcast.broadcast import Broadcast
from media.broadcast.codec import AAC_BIT_RATE_BPS, AAC_CONFIG
from media.broadcast.feed_messages import (
    AddTrack,
    MediaDatagram,
    RemoveTrack,
    SenderReport,
    SetMuted,
    SetSpeaker,
)
from media.broadcast.nal import join_length_prefixed, nal_type, split_annex_b
from media.broadcast.output import Output, OutputSettings
from media.broadcast.rendition import RenditionTimes
from media.broadcast.video import Mode

ANN, BEN = Identity("ann"), Identity("ben")
STEP_S = 0.01
START_S = 1000.0


@dataclass
class _Sending:
    number: int
    track: Any
    from_s: float
    delay_s: float
    lost: Callable[[int], bool]
    next_burst: int = 0


class Scene:
    """A broadcast, its senders, and a clock that jumps."""

    def __init__(self, studio: Any) -> None:
        self.studio = studio
        self.sink = studio.sink()
        times = RenditionTimes(
            target_duration_s=3, part_target_s=0.334, wallclock_offset_s=1.7e9, window_segments=12
        )
        self.output = Output(
            OutputSettings(
                broadcast="BC_x",
                times=times,
                first_msn=500,
                first_discontinuity=7,
                audio_config=AAC_CONFIG,
                audio_bps=AAC_BIT_RATE_BPS,
            ),
            self.sink,
        )
        self.now = START_S
        self.broadcast = Broadcast(self.output, now=self.now, segment_target_s=2.0)
        self.sending: dict[str, _Sending] = {}
        self.keyframes_asked: list[tuple[float, str]] = []
        self.numbers = 0

    def is_in(self, mode: Mode) -> bool:
        return self.broadcast.video.mode is mode

    @property
    def elapsed_s(self) -> float:
        return round(self.now - START_S, 6)

    def add(
        self,
        sid: str,
        track: Any,
        *,
        identity: Identity = ANN,
        source: TrackSource | None = None,
        mime: str | None = None,
        delay_s: float = 0.002,
        lost: Callable[[int], bool] = lambda index: False,
    ) -> None:
        kind = "audio" if track.mime == "audio/opus" else "video"
        self.numbers += 1
        self.broadcast.control(
            AddTrack(
                number=self.numbers,
                sid=TrackSid(sid),
                identity=identity,
                kind="audio" if kind == "audio" else "video",
                source=source or ("microphone" if kind == "audio" else "camera"),
                mime=mime or track.mime,
                payload_type=track.payload_type,
                clock_rate_hz=track.clock_rate_hz,
            ),
            self.now,
        )
        self.sending[sid] = _Sending(self.numbers, track, self.now, delay_s, lost)

    def remove(self, sid: str) -> None:
        del self.sending[sid]
        self.broadcast.control(RemoveTrack(sid=TrackSid(sid)), self.now)

    def mute(self, sid: str, muted: bool) -> None:
        self.broadcast.control(SetMuted(sid=TrackSid(sid), muted=muted), self.now)

    def speaker(self, identity: Identity | None) -> None:
        self.broadcast.control(SetSpeaker(identity=identity), self.now)

    def report(self, sid: str, ntp_s: float, timestamp: int) -> None:
        self.broadcast.control(
            SenderReport(sid=TrackSid(sid), ntp_s=ntp_s, rtp_timestamp=timestamp % 2**32), self.now
        )

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = round(self.now + STEP_S, 6)
            for sending in self.sending.values():
                self._send(sending)
            self.broadcast.advance(self.now)
            self.keyframes_asked += [
                (self.elapsed_s, sid) for sid in self.broadcast.keyframes_wanted(self.now)
            ]

    def _send(self, sending: _Sending) -> None:
        bursts = sending.track.bursts
        while sending.next_burst < len(bursts):
            due_s, packets = bursts[sending.next_burst]
            arrival_s = sending.from_s + due_s + sending.delay_s
            if arrival_s > self.now:
                return
            if not sending.lost(sending.next_burst):
                self.broadcast.media(MediaDatagram(sending.number, arrival_s, packets), self.now)
            sending.next_burst += 1

    def finish(self) -> None:
        self.broadcast.close()
        assert not any(change.ended for change in self.sink.changes)
        self.broadcast.end()
        assert self.studio.hls_faults(self.sink.playlists()) == []

    def video(self, init: int = 0) -> Any:
        return self.studio.decode(self.sink.joined("video", init))

    def audio(self) -> Any:
        return self.studio.decode(self.sink.joined("audio"))

    def segments(self, rendition: str) -> Any:
        return m3u8.loads(self.sink.latest(rendition).playlist.replace("{{query}}", "")).segments


def bar_positions(pictures: list[Any]) -> list[int]:
    """Where the bright bar of ``studio.picture`` stands."""
    return [int(picture.astype(int).sum(axis=0).argmax()) for picture in pictures]


def loudness(sound: Any) -> float:
    return float(np.sqrt(np.mean(np.square(sound))))


@pytest.fixture
def scene(studio: Any) -> Scene:
    return Scene(studio)


def test_a_vp8_camera_and_a_microphone_become_a_broadcast(scene: Scene, studio: Any) -> None:
    scene.add("v", studio.video("video/VP8", duration_s=5.0, keyframe_every=9999))
    scene.add("a", studio.tone(duration_s=5.0))
    scene.run(5.0)
    scene.finish()
    assert scene.is_in(Mode.COMPOSED)
    video, audio = scene.video(), scene.audio()
    assert (video.codec, video.width, video.height) == ("h264", 320, 240)
    steps = np.diff(video.times_s)
    assert steps == pytest.approx(np.full(len(steps), 1 / 30), abs=1e-4)
    assert np.diff(video.keyframes_s) == pytest.approx([1.0, 2.0], abs=1e-3)
    moves = np.diff(bar_positions(video.pictures))
    assert np.count_nonzero(moves) > 0.9 * len(moves), "the picture advances"
    assert audio.codec == "aac"
    assert abs(audio.times_s[0] - video.times_s[0]) < 0.06
    ends = [
        scene.segments(r)[-1].program_date_time.timestamp() + scene.segments(r)[-1].duration
        for r in ("video", "audio")
    ]
    assert ends[0] == pytest.approx(ends[1], abs=0.002), "a player needs both to see the end"
    assert ends[0] == pytest.approx(1.7e9 + video.times_s[-1] + 1 / 30, abs=0.045)
    assert loudness(audio.sound[48_000:]) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    assert scene.keyframes_asked == [], "the first frame was one, and none was lost"


@pytest.mark.parametrize("mime", ["video/VP9", "video/AV1"])
def test_other_codecs_are_composed_too(scene: Scene, studio: Any, mime: str) -> None:
    scene.add("v", studio.video(mime, duration_s=2.0))
    scene.run(2.0)
    scene.finish()
    assert scene.is_in(Mode.COMPOSED)
    moves = np.diff(bar_positions(scene.video().pictures))
    assert len(moves) > 45
    assert np.count_nonzero(moves) > 0.9 * len(moves), "the picture advances"


def test_the_parts_of_a_broadcast_keep_to_the_part_target(scene: Scene, studio: Any) -> None:
    scene.add("v", studio.video("video/VP8", duration_s=5.0))
    scene.run(5.0)
    for rendition in ("video", "audio"):
        for segment in scene.segments(rendition):
            for index, part in enumerate(segment.parts):
                assert part.duration <= 0.334
                if index < len(segment.parts) - 1:
                    assert part.duration >= 0.85 * 0.334
    # What is announced is at most a part, a frame and the delay old.
    change = scene.sink.latest("video")
    told_s = sum(s.duration or sum(p.duration for p in s.parts) for s in scene.segments("video"))
    assert change.complete_msn == 501
    assert told_s > 5.0 - 0.1 - 0.334 - 0.034 - 0.1


def test_an_h264_camera_is_passed_through_untouched(scene: Scene, studio: Any) -> None:
    track = studio.video("video/H264", duration_s=6.0)
    scene.add("v", track)
    scene.add("a", studio.tone(duration_s=6.0))
    scene.run(6.0)
    scene.finish()
    assert scene.is_in(Mode.PASSED)
    expected = [
        join_length_prefixed([n for n in split_annex_b(data) if nal_type(n) not in (7, 8, 9)])
        for data in track.encoded
    ]
    with av.open(io.BytesIO(scene.sink.joined("video")), "r") as container:
        assert [bytes(packet) for packet in container.demux(video=0) if packet.size] == expected
    video, audio = scene.video(), scene.audio()
    assert len(video.times_s) == len(track.encoded)
    assert abs(audio.times_s[0] - video.times_s[0]) < 0.06
    # A keyframe is asked for a moment before each segment is full.
    assert [round(at, 1) for at, _ in scene.keyframes_asked] == [0.9, 2.9, 4.9]
    durations = [segment.duration for segment in scene.segments("video")]
    assert durations == pytest.approx([1.0, 2.0, 2.0, 1.0], abs=0.01)


def test_a_room_without_any_track_is_live_too(scene: Scene) -> None:
    scene.run(2.0)
    assert scene.output.playable
    scene.run(2.0)
    scene.finish()
    video, audio = scene.video(), scene.audio()
    assert len(video.times_s) > 90
    assert np.ptp(video.pictures[-1]) < 8, "one calm colour"
    assert loudness(audio.sound) < 1e-4


def test_a_microphone_alone_is_heard_before_a_calm_picture(scene: Scene, studio: Any) -> None:
    scene.add("a", studio.tone(duration_s=3.0))
    scene.run(3.0)
    scene.finish()
    assert loudness(scene.audio().sound[48_000:]) > 0.15
    assert len(scene.video().times_s) > 60


def test_the_picture_changes_to_the_speaker_at_their_keyframe(scene: Scene, studio: Any) -> None:
    def dark_camera_sends_its_keyframe_late(index: int) -> bool:
        return index < 75  # keyframes at 60 and 90: the first one that comes is at 3.0 s

    scene.add("ann", studio.video("video/VP8", duration_s=6.0, brightness=150), identity=ANN)
    scene.add(
        "ben",
        studio.video("video/VP8", duration_s=6.0, brightness=40, ssrc=77),
        identity=BEN,
        lost=dark_camera_sends_its_keyframe_late,
    )
    scene.run(2.0)
    scene.speaker(BEN)
    scene.run(2.5)
    scene.finish()
    video = scene.video()
    levels = [float(np.median(picture)) for picture in video.pictures]
    bright, dark = 130, 60
    changed = next(i for i, level in enumerate(levels) if level < dark)
    assert all(level > bright for level in levels[: changed - 1])
    assert all(level < dark for level in levels[changed:])
    at_s = video.times_s[changed] - 10.0
    assert at_s == pytest.approx(3.0, abs=0.1), "the old picture stays until the new one is there"
    asked = [at for at, sid in scene.keyframes_asked if sid == "ben"]
    assert asked[0] == pytest.approx(2.0, abs=0.02)
    assert [round(at, 1) for at in asked] == [2.0, 2.5], "asked again while none comes"
    assert not any(segment.discontinuity for segment in scene.segments("video"))


def test_several_cameras_are_composed_even_if_all_are_h264(scene: Scene, studio: Any) -> None:
    scene.add("ann", studio.video("video/H264", duration_s=4.0), identity=ANN)
    scene.run(1.5)
    assert scene.is_in(Mode.PASSED)
    scene.add("ben", studio.video("video/H264", duration_s=4.0, ssrc=77), identity=BEN)
    scene.run(2.0)
    assert scene.is_in(Mode.COMPOSED)
    scene.finish()
    both = scene.video(0).pictures + scene.video(1).pictures
    moves = np.diff(bar_positions(both))
    assert np.count_nonzero(moves) > 0.9 * len(moves), "the picture went on over the change"


def test_a_change_of_encoding_is_one_discontinuity_in_both_renditions(
    scene: Scene, studio: Any
) -> None:
    scene.add("v", studio.video("video/H264", duration_s=8.0))
    scene.add("a", studio.tone(duration_s=8.0))
    scene.run(2.5)
    scene.mute("v", True)
    scene.run(2.5)
    scene.finish()
    changes = {}
    for rendition in ("video", "audio"):
        segments = scene.segments(rendition)
        changes[rendition] = [
            (index, segment.program_date_time)
            for index, segment in enumerate(segments)
            if segment.discontinuity
        ]
    [(video_index, video_time)], [(audio_index, audio_time)] = changes["video"], changes["audio"]
    assert video_index == audio_index
    assert abs((video_time - audio_time).total_seconds()) < 0.06
    assert [s.init_section.uri for s in scene.segments("audio")] == ["audio-init-0.mp4"] * len(
        scene.segments("audio")
    )
    before, after = scene.video(0), scene.video(1)
    assert before.times_s[-1] < after.times_s[0] < before.times_s[-1] + 0.2
    assert np.ptp(after.pictures[-1]) < 8, "the camera is off: a calm picture"


def test_a_new_picture_size_is_passed_through_with_a_new_init_section(
    scene: Scene, studio: Any
) -> None:
    small = studio.video("video/H264", duration_s=2.0, first_sequence_number=0, first_timestamp=0)
    large = studio.video(
        "video/H264",
        duration_s=3.0,
        width=640,
        height=480,
        first_sequence_number=sum(len(burst) for _, burst in small.bursts),
        first_timestamp=180_000,
    )
    both = replace(small, bursts=small.bursts + [(due + 2.0, b) for due, b in large.bursts])
    scene.add("v", both)
    scene.run(5.0)
    scene.finish()
    assert scene.is_in(Mode.PASSED)
    first, second = scene.video(0), scene.video(1)
    assert (first.width, second.width) == (320, 640)
    assert second.times_s[0] == pytest.approx(first.times_s[-1] + 1 / 30, abs=0.01)
    assert "RESOLUTION=640x480" in scene.sink.latest("multivariant").playlist


def test_a_sender_that_makes_no_keyframes_is_composed_in_time(scene: Scene, studio: Any) -> None:
    scene.add("v", studio.video("video/H264", duration_s=8.0, keyframe_every=9999))
    scene.run(8.0)
    scene.finish()
    assert scene.is_in(Mode.COMPOSED)
    assert all(segment.duration < 3.5 for segment in scene.segments("video"))
    moves = np.diff(bar_positions(scene.video(1).pictures))
    assert np.count_nonzero(moves) > 0.9 * len(moves)


def test_a_source_that_stumbled_is_passed_through_again_after_ten_good_seconds(
    scene: Scene, studio: Any
) -> None:
    scene.add("v", studio.video("video/H264", duration_s=16.0), lost=lambda index: 60 <= index < 75)
    scene.run(3.0)
    assert scene.is_in(Mode.COMPOSED)
    scene.run(9.0)
    assert scene.is_in(Mode.COMPOSED)
    scene.run(3.5)
    assert scene.is_in(Mode.PASSED)
    scene.finish()


def test_after_a_loss_the_picture_stands_until_a_keyframe(scene: Scene, studio: Any) -> None:
    scene.add("v", studio.video("video/VP8", duration_s=5.0), lost=lambda index: index == 70)
    scene.run(5.0)
    scene.finish()
    video = scene.video()
    asked = [at for at, _ in scene.keyframes_asked]
    assert asked[0] == pytest.approx(70 / 30 + 0.1 + 1 / 30, abs=0.03), "after waiting for it"
    positions = bar_positions(video.pictures)
    times = np.array(video.times_s) - 10.0
    frozen = [p for p, t in zip(positions, times, strict=True) if 2.36 < t < 2.98]
    assert len(set(frozen)) == 1
    moving = [p for p, t in zip(positions, times, strict=True) if 3.1 < t < 4.5]
    assert len(set(moving)) > 35


@pytest.mark.parametrize("video_delay_s", [0.0, 0.06])
def test_lips_and_voice_keep_together(scene: Scene, studio: Any, video_delay_s: float) -> None:
    """The bar passes the left edge at a known time; a beep begins at the same one."""
    width, beep_s = 320, 3.0
    track = studio.video("video/VP8", duration_s=5.0, width=width, keyframe_every=9999)
    tone = studio.tone(duration_s=5.0, beep_every_s=beep_s, amplitude=0.5)
    scene.add("v", track, delay_s=video_delay_s + 0.002)
    scene.add("a", tone)
    scene.run(0.5)
    scene.report("v", 4e9, 0xFFFFF000)
    scene.report("a", 4e9, 0xFFFFE000)
    scene.run(4.5)
    scene.finish()
    video, audio = scene.video(), scene.audio()
    beep_picture = int(beep_s * 30)
    expected = beep_picture * 4 % (width - 16)
    positions = bar_positions(video.pictures)
    seen_s = next(
        t
        for t, p in zip(video.times_s, positions, strict=True)
        if t > 12.5 and expected <= p < expected + 16
    )
    quiet_until = round(2.0 * 48_000)
    loud = np.abs(audio.sound[quiet_until:]) > 0.2
    heard_s = audio.times_s[0] + (quiet_until + int(loud.argmax())) / 48_000
    assert abs(seen_s - heard_s) < 0.06


def test_all_microphones_are_mixed_and_the_muted_one_is_not(scene: Scene, studio: Any) -> None:
    scene.add("a", studio.tone(duration_s=4.0, frequency_hz=440.0), identity=ANN)
    scene.add("b", studio.tone(duration_s=4.0, frequency_hz=1000.0, ssrc=9), identity=BEN)
    scene.run(2.0)
    scene.mute("b", True)
    scene.run(2.0)
    scene.finish()
    sound = scene.audio().sound

    def level(second: float, frequency_hz: int) -> float:
        window = sound[int(second * 48_000) :][:24_000]
        return float(np.abs(np.fft.rfft(window))[frequency_hz // 2]) / 12_000

    assert level(1.0, 440) == pytest.approx(0.3, rel=0.1)
    assert level(1.0, 1000) == pytest.approx(0.3, rel=0.1)
    assert level(2.8, 440) == pytest.approx(0.3, rel=0.1)
    assert level(2.8, 1000) < 0.01


def test_a_camera_of_another_shape_stands_in_the_middle(scene: Scene, studio: Any) -> None:
    wide = studio.video("video/VP8", duration_s=3.0, width=320, height=180, brightness=120)
    tall = studio.video("video/VP8", duration_s=4.0, width=120, height=160, brightness=120)
    scene.add("ann", wide, identity=ANN)
    scene.run(1.5)
    scene.add("ben", tall, identity=BEN)
    scene.speaker(BEN)
    scene.run(2.0)
    scene.finish()
    last = scene.video().pictures[-1]
    assert last.shape == (180, 320)
    assert last[:, 40].max() < 30, "black at the sides"
    assert last[90, 160] > 90


def test_a_larger_source_gets_a_larger_picture_after_a_while(scene: Scene, studio: Any) -> None:
    scene.add("ann", studio.video("video/VP8", duration_s=2.0), identity=ANN)
    scene.run(1.5)
    scene.add(
        "ben",
        studio.video("video/VP8", duration_s=8.0, width=640, height=480, ssrc=9),
        identity=BEN,
    )
    scene.speaker(BEN)
    scene.run(4.5)
    assert "RESOLUTION=320x240" in scene.sink.latest("multivariant").playlist
    scene.run(2.5)
    scene.finish()
    assert "RESOLUTION=640x480" in scene.sink.latest("multivariant").playlist
    assert (scene.video(0).width, scene.video(1).width) == (320, 640)


def test_a_camera_that_comes_and_goes(scene: Scene, studio: Any) -> None:
    scene.run(1.0)
    scene.add("v", studio.video("video/VP8", duration_s=5.0, width=640, height=480))
    scene.run(2.0)
    scene.remove("v")
    scene.run(2.0)
    scene.finish()
    assert np.ptp(scene.video(0).pictures[-1]) < 8
    shown = scene.video(1)
    assert shown.width == 640, "nothing had been drawn yet: the canvas takes the camera's size"
    assert np.ptp(shown.pictures[10]) > 100
    assert np.ptp(shown.pictures[-1]) < 8, "gone"


def test_noise_on_every_track_harms_nothing(scene: Scene, studio: Any) -> None:
    scene.add("v", studio.video("video/VP8", duration_s=4.0))
    scene.add("h", studio.video("video/H264", duration_s=4.0, ssrc=5), identity=BEN)
    scene.add("a", studio.tone(duration_s=4.0))
    chance = random.Random(5)
    for step in range(40):
        scene.run(0.1)
        scene.speaker(BEN if step % 20 < 10 else ANN)
        for number in (1, 2, 3, 9):
            noise = [chance.randbytes(chance.randrange(60)) for _ in range(3)]
            header = bytes([0x80, chance.choice([96, 102, 111])]) + chance.randbytes(10)
            noise.append(header + chance.randbytes(chance.randrange(40)))
            scene.broadcast.media(MediaDatagram(number, scene.now, noise), scene.now)
    scene.finish()
    assert scene.broadcast.malformed_packets > 100
    assert len(scene.video(0).times_s) > 0


def test_tracks_that_can_not_be_used_are_refused(scene: Scene, studio: Any) -> None:
    scene.add("a", studio.tone(duration_s=0.5), mime="audio/PCMU")
    scene.add("h", studio.video("video/VP8", duration_s=0.5), mime="video/H265")
    scene.add("x", studio.tone(duration_s=0.5), mime="video/VP8")
    scene.add("v", studio.video("video/VP8", duration_s=0.5))
    scene.add("v", studio.video("video/VP8", duration_s=0.5))
    assert scene.broadcast.refused_tracks == 4
    scene.run(3.0)
    assert scene.output.playable


def test_old_files_go_and_a_delta_comes(scene: Scene) -> None:
    scene.run(60.0)
    scene.finish()
    change = scene.sink.latest("video")
    assert any(c.delta for c in scene.sink.changes)
    names = [name for name in scene.sink.files if name.count(".") == 1 and "init" not in name]
    assert len(names) <= 2 * (12 + 12) + 2
    assert change.playlist.count("#EXTINF") == 12
