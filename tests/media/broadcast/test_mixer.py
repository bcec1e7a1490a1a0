"""Voices on one clock."""

import numpy as np
import pytest

from media.broadcast.mixer import Mixer, Samples, soft_limit


def steady(value: float, count: int) -> Samples:
    return np.full((count, 2), value, np.float32)


def test_voices_are_added_where_their_timestamps_say() -> None:
    mixer = Mixer(1000)
    mixer.add("ann").write(1100, 0, steady(0.25, 500))
    mixer.add("ben").write(1300, 0, steady(0.125, 500))
    mix = mixer.read(1024)[:, 0]
    assert mix[:100].max() == 0
    assert (mix[100:300] == 0.25).all()
    assert (mix[300:600] == 0.375).all()
    assert (mix[600:800] == 0.125).all()
    assert mix[800:].max() == 0


def test_nobody_speaks_is_silence() -> None:
    mixer = Mixer(0)
    mixer.add("ann")
    assert not mixer.read().any()
    assert mixer.position == 1024


def test_small_disagreements_make_no_seam_and_large_ones_do() -> None:
    mixer = Mixer(0)
    voice = mixer.add("ann")
    for step in range(5):
        voice.write(step * 960 + (7 if step % 2 else 0), step * 960, steady(0.5, 960))
    assert voice.seams == 0
    assert (mixer.read(4800) == 0.5).all()
    voice.write(20_000, 4800, steady(0.5, 960))
    assert voice.seams == 1
    mixer.read(20_000 - 4800 - 10)
    mix = mixer.read(30)[:, 1]
    assert (mix[:10] == 0).all()
    assert (mix[10:] == 0.5).all()


def test_a_lost_packet_is_silence_and_moves_nothing() -> None:
    mixer = Mixer(0)
    voice = mixer.add("ann")
    for step in (0, 2, 3):
        voice.write(step * 960, 5000 + step * 960, steady(0.5, 960))
    mix = mixer.read(4 * 960)[:, 0]
    assert (mix[:960] == 0.5).all()
    assert (mix[960:1920] == 0).all()
    assert (mix[1920:] == 0.5).all()


def test_what_comes_too_late_is_counted_and_the_rest_is_heard() -> None:
    mixer = Mixer(0)
    voice = mixer.add("ann")
    mixer.read(1000)
    voice.write(400, 400, steady(0.5, 960))
    assert voice.late_samples == 600
    assert (mixer.read(360) == 0.5).all()
    voice.write(0, 0, steady(0.5, 100))
    assert voice.late_samples == 700


def test_a_ring_that_wraps_says_everything_once() -> None:
    mixer = Mixer(0)
    voice = mixer.add("ann")
    heard = []
    for step in range(300):
        ramp = (np.arange(960) + step * 960) % 1000 / 2000
        voice.write(step * 960, step * 960, np.repeat(ramp.astype(np.float32)[:, None], 2, axis=1))
        heard.append(mixer.read(960)[:, 0])
    mix = np.concatenate(heard)
    expected = (np.arange(300 * 960) % 1000 / 2000).astype(np.float32)
    assert np.array_equal(mix, expected)


def test_what_is_seconds_ahead_is_not_kept() -> None:
    mixer = Mixer(0)
    mixer.add("ann").write(10 * 48_000, 0, steady(0.5, 960))
    assert not mixer.read().any()


def test_a_voice_that_leaves_is_silent() -> None:
    mixer = Mixer(0)
    mixer.add("ann").write(0, 0, steady(0.5, 960))
    mixer.remove("ann")
    mixer.remove("nobody")
    assert not mixer.read().any()


@pytest.mark.parametrize("people", [1, 2, 5, 30])
def test_however_many_shout_the_mix_stays_within_full_scale(people: int) -> None:
    mixer = Mixer(0)
    wave = np.sin(np.arange(1024) / 7).astype(np.float32)
    for name in range(people):
        mixer.add(str(name)).write(0, 0, np.stack([wave, wave], axis=1))
    mix = mixer.read()
    assert np.abs(mix).max() <= 1.0
    assert mix.dtype == np.float32
    # Bent, not cut: the loudest sample is the only one at its height.
    order = np.argsort(wave)
    assert (np.diff(mix[order, 0]) >= 0).all()


def test_what_is_not_loud_is_not_touched() -> None:
    quiet = steady(0.79, 10)
    assert soft_limit(quiet) is quiet
