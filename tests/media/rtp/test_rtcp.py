"""RTCP by literal bytes, written as it is read, and refused when cut short."""

import struct

import pytest

from media.rtp import rtcp
from media.rtp.reception import ReportBlock

BLOCK = ReportBlock(7, 25, -3, 0x10005, 12, 0xAABBCCDD, 65536)


def test_a_compound_is_read_in_order() -> None:
    report = rtcp.SenderReport(1, 0x0123456789ABCDEF, 3000, 10, 11000)
    compound = (
        rtcp.sender_report(report)
        + rtcp.source_description(1, "name")
        + rtcp.receiver_report(2, [BLOCK])
        + rtcp.goodbye([1, 9])
    )
    assert rtcp.parse(compound) == [report, BLOCK, rtcp.Bye(1), rtcp.Bye(9)]


@pytest.mark.parametrize("start", [0, 100, 65520, 65534, 65535])
def test_nacks_are_packed_sixteen_to_a_mask_through_the_wrap(start: int) -> None:
    wanted = [start, start + 1, start + 16, start + 17, start + 40]
    packet = rtcp.nack(1, 2, wanted)
    assert len(packet) == 12 + 3 * 4
    assert rtcp.parse(packet) == [rtcp.Nack(2, tuple(number & 0xFFFF for number in wanted))]


def test_a_literal_nack() -> None:
    assert rtcp.nack(1, 2, [10, 12]) == bytes.fromhex("81cd0003 00000001 00000002 000a0002")


def test_keyframe_requests_name_their_source() -> None:
    assert rtcp.parse(rtcp.pli(1, 42)) == [rtcp.KeyframeWanted(42)]
    assert rtcp.parse(rtcp.fir(1, 43, 300)) == [rtcp.KeyframeWanted(43)]


def test_remb_as_the_draft_writes_it() -> None:
    packet = rtcp.remb(1, 3_000_000, [42])
    assert packet[12:16] == b"REMB"
    count, exponent, mantissa = packet[16], packet[17] >> 2, int.from_bytes(packet[17:20], "big")
    assert count == 1
    assert (mantissa & 0x3FFFF) << exponent == pytest.approx(3_000_000, rel=1e-4)
    assert rtcp.parse(packet) == []


def test_padding_is_taken_off_and_unknown_kinds_are_skipped() -> None:
    padded = bytes.fromhex("a1ce0003 00000001 0000002a 00000004")  # PLI with four bytes of padding
    unknown = bytes.fromhex("80d10001 00000000")
    assert rtcp.parse(unknown + padded) == [rtcp.KeyframeWanted(42)]


@pytest.mark.parametrize(
    "text",
    [
        "81",
        "81c9",
        "81c90007 00000001",  # longer than the datagram
        "41c90001 00000001",  # version 1
        "81c90001 00000001",  # one block promised, none there
        "80c80001 00000001",  # a sender report without its body
        "82cb0001 00000001",  # two goodbyes promised, one there
        "81cd0001 00000001",  # feedback without a media ssrc
        "a1ce0002 00000001 000000ff",  # more padding than packet
        "a1ce0000",  # padding of an empty packet
    ],
)
def test_what_is_cut_short_is_malformed(text: str) -> None:
    with pytest.raises(rtcp.MalformedRtcp):
        rtcp.parse(bytes.fromhex(text))


def test_a_negative_loss_survives_its_24_bits() -> None:
    (block,) = rtcp.parse(rtcp.receiver_report(1, [BLOCK]))
    assert block == BLOCK


def test_a_long_cname_is_cut_to_its_length_byte() -> None:
    packet = rtcp.source_description(1, "n" * 400)
    (words,) = struct.unpack_from("!H", packet, 2)
    assert len(packet) == 4 * (words + 1)
    assert packet[9] == 255
