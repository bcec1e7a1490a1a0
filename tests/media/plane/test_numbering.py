"""One outgoing number, one plaintext: what a subscription's numbers must hold whatever happens."""

import random

import pytest

from media.rtp.packet import Packet
from media.sfu.fanout import runs
from media.sfu.keyframes import INTERVAL_S, KeyframeRequests
from media.sfu.numbering import SEGMENTS_MAX, Numbering

STARTS = [65_536 + s for s in (0, 1, 32_767, 32_768, 65_533, 65_534, 65_535)]


@pytest.mark.parametrize("start", STARTS)
def test_a_fresh_subscription_keeps_the_publishers_numbers_below_the_half(start: int) -> None:
    """RFC 3711 3.3.1: a receiver that misses the first packets must not miss a wrap with them."""
    segment = Numbering(90_000).begin("a", start, 1234, 0.0)
    assert start + segment.offset == start & 0x7FFF
    assert segment.timestamp_offset == 0


@pytest.mark.parametrize("start", STARTS)
def test_stretches_follow_each_other_without_gap_or_overlap(start: int) -> None:
    numbering = Numbering(90_000)
    first = numbering.begin("a", start, 1000, 0.0)
    numbering.end(start + 9, 1000 + 9 * 3000, 0.3)
    second = numbering.begin("b", 500_000, 77, 1.3)
    assert 500_000 + second.offset == start + 9 + first.offset + 1
    # A second passed since the last packet: a second of ticks later.
    assert (77 + second.timestamp_offset) & 0xFFFFFFFF == 1000 + 9 * 3000 + 90_000


def test_a_pause_keeps_the_timestamps_of_the_same_source() -> None:
    numbering = Numbering(90_000)
    numbering.begin("a", 70_000, 1000, 0.0)
    numbering.end(70_005, 16_000, 0.2)
    assert numbering.begin("a", 70_900, 900_000, 10.0).timestamp_offset == 0


def test_a_nack_finds_the_packet_of_its_own_stretch() -> None:
    numbering = Numbering(90_000)
    first = numbering.begin("a", 70_000, 0, 0.0)
    numbering.end(70_009, 0, 0.1)
    second = numbering.begin("b", 90_000, 0, 0.2)
    last_of_first = (70_009 + first.offset) & 0xFFFF
    assert numbering.locate(last_of_first, 90_003) == (first, 70_009)
    assert numbering.locate((last_of_first + 1) & 0xFFFF, 90_003) == (second, 90_000)
    assert numbering.locate((last_of_first + 4) & 0xFFFF, 90_003) == (second, 90_003)
    assert numbering.locate((last_of_first + 5) & 0xFFFF, 90_003) is None, "not sent yet"
    assert numbering.locate((70_000 + first.offset - 1) & 0xFFFF, 90_003) is None, "never sent"


def test_nothing_is_found_before_anything_was_sent() -> None:
    assert Numbering(90_000).locate(1, -1) is None


@pytest.mark.parametrize("seed", range(20))
def test_no_number_ever_stands_for_two_packets(seed: int) -> None:
    """Switches, pauses, reordering and losses at random; AES-GCM forgives no second use."""
    chance = random.Random(seed)
    numbering = Numbering(90_000)
    sources = {name: 65_536 + chance.randrange(65_536) for name in "abc"}
    sent: dict[int, tuple[str, int]] = {}
    current, now = "a", 0.0
    for _ in range(2000):
        now += 0.005
        for name in sources:
            sources[name] += chance.choice((1, 1, 1, 2))
        if numbering.current is None or chance.random() < 0.01:
            numbering.end(sources[current], chance.randrange(1 << 32), now)
            current = chance.choice("abc")
            numbering.begin(current, sources[current], chance.randrange(1 << 32), now)
        segment = numbering.current
        assert segment is not None
        late = sources[current] - chance.choice((0, 0, 0, 1, 2))
        if late < segment.first:
            continue  # the publication does not send these
        number = late + segment.offset
        assert sent.setdefault(number, (current, late)) == (current, late), f"seed {seed}"
    assert numbering.remembered <= SEGMENTS_MAX


def packet(length: int, extended: int = 1, *, elements: int = 0) -> Packet:
    return Packet(extended, 0, 0, 0, ((1, b"x" * elements),) if elements else (), bytes(length))


@pytest.mark.parametrize(
    ("lengths", "limit", "expected"),
    [
        ([10], 8, [[10]]),
        ([10, 10, 10], 8, [[10, 10, 10]]),
        ([10, 10, 4], 8, [[10, 10, 4]]),
        ([10, 4, 10], 8, [[10, 4], [10]]),
        ([4, 10, 10], 8, [[4], [10, 10]]),
        ([10, 10, 10, 10, 10], 2, [[10, 10], [10, 10], [10]]),
        ([9, 10, 9, 10], 8, [[9], [10, 9], [10]]),
    ],
)
def test_runs_are_cut_where_segmentation_needs_it(
    lengths: list[int], limit: int, expected: list[list[int]]
) -> None:
    cut = runs([packet(length) for length in lengths], limit)
    assert [[len(p.payload) for p in run] for run in cut] == expected


def test_a_run_ends_where_the_extensions_change_their_length() -> None:
    cut = runs([packet(10, elements=1), packet(10, elements=3), packet(10, elements=3)], 8)
    assert [len(run) for run in cut] == [1, 2]


def test_a_keyframe_request_is_due_again_after_its_interval() -> None:
    requests = KeyframeRequests()
    requests.want()
    assert requests.due(0.0)
    assert not requests.due(INTERVAL_S / 2)
    assert requests.due(INTERVAL_S)
