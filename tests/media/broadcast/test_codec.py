"""The codecs behind our names: what goes in, what comes out, and what noise does."""

import random
import struct
from typing import Any

import numpy as np
import pytest

from media.broadcast.canvas import Canvas, fitting_size
from media.broadcast.codec import AacEncoder, OpusDecoder, VideoDecoder, VideoEncoder, max_bps
from media.broadcast.nal import nal_type, parse_sps


def test_the_encoder_gives_one_access_unit_a_frame_and_keyframes_only_when_told(
    studio: Any,
) -> None:
    encoder = VideoEncoder(320, 240, frame_rate_hz=30)
    kinds = []
    for index in range(60):
        frame = studio.picture(index * 20, 320, 240, 40 + index * 3)  # restless on purpose
        nals = encoder.encode(frame, index * 3000, keyframe=index in (0, 40))
        kinds.append([nal_type(nal) for nal in nals if nal_type(nal) != 6])
    assert [index for index, kind in enumerate(kinds) if 5 in kind] == [0, 40]
    assert kinds[0] == kinds[40] == [7, 8, 5], "each keyframe has its parameter sets"
    assert all(kind == [1] for index, kind in enumerate(kinds) if index not in (0, 40))


def test_the_encoder_keeps_its_size_and_its_peak(studio: Any) -> None:
    encoder = VideoEncoder(640, 360, frame_rate_hz=30)
    chance = np.random.default_rng(1)
    size_bytes, sps = 0, b""
    for index in range(90):
        frame = studio.picture(0, 640, 360, 0)
        for plane in frame.planes:
            rows = np.frombuffer(plane, np.uint8)
            rows[:] = chance.integers(0, 255, plane.buffer_size)
        nals = encoder.encode(frame, index * 3000, keyframe=index == 0)
        sps = nals[0] if index == 0 else sps
        size_bytes += sum(map(len, nals))
    assert (parse_sps(sps).width, parse_sps(sps).height) == (640, 360)
    assert size_bytes * 8 / 3 < 1.5 * max_bps(640, 360), "noise is the worst there is"


@pytest.mark.parametrize("mime", ["video/VP8", "video/VP9", "video/H264", "video/AV1"])
def test_noise_makes_no_picture_and_no_error(mime: str) -> None:
    chance = random.Random(2)
    for _ in range(300):
        decoder = VideoDecoder(mime)
        assert not decoder.decode((chance.randbytes(chance.randrange(1, 200)),))


def test_a_keyframe_that_claims_to_be_huge_takes_no_memory() -> None:
    tag, start_code = b"\x10\x02\x00", b"\x9d\x01\x2a"
    frame = tag + start_code + struct.pack("<HH", 16383, 16383) + bytes(100)
    assert VideoDecoder("video/VP8").decode((frame,)) is None


@pytest.mark.parametrize("noise", [b"", b"\x00", b"\xff" * 3, bytes(range(60))])
def test_noise_is_not_heard_as_an_error(noise: bytes) -> None:
    sound = OpusDecoder().decode(noise)
    assert sound is None or sound.shape[1] == 2


def test_voices_come_out_in_stereo_at_48_khz(studio: Any) -> None:
    decoder = OpusDecoder()
    sounds = [decoder.decode(data) for data in studio.tone(duration_s=0.5).encoded]
    assert all(sound is not None and sound.shape == (960, 2) for sound in sounds)


def test_an_aac_frame_comes_one_block_late() -> None:
    encoder = AacEncoder()
    silence = np.zeros((1024, 2), np.float32)
    assert [len(encoder.encode(silence)) for _ in range(4)] == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ((640, 480), (640, 480)),
        ((1280, 720), (1280, 720)),
        ((1920, 1080), (1280, 720)),
        ((1080, 1920), (404, 720)),
        ((641, 359), (640, 358)),
        ((8192, 2), (1280, 16)),
    ],
)
def test_the_canvas_takes_a_source_s_shape_within_its_limits(
    source: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert fitting_size(*source) == expected


@pytest.mark.parametrize("size", [(16, 16), (200, 100), (100, 200), (1920, 1080), (2, 400)])
def test_every_shape_can_be_drawn(studio: Any, size: tuple[int, int]) -> None:
    canvas = Canvas(320, 240)
    width, height = max(32, size[0]), size[1]
    canvas.draw(studio.picture(0, width, height, 200))
    assert (canvas.frame.width, canvas.frame.height) == (320, 240)
    middle = canvas.frame.to_ndarray(format="gray")[120, 160]
    assert middle > 150
    canvas.clear()
    assert np.ptp(canvas.frame.to_ndarray(format="gray")) == 0
