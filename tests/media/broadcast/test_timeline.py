"""RTP timestamps of several senders on one clock."""

import random

import pytest

from media.broadcast.timeline import ParticipantClock, TrackClock


def run(clock: TrackClock, start: int, *, seconds: float, delay_s: float = 0.0) -> None:
    for step in range(int(seconds * 50)):
        clock.packet((start + step * 960) % 2**32, step / 50 + delay_s)


@pytest.mark.parametrize("start", [0, 1, 2**31, 2**32 - 960, 2**32 - 1])
def test_a_track_alone_is_placed_by_its_arrivals_over_the_wrap(start: int) -> None:
    clock = TrackClock(48_000, ParticipantClock())
    run(clock, start, seconds=4.0, delay_s=7.0)
    assert clock.time_of((start + 48_000) % 2**32) == pytest.approx(8.0, abs=0.001)


@pytest.mark.parametrize("seed", range(3))
def test_jitter_does_not_move_the_mapping(seed: int) -> None:
    chance = random.Random(seed)
    clock = TrackClock(90_000, ParticipantClock())
    times = []
    for step in range(300):
        clock.packet(step * 3000, step / 30 + min(0.08, chance.expovariate(50)))
        times.append(clock.time_of(step * 3000) - step / 30)
    settled = times[60:]
    assert max(settled) - min(settled) < 0.005, f"seed {seed}"
    assert min(settled) >= 0.0


def test_a_clock_that_runs_fast_is_followed() -> None:
    clock = TrackClock(48_000, ParticipantClock())
    for step in range(50 * 120):
        clock.packet(round(step * 960 * 1.0002), step / 50)
    last = 50 * 120 - 1
    assert clock.time_of(round(last * 960 * 1.0002)) == pytest.approx(last / 50, abs=0.01)


def test_reports_keep_lips_and_voice_together_whatever_their_delays() -> None:
    participant = ParticipantClock()
    voice, picture = TrackClock(48_000, participant), TrackClock(90_000, participant)
    for step in range(500):
        # Both captured at step / 50 on the sender's wallclock; the picture travels 90 ms longer.
        voice.packet(1000 + step * 960, step / 50 + 0.01)
        picture.packet(5000 + step * 1800, step / 50 + 0.10)
        if step == 50:
            voice.sender_report(3.9e9 + 1.0, 1000 + 48_000)
            picture.sender_report(3.9e9 + 1.0, 5000 + 90_000)
        at = voice.time_of(1000 + step * 960), picture.time_of(5000 + step * 1800)
        if step == 49:
            assert at[1] - at[0] == pytest.approx(0.09, abs=0.001), "each placed by its arrivals"
    assert at[1] - at[0] == pytest.approx(0.0, abs=0.001)
    assert at[0] == pytest.approx(499 / 50 + 0.01, abs=0.002)


def test_the_mapping_is_moved_softly() -> None:
    participant = ParticipantClock()
    voice, picture = TrackClock(48_000, participant), TrackClock(90_000, participant)
    voice.packet(0, 0.01)
    picture.packet(0, 0.10)
    before = picture.time_of(0)
    voice.sender_report(100.0, 0)
    picture.sender_report(100.0, 0)
    voice.packet(960, 0.03)
    picture.packet(1800, 0.12)
    assert picture.time_of(0) == pytest.approx(before - 0.001)


def test_a_report_far_from_the_arrivals_is_not_believed() -> None:
    participant = ParticipantClock()
    voice, picture = TrackClock(48_000, participant), TrackClock(90_000, participant)
    voice.packet(0, 0.0)
    picture.packet(0, 0.0)
    voice.sender_report(100.0, 0)
    picture.sender_report(900.0, 0)
    voice.packet(960, 0.02)
    picture.packet(1800, 0.02)
    assert picture.time_of(1800) == pytest.approx(0.02, abs=0.002)
    assert voice.time_of(960) == pytest.approx(0.02, abs=0.002)
    assert voice.refused_reports > 0


def test_a_sender_that_paused_its_clock_is_placed_anew_within_some_packets() -> None:
    clock = TrackClock(48_000, ParticipantClock())
    run(clock, 0, seconds=2.0)
    for step in range(15):
        timestamp = 96_000 + step * 960  # goes on where it stopped, three seconds later
        clock.packet(timestamp, 5.0 + step / 50)
    assert clock.time_of(timestamp) == pytest.approx(5.0 + 14 / 50, abs=0.001)


def test_a_sender_that_chose_a_new_offset_is_placed_anew() -> None:
    clock = TrackClock(90_000, ParticipantClock())
    clock.packet(0, 1.0)
    clock.packet(2_000_000_000, 1.033)
    assert clock.time_of(2_000_000_000) == pytest.approx(1.033)
