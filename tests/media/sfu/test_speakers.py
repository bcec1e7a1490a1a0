"""Who is told to speak, over literal times."""

import random

import pytest

from coordinator.ids import ParticipantSid
from media.sfu.speakers import SpeakerDetector, perceived

A, B, C = (ParticipantSid(f"PA_{name}") for name in "abc")
STEP_S = 0.1
LOUD, SOFT, SILENT = 0.1, 0.03, 0.0001  # -20, -30, -80 dBov


def hear(
    detector: SpeakerDetector, levels: dict[ParticipantSid, float], start_s: float, for_s: float
) -> list[tuple[float, list[ParticipantSid]]]:
    """Say *levels* for a while; return when the list changed and what it was then."""
    changes = []
    for step in range(round(for_s / STEP_S)):
        now = start_s + step * STEP_S
        if detector.observe(levels, now):
            changes.append((now, [sid for sid, _ in detector.speaking]))
    return changes


def test_nobody_speaks_in_silence() -> None:
    assert hear(SpeakerDetector(), {A: SILENT, B: 0.0}, 0.0, 5.0) == []


def test_a_speaker_is_told_soon_and_once() -> None:
    detector = SpeakerDetector()
    changes = hear(detector, {A: LOUD, B: SILENT}, 10.0, 3.0)
    assert [speaking for _, speaking in changes] == [[A]]
    assert changes[0][0] - 10.0 <= 0.3
    assert detector.speaking[0][1] == pytest.approx(perceived(LOUD), abs=0.01)


def test_pauses_between_words_do_not_flicker() -> None:
    detector = SpeakerDetector()
    assert len(hear(detector, {A: LOUD}, 0.0, 1.0)) == 1
    for word in range(20):
        start = 1.0 + word * 0.8
        assert hear(detector, {A: SILENT}, start, 0.4) == []
        assert hear(detector, {A: LOUD}, start + 0.4, 0.4) == []


def test_who_falls_silent_leaves_the_list() -> None:
    detector = SpeakerDetector()
    hear(detector, {A: LOUD}, 0.0, 1.0)
    changes = hear(detector, {A: SILENT}, 1.0, 3.0)
    assert [speaking for _, speaking in changes] == [[]]
    assert 0.8 <= changes[0][0] - 1.0 <= 2.0


def test_the_dominant_one_stays_first_against_short_noise() -> None:
    detector = SpeakerDetector()
    hear(detector, {A: SOFT, B: SILENT}, 0.0, 1.0)
    changes = hear(detector, {A: SOFT, B: LOUD}, 1.0, 0.4)
    changes += hear(detector, {A: SOFT, B: SILENT}, 1.4, 3.0)
    assert [speaking for _, speaking in changes] == [[A, B], [A]]


def test_a_clearly_louder_one_becomes_dominant() -> None:
    detector = SpeakerDetector()
    hear(detector, {A: SOFT, B: SILENT}, 0.0, 1.0)
    changes = hear(detector, {A: SOFT, B: LOUD}, 1.0, 3.0)
    assert [speaking for _, speaking in changes] == [[A, B], [B, A]]


def test_equals_do_not_take_turns() -> None:
    detector = SpeakerDetector()
    rng = random.Random(3)
    hear(detector, {A: LOUD, B: SILENT}, 0.0, 1.0)
    hear(detector, {A: LOUD, B: LOUD}, 1.0, 0.5)
    for step in range(200):
        levels = {A: LOUD * rng.uniform(0.7, 1.3), B: LOUD * rng.uniform(0.7, 1.3)}
        assert not detector.observe(levels, 1.5 + step * STEP_S)


def test_who_leaves_or_loses_the_microphone_is_gone_at_once() -> None:
    detector = SpeakerDetector()
    hear(detector, {A: LOUD, B: LOUD, C: SILENT}, 0.0, 1.0)
    assert detector.observe({B: LOUD}, 1.0)
    assert [sid for sid, _ in detector.speaking] == [B]


@pytest.mark.parametrize(
    ("amplitude", "level"), [(0.0, 0.0), (-1.0, 0.0), (1.0, 1.0), (2.0, 1.0), (0.001, 0.0)]
)
def test_levels_run_from_nought_to_one(amplitude: float, level: float) -> None:
    assert perceived(amplitude) == pytest.approx(level)
