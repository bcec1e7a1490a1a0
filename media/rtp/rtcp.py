"""RTCP (RFC 3550 6, RFC 4585, RFC 5104, REMB), read and written: a sans-IO core."""

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from media.rtp.reception import ReportBlock

SR: Final = 200
RR: Final = 201
SDES: Final = 202
BYE: Final = 203
RTPFB: Final = 205
PSFB: Final = 206

FMT_NACK: Final = 1
FMT_PLI: Final = 1
FMT_FIR: Final = 4
FMT_AFB: Final = 15

COMPOUND_MAX_BYTES: Final = 1200
BLOCKS_MAX: Final = 31


class SenderReport(NamedTuple):
    ssrc: int
    ntp: int
    timestamp: int
    packets: int
    octets: int


class Nack(NamedTuple):
    """Generic NACK: *sequences* of *media_ssrc* were not received."""

    media_ssrc: int
    sequences: tuple[int, ...]


class KeyframeWanted(NamedTuple):
    """PLI (RFC 4585 6.3.1) or FIR (RFC 5104 4.3.1)."""

    media_ssrc: int


class Bye(NamedTuple):
    ssrc: int


Item = SenderReport | ReportBlock | Nack | KeyframeWanted | Bye


class MalformedRtcp(ValueError):
    """Not a compound RTCP packet; nothing of it is used."""


def parse(data: bytes) -> list[Item]:
    """The items of a compound (or reduced-size, RFC 5506) packet that we act on, in order.

    What we do not know is skipped. Raises MalformedRtcp.
    """
    items: list[Item] = []
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise MalformedRtcp("a packet header is cut short")
        first, kind, words = struct.unpack_from("!BBH", data, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            raise MalformedRtcp("a packet overruns the compound")
        body = data[at + 4 : end]
        if first & 0x20:
            if not body or not 0 < body[-1] <= len(body):
                raise MalformedRtcp("the padding is longer than its packet")
            body = body[: -body[-1]]
        _parse_one(kind, first & 0x1F, body, items)
        at = end
    return items


def _parse_one(kind: int, count: int, body: bytes, items: list[Item]) -> None:
    if kind == SR:
        if len(body) < 24 + 24 * count:
            raise MalformedRtcp("a sender report is cut short")
        items.append(SenderReport(*struct.unpack_from("!IQIII", body)))
        _parse_blocks(body, 24, count, items)
    elif kind == RR:
        if len(body) < 4 + 24 * count:
            raise MalformedRtcp("a receiver report is cut short")
        _parse_blocks(body, 4, count, items)
    elif kind == BYE:
        if len(body) < 4 * count:
            raise MalformedRtcp("a goodbye is cut short")
        items.extend(Bye(ssrc) for (ssrc,) in struct.iter_unpack("!I", body[: 4 * count]))
    elif kind in (RTPFB, PSFB):
        if len(body) < 8:
            raise MalformedRtcp("a feedback packet is cut short")
        _parse_feedback(kind, count, body, items)


def _parse_blocks(body: bytes, at: int, count: int, items: list[Item]) -> None:
    for index in range(count):
        ssrc, loss, highest, jitter, last_sr, delay = struct.unpack_from(
            "!IIIIII", body, at + 24 * index
        )
        lost = loss & 0xFFFFFF
        if lost & 0x800000:
            lost -= 1 << 24
        items.append(ReportBlock(ssrc, loss >> 24, lost, highest, jitter, last_sr, delay))


def _parse_feedback(kind: int, fmt: int, body: bytes, items: list[Item]) -> None:
    (media_ssrc,) = struct.unpack_from("!I", body, 4)
    if kind == RTPFB and fmt == FMT_NACK:
        sequences: list[int] = []
        for at in range(8, len(body) - 3, 4):
            first, mask = struct.unpack_from("!HH", body, at)
            sequences.append(first)
            sequences.extend((first + 1 + bit) & 0xFFFF for bit in range(16) if mask >> bit & 1)
        if sequences:
            items.append(Nack(media_ssrc, tuple(sequences)))
    elif kind == PSFB and fmt == FMT_PLI:
        items.append(KeyframeWanted(media_ssrc))
    elif kind == PSFB and fmt == FMT_FIR:
        # RFC 5104 4.3.1.2: the ssrc in the header is unused, each entry names its own.
        for at in range(8, len(body) - 7, 8):
            items.append(KeyframeWanted(struct.unpack_from("!I", body, at)[0]))


# --- writing ------------------------------------------------------------------------------------


def _packet(count: int, kind: int, body: bytes) -> bytes:
    assert len(body) % 4 == 0
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def sender_report(report: SenderReport) -> bytes:
    return _packet(0, SR, struct.pack("!IQIII", *report))


def receiver_report(sender_ssrc: int, blocks: Sequence[ReportBlock]) -> bytes:
    """At most BLOCKS_MAX blocks."""
    body = struct.pack("!I", sender_ssrc)
    for block in blocks:
        body += struct.pack(
            "!IIIIII",
            block.ssrc,
            block.fraction_lost << 24 | block.cumulative_lost & 0xFFFFFF,
            block.highest,
            block.jitter_ticks,
            block.last_sr,
            block.delay_since_sr,
        )
    return _packet(len(blocks), RR, body)


def source_description(ssrc: int, cname: str) -> bytes:
    """SDES with CNAME (RFC 3550 6.5.1)."""
    name = cname.encode()[:255]
    body = struct.pack("!IBB", ssrc, 1, len(name)) + name + b"\0"
    return _packet(1, SDES, body + bytes(-len(body) % 4))


def goodbye(ssrcs: Sequence[int]) -> bytes:
    return _packet(len(ssrcs), BYE, b"".join(struct.pack("!I", ssrc) for ssrc in ssrcs))


def nack(sender_ssrc: int, media_ssrc: int, sequences: Iterable[int]) -> bytes:
    """RFC 4585 6.2.1: *sequences* in their (unwrapped) order, packed sixteen to a mask."""
    entries: list[tuple[int, int]] = []
    for sequence in sequences:
        sequence &= 0xFFFF
        if entries:
            first, mask = entries[-1]
            ahead = (sequence - first) & 0xFFFF
            if 1 <= ahead <= 16:
                entries[-1] = (first, mask | 1 << (ahead - 1))
                continue
        entries.append((sequence, 0))
    body = struct.pack("!II", sender_ssrc, media_ssrc)
    return _packet(FMT_NACK, RTPFB, body + b"".join(struct.pack("!HH", *e) for e in entries))


def pli(sender_ssrc: int, media_ssrc: int) -> bytes:
    return _packet(FMT_PLI, PSFB, struct.pack("!II", sender_ssrc, media_ssrc))


def fir(sender_ssrc: int, media_ssrc: int, number: int) -> bytes:
    """*number* grows with each new request (RFC 5104 4.3.1.1)."""
    return _packet(
        FMT_FIR, PSFB, struct.pack("!IIIBxxx", sender_ssrc, 0, media_ssrc, number & 0xFF)
    )


def remb(sender_ssrc: int, bitrate_bps: int, ssrcs: Sequence[int]) -> bytes:
    """Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 2.2)."""
    exponent, mantissa = 0, bitrate_bps
    while mantissa > 0x3FFFF:
        mantissa >>= 1
        exponent += 1
    body = struct.pack("!II4sB", sender_ssrc, 0, b"REMB", len(ssrcs))
    body += struct.pack("!I", exponent << 18 | mantissa)[1:]
    return _packet(FMT_AFB, PSFB, body + b"".join(struct.pack("!I", ssrc) for ssrc in ssrcs))
