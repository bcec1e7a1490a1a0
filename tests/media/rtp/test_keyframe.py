"""Where a keyframe begins, by the literal payload headers of each codec."""

import pytest

from media.rtp.keyframe import DETECTORS, detector

CASES = [
    # RFC 7741: S and PID 0, then the frame header's P bit.
    ("video/VP8", "10 00", True),
    ("video/VP8", "10 01", False),
    ("video/VP8", "00 00", False),  # not the start of a partition
    ("video/VP8", "11 00", False),  # partition 1
    ("video/VP8", "90 80 12 00", True),  # 7-bit picture id
    ("video/VP8", "90 80 92 34 00", True),  # 15-bit picture id
    ("video/VP8", "90 e0 92 34 05 20 00", True),  # with TL0PICIDX and TID
    ("video/VP8", "90 e0 92 34 05 20 01", False),
    ("video/VP8", "90 80", False),
    # RFC 6184.
    ("video/H264", "65 88", True),
    ("video/H264", "67 42", True),
    ("video/H264", "61 88", False),
    ("video/H264", "78 0002 67 42 0002 65 88", True),  # STAP-A
    ("video/H264", "78 0002 61 42 0002 65 88", True),
    ("video/H264", "78 0002 61 42", False),
    ("video/H264", "7c 85 00", True),  # FU-A, start of an IDR
    ("video/H264", "7c 05 00", False),  # its middle
    ("video/H264", "7c 81 00", False),
    # RFC 9628.
    ("video/VP9", "08", True),
    ("video/VP9", "48", False),
    ("video/VP9", "00", False),
    ("video/VP9", "a8 12 00", True),
    ("video/VP9", "a8 12 02", False),  # a higher spatial layer
    # AV1.
    ("video/AV1", "18 0a", True),
    ("video/AV1", "10 0a", False),
    ("video/AV1", "98 0a", False),  # continues an OBU
]


@pytest.mark.parametrize(("mime", "text", "begins"), CASES)
def test_a_keyframe_is_seen_in_the_headers(mime: str, text: str, begins: bool) -> None:
    detect = detector(mime)
    assert detect is not None
    assert detect(bytes.fromhex(text)) is begins


@pytest.mark.parametrize("mime", sorted(DETECTORS))
@pytest.mark.parametrize("first", range(0, 256, 5))
def test_a_payload_cut_short_begins_none_and_breaks_nothing(mime: str, first: int) -> None:
    DETECTORS[mime](b"")
    DETECTORS[mime](bytes([first]))
    DETECTORS[mime](bytes([first, 0xFF]))


def test_audio_has_no_keyframes() -> None:
    assert detector("audio/opus") is None
