"""Clocks, levels and history: small cores, by literal values."""

import pytest

from media.rtp.clock import PublisherClock, SourceClock, ntp_to_s, s_to_ntp
from media.rtp.history import PacketHistory
from media.rtp.levels import SAMPLES_MAX, AudioLevels


def test_ntp_time_comes_back_to_the_microsecond() -> None:
    assert ntp_to_s(s_to_ntp(1_700_000_000.123456)) == pytest.approx(1_700_000_000.123456, abs=1e-6)


def test_two_tracks_of_one_publisher_stay_together_on_our_clock() -> None:
    clock = PublisherClock()
    picture = clock.to_ours(1000.0, our_wallclock_s=5000.0)
    sound = clock.to_ours(1000.5, our_wallclock_s=5000.53)  # 30 ms of network do not move it
    assert sound - picture == pytest.approx(0.5)


def test_a_publishers_clock_that_was_set_is_followed() -> None:
    clock = PublisherClock()
    clock.to_ours(1000.0, 5000.0)
    assert clock.to_ours(2000.0, 5001.0) == pytest.approx(5001.0)


@pytest.mark.parametrize("timestamp", [0, 3000, (1 << 32) - 1])
def test_a_timestamp_runs_with_the_wall_clock_and_wraps(timestamp: int) -> None:
    clock = SourceClock(90000)
    assert SourceClock(8000).known is False
    clock.set(100.0, timestamp)
    assert clock.known is True
    assert clock.timestamp_at(101.0) == (timestamp + 90000) & 0xFFFFFFFF
    assert clock.timestamp_at(99.0) == (timestamp - 90000) & 0xFFFFFFFF


def test_levels_are_the_mean_power_since_the_last_look() -> None:
    levels = AudioLevels()
    assert levels.poll() == 0.0
    levels.add(bytes([0x80]))  # voice, 0 dBov
    levels.add(bytes([0x7F]))  # silence
    assert levels.poll() == pytest.approx(0.5**0.5)
    assert levels.poll() == 0.0


def test_levels_that_nobody_looks_at_are_bounded() -> None:
    levels = AudioLevels()
    for _ in range(SAMPLES_MAX):
        levels.add(b"\x7f")
    levels.add(b"\x00")
    assert levels.poll() == 0.0


@pytest.mark.parametrize("start", [0, 65534, 65535, 10**6])
def test_history_keeps_the_last_packets_and_tells_duplicates(start: int) -> None:
    history = PacketHistory(8)
    datagram = bytes.fromhex("80600000 00000000 00000001")
    for number in range(start, start + 10):
        assert history.put(number, datagram + bytes([number & 0xFF]))
    assert not history.put(start + 9, datagram)
    assert start + 1 not in history
    packet = history.get(start + 2)
    assert packet is not None
    assert packet.payload == bytes([(start + 2) & 0xFF])
    assert history.get(start) is None
    history.clear()
    assert start + 9 not in history
