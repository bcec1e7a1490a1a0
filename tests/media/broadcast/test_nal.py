"""NAL units and what stands in a sequence parameter set."""

import random

import pytest

from media.broadcast.nal import (
    join_annex_b,
    join_length_prefixed,
    parse_sprop,
    parse_sps,
    split_annex_b,
)

BASELINE_1280X720 = bytes.fromhex("6742c01fda014016e840000003004000000c03c60ca8")
HIGH_1920X1080 = bytes.fromhex("67640028acd940780227e5c044000003000400000300f03c60c658")


def test_start_codes_of_three_and_four_bytes_part_the_units() -> None:
    stream = b"\x00\x00\x00\x01\x67\x01\x00\x00\x01\x68\x02\x00\x00\x00\x01\x65\x03"
    assert split_annex_b(stream) == [b"\x67\x01", b"\x68\x02", b"\x65\x03"]
    assert split_annex_b(b"\x67no start code") == []


def test_units_are_joined_for_decoders_and_for_files() -> None:
    assert join_annex_b([b"\x67a", b"\x65"]) == b"\x00\x00\x00\x01\x67a\x00\x00\x00\x01\x65"
    assert join_length_prefixed([b"\x67a", b"\x65"]) == b"\x00\x00\x00\x02\x67a\x00\x00\x00\x01\x65"


@pytest.mark.parametrize(
    ("sps", "expected"),
    [(BASELINE_1280X720, (66, 1280, 720, True)), (HIGH_1920X1080, (100, 1920, 1080, True))],
)
def test_profile_and_cropped_size_are_read(
    sps: bytes, expected: tuple[int, int, int, bool]
) -> None:
    found = parse_sps(sps)
    assert (found.profile_idc, found.width, found.height, found.eight_bit_420) == expected


def test_a_parameter_set_that_ends_early_is_refused_and_noise_never_hangs() -> None:
    with pytest.raises(ValueError, match="ends early"):
        parse_sps(BASELINE_1280X720[:6])
    chance = random.Random(3)
    for _ in range(3000):
        data = b"\x67" + bytes([chance.choice([66, 77, 100, 244])]) + chance.randbytes(20)
        try:
            found = parse_sps(data)
        except ValueError:
            continue
        assert 0 < found.width <= 8192


def test_parameter_sets_of_the_description_are_read() -> None:
    assert parse_sprop("packetization-mode=1; sprop-parameter-sets=Z0LA,aM4=") == [
        b"\x67\x42\xc0",
        b"\x68\xce",
    ]
    assert parse_sprop("sprop-parameter-sets=***") == []
    assert parse_sprop("profile-level-id=42e01f") == []
