"""RTP packets by literal bytes: headers, extensions of both forms, and what does not fit."""

import pytest

from media.rtp.packet import Packet, assemble, extension_block, parse, split

HEADER = bytes.fromhex("80e01234 00000bb8 000004d2")


def test_a_plain_packet_is_read() -> None:
    packet = parse(HEADER + b"payload", 0x11234)
    assert packet is not None
    assert (packet.extended, packet.timestamp, packet.marker) == (0x11234, 3000, 0x80)
    assert (packet.padding, packet.elements, packet.payload) == (0, (), b"payload")


def test_csrcs_and_one_byte_extensions_are_set_apart() -> None:
    data = bytes.fromhex("92600001 00000000 00000001 aaaaaaaa bbbbbbbb bede0002")
    data += bytes.fromhex("10 85 00 32616263 00") + b"P"
    packet = parse(data, 1)
    assert packet is not None
    assert packet.elements == ((1, b"\x85"), (3, b"abc"))
    assert packet.payload == b"P"


def test_two_byte_extensions_hold_long_and_empty_values() -> None:
    data = bytes.fromhex("90600001 00000000 00000001 1000 0006")
    body = bytes([20, 0, 0, 21, 18]) + b"x" * 18
    packet = parse(data + body + bytes(24 - len(body)) + b"P", 1)
    assert packet is not None
    assert packet.elements == ((20, b""), (21, b"x" * 18))
    assert packet.payload == b"P"


def test_id_15_ends_the_elements() -> None:
    data = bytes.fromhex("90600001 00000000 00000001 bede0002 10 85 f0 00 21 6162 00")
    parts = split(data, data[0])
    assert parts is not None
    assert parts[1] == ((1, b"\x85"),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "80e0",
        "8fe01234 00000bb8 000004d2",  # 15 CSRCs that are not there
        "90e01234 00000bb8 000004d2",  # an extension that is not there
        "90e01234 00000bb8 000004d2 bede00ff 00000000",  # longer than the packet
    ],
)
def test_a_header_that_does_not_fit_is_malformed(text: str) -> None:
    assert parse(bytes.fromhex(text), 1) is None


def test_an_element_that_overruns_its_block_is_left_out() -> None:
    data = bytes.fromhex("90600001 00000000 00000001 bede0001 10 85 1f 00")
    parts = split(data, data[0])
    assert parts is not None
    assert parts[1] == ((1, b"\x85"),)


@pytest.mark.parametrize(
    "elements",
    [
        [(1, b"\x85")],
        [(1, b"\x85"), (3, b"abc"), (14, b"y" * 16)],
        [(15, b"z")],  # needs the two-byte form
        [(1, b"")],
        [(1, b"w" * 17)],
    ],
)
def test_an_extension_block_is_read_as_it_was_written(elements: list[tuple[int, bytes]]) -> None:
    block = extension_block(elements)
    assert len(block) % 4 == 0
    packet = parse(bytes([0x90]) + HEADER[1:] + block + b"P", 1)
    assert packet is not None
    assert (list(packet.elements), packet.payload) == (elements, b"P")


def test_a_packet_is_put_together_with_another_header() -> None:
    packet = Packet(70000, 3000, 0x80, 0x20, (), b"load\x01")
    data = assemble(
        packet, payload_type=97, sequence=65537, timestamp=-1, ssrc=5, prefix=b"\x12\x34"
    )
    assert data == bytes.fromhex("a0e10001 ffffffff 00000005 1234") + b"load\x01"
