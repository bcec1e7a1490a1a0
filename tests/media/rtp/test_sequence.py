"""Numbers that wrap are unwrapped to the nearest, from any start."""

import pytest

from media.rtp.sequence import unwrap, unwrap32

STARTS = [0, 1, 32767, 32768, 65534, 65535, 65536, 131071, 10 * 65536 - 1]


@pytest.mark.parametrize("near", STARTS)
@pytest.mark.parametrize("step", [0, 1, 2, 100, 32767, -1, -2, -100, -32767, -32768])
def test_the_nearest_number_is_found_across_the_wrap(near: int, step: int) -> None:
    assert unwrap((near + step) & 0xFFFF, near) == near + step


def test_half_way_away_counts_as_older() -> None:
    assert unwrap(32768, 65536) == 32768


@pytest.mark.parametrize("near", [0, (1 << 32) - 1, 1 << 32, 5 << 32])
@pytest.mark.parametrize("step", [0, 1, 90000, -1, -90000, (1 << 31) - 1])
def test_timestamps_unwrap_alike(near: int, step: int) -> None:
    assert unwrap32((near + step) & 0xFFFFFFFF, near) == near + step
