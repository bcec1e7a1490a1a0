"""One source's order, loss, repair requests and reports, by literal packets and times."""

import pytest

from media.rtp.reception import (
    MISSING_MAX,
    RENUMBERED,
    REORDER_S,
    RESTART_GAP,
    RETRY_S,
    TRIES_MAX,
    Reception,
)

STARTS = [0, 1, 100, 32767, 65533, 65534, 65535]


def received(start: int, *steps: int) -> Reception:
    reception = Reception(90000, repair=True)
    for step in steps:
        reception.place((start + step) & 0xFFFF, now=0.0)
    return reception


@pytest.mark.parametrize("start", STARTS)
def test_numbers_grow_through_the_wrap(start: int) -> None:
    reception = Reception(90000, repair=True)
    placed = [reception.place((start + step) & 0xFFFF, 0.0) for step in range(5)]
    assert placed == list(range(placed[0], placed[0] + 5))
    assert reception.missing == {}


@pytest.mark.parametrize("start", STARTS)
def test_a_gap_is_asked_for_after_it_could_be_mere_reordering(start: int) -> None:
    reception = received(start, 0, 3)
    first = reception.highest - 3
    assert reception.due(REORDER_S / 2) == []
    assert reception.due(REORDER_S) == [first + 1, first + 2]
    assert reception.due(REORDER_S + RETRY_S / 2) == []
    assert reception.due(REORDER_S + RETRY_S) == [first + 1, first + 2]


@pytest.mark.parametrize("start", STARTS)
def test_a_late_packet_is_asked_for_no_more(start: int) -> None:
    reception = received(start, 0, 2, 1)
    assert reception.due(1.0) == []


def test_a_packet_is_given_up_after_some_tries() -> None:
    reception = received(10, 0, 2)
    asked = sum(len(reception.due(REORDER_S + turn * RETRY_S)) for turn in range(20))
    assert asked == TRIES_MAX
    assert reception.next_due_s() is None


def test_a_burst_too_large_to_repair_is_not_asked_for() -> None:
    assert received(10, 0, MISSING_MAX + 2).due(1.0) == []


def test_audio_is_never_asked_for_again() -> None:
    reception = Reception(48000, repair=False)
    for sequence in (1, 5):
        reception.place(sequence, 0.0)
    assert reception.due(1.0) == []


@pytest.mark.parametrize("jump", [RESTART_GAP + 1, -RESTART_GAP - 1, 30000])
def test_a_source_that_numbers_anew_is_told_from_loss(jump: int) -> None:
    reception = received(1000, 0, 1)
    before = reception.highest
    assert reception.place((1001 + jump) & 0xFFFF, 0.0) == RENUMBERED
    assert reception.highest == before
    extended = reception.restart((1001 + jump) & 0xFFFF)
    assert extended > before
    assert extended & 0xFFFF == (1001 + jump) & 0xFFFF


def test_a_report_tells_the_loss_of_its_interval_and_of_all_time() -> None:
    reception = Reception(90000, repair=True)
    for sequence in range(1, 11):
        if sequence != 4:
            reception.place(sequence, 0.0)
            reception.count(sequence * 3000, sequence / 30)
    block = reception.report(77, last_sr=5, delay_since_sr=6)
    assert (block.ssrc, block.cumulative_lost, block.highest) == (77, 1, 10)
    assert block.fraction_lost == 256 // 10
    assert block.jitter_ticks == 0
    for sequence in range(11, 21):
        reception.place(sequence, 0.0)
        reception.count(sequence * 3000, sequence / 30)
    assert reception.report(77, 0, 0).fraction_lost == 0


def test_jitter_follows_rfc_3550_and_survives_the_wrap_of_timestamps() -> None:
    reception = Reception(90000, repair=True)
    timestamp = (1 << 32) - 3000
    for index, late_s in enumerate((0.0, 0.0, 0.016, 0.0)):
        reception.place(index, 0.0)
        reception.count((timestamp + 3000 * index) & 0xFFFFFFFF, index / 30 + late_s)
    # |D| = 0, 1440, 1440: J = 0, 90, 174.375 (RFC 3550 A.8)
    assert reception.report(1, 0, 0).jitter_ticks == 174
