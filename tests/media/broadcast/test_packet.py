"""RTP headers and numbers that wrap."""

import random

import pytest

from media.broadcast.packet import Unwrapper, parse_rtp


def test_a_plain_packet_is_read() -> None:
    packet = parse_rtp(bytes.fromhex("80e0ffff 00000bb8 deadbeef 0102".replace(" ", "")))
    assert packet is not None
    assert (packet.payload_type, packet.marker) == (96, True)
    assert (packet.sequence_number, packet.timestamp) == (65535, 3000)
    assert (packet.ssrc, packet.payload) == (0xDEADBEEF, b"\x01\x02")


def test_sources_extension_and_padding_are_taken_off() -> None:
    header = bytes.fromhex("b160000100000000000000010000000a")  # one CSRC
    extension = bytes.fromhex("bede000110aa0000")
    packet = parse_rtp(header + extension + b"media" + b"\x00\x00\x03")
    assert packet is not None
    assert packet.payload == b"media"


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"\x80" * 11,
        b"\x40" + bytes(20),  # version 1
        bytes.fromhex("8f60000100000000000000010000"),  # fifteen CSRCs, none there
        bytes.fromhex("906000010000000000000001bede"),  # extension header cut
        bytes.fromhex("906000010000000000000001bedeffff"),  # extension longer than the packet
        bytes.fromhex("a06000010000000000000001") + b"\x00",  # no padding can be 0
        bytes.fromhex("a06000010000000000000001") + b"\xff",  # more padding than packet
    ],
)
def test_what_is_no_packet_is_refused(noise: bytes) -> None:
    assert parse_rtp(noise) is None


def test_noise_never_raises() -> None:
    chance = random.Random(7)
    for _ in range(5000):
        parse_rtp(chance.randbytes(chance.randrange(40)))


@pytest.mark.parametrize("start", [0, 1, 32767, 32768, 65533, 65534, 65535])
def test_counters_are_extended_over_their_wrap(start: int) -> None:
    unwrapper = Unwrapper(16)
    extended = [unwrapper.extend((start + step) % 65536) for step in range(0, 200_000, 999)]
    assert [value - start for value in extended] == list(range(0, 200_000, 999))


def test_an_old_value_is_extended_backwards() -> None:
    unwrapper = Unwrapper(16)
    assert unwrapper.extend(2) == 2
    assert unwrapper.peek(65535) == -1
    assert unwrapper.extend(65535) == -1
    assert unwrapper.extend(0) == 0
