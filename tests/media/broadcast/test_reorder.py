"""Packets in order, and a word where some are missing."""

import itertools
import random

import pytest

from media.broadcast.packet import RtpPacket
from media.broadcast.reorder import MAX_WAITING_PACKETS, Gap, ReorderWindow


def packet(number: int, ssrc: int = 1) -> RtpPacket:
    return RtpPacket(96, False, number % 65536, 0, ssrc, b"x")


def numbers(released: list[RtpPacket | Gap]) -> list[int | str]:
    return [item.sequence_number if isinstance(item, RtpPacket) else "gap" for item in released]


@pytest.mark.parametrize("start", [0, 100, 65533, 65534, 65535])
def test_packets_that_changed_places_come_out_in_order(start: int) -> None:
    window = ReorderWindow()
    out = []
    for step in (0, 2, 1, 3, 5, 6, 4):
        out += window.push(packet(start + step), 0.0)
    assert numbers(out) == [(start + step) % 65536 for step in range(7)]
    assert window.gaps == 0


def test_a_missing_packet_is_waited_for_and_then_given_up() -> None:
    window = ReorderWindow(max_wait_s=0.1)
    window.push(packet(10), 0.0)
    assert window.push(packet(12), 1.0) == []
    assert window.poll(1.09) == []
    assert numbers(window.poll(1.1)) == ["gap", 12]
    assert window.push(packet(11), 1.2) == [], "it came too late"
    assert window.late_packets == 1


def test_a_second_gap_is_given_up_after_one_more_wait() -> None:
    window = ReorderWindow(max_wait_s=0.1)
    window.push(packet(0), 0.0)
    window.push(packet(2), 0.0)
    window.push(packet(4), 0.05)
    assert numbers(window.poll(0.1)) == ["gap", 2]
    assert numbers(window.poll(0.15)) == []
    assert numbers(window.poll(0.2)) == ["gap", 4]


def test_a_packet_that_came_twice_goes_out_once() -> None:
    window = ReorderWindow()
    assert numbers(window.push(packet(1), 0.0)) == [1]
    assert window.push(packet(1), 0.0) == []
    window.push(packet(3), 0.0)
    assert window.push(packet(3), 0.0) == []


def test_a_window_that_is_full_waits_no_longer() -> None:
    window = ReorderWindow()
    window.push(packet(0), 0.0)
    out: list[RtpPacket | Gap] = []
    for number in range(2, 2 + MAX_WAITING_PACKETS):
        out += window.push(packet(number), 0.0)
    assert numbers(out)[:2] == ["gap", 2]
    assert len(out) == MAX_WAITING_PACKETS + 1


@pytest.mark.parametrize("other", [packet(40_000), packet(11, ssrc=2)])
def test_a_source_that_begins_anew_is_a_gap(other: RtpPacket) -> None:
    window = ReorderWindow()
    window.push(packet(10), 0.0)
    assert numbers(window.push(other, 0.0)) == ["gap", other.sequence_number]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_network_does_the_order_holds(seed: int) -> None:
    chance = random.Random(seed)
    window = ReorderWindow(max_wait_s=0.05)
    sent = [65000 + step for step in range(2000)]
    arrivals = sorted(
        (step * 0.001 + chance.expovariate(300), number)
        for step, number in enumerate(sent)
        if chance.random() > 0.02
    )
    out: list[RtpPacket | Gap] = []
    for now, number in arrivals:
        out += window.push(packet(number), now)
    out += window.poll(arrivals[-1][0] + 1)
    received = [item for item in numbers(out) if item != "gap"]
    unwrapped = [int(n) + (65536 if int(n) < 60000 else 0) for n in received]
    assert unwrapped == sorted(set(unwrapped)), f"seed {seed}"
    missing = sum(b - a > 1 for a, b in itertools.pairwise(unwrapped))
    assert numbers(out).count("gap") >= missing > 0, f"seed {seed}"
