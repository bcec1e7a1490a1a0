"""The RTCP that the load generator sends and understands (RFC 3550, RFC 4585, RFC 5104, REMB)."""

import struct
from dataclasses import dataclass, field

from tests.bench.engine import SourceCounters

NTP_EPOCH_S = 2_208_988_800
MAX_BLOCKS = 31
REMB_BPS = 50_000_000
"""The receivers' estimate: more than any shape needs, so that no server holds back."""


def sender_report(ssrc: int, wallclock_s: float, ticks: int, packets: int, octets: int) -> bytes:
    """RFC 3550 6.4.1, without blocks."""
    ntp_s = wallclock_s + NTP_EPOCH_S
    fraction = int((ntp_s % 1) * (1 << 32))
    return struct.pack(
        "!BBHIIIIII",
        0x80,
        200,
        6,
        ssrc,
        int(ntp_s),
        fraction,
        ticks,
        packets & 0xFFFFFFFF,
        octets & 0xFFFFFFFF,
    )


def wants_keyframe(compound: bytes) -> bool:
    """Whether a PLI (RFC 4585 6.3.1) or FIR (RFC 5104 4.3.1) is in it."""
    at = 0
    while at + 4 <= len(compound):
        first, kind, words = struct.unpack_from("!BBH", compound, at)
        if kind == 206 and first & 0x1F in (1, 4):
            return True
        at += 4 * (words + 1)
    return False


@dataclass(slots=True)
class _Seen:
    base: int
    received: int
    highest: int


@dataclass(slots=True)
class ReceiverReports:
    """Remembers what the last report said, for the fraction lost since."""

    own_ssrc: int
    _seen: dict[int, _Seen] = field(default_factory=dict)

    def compound(self, sources: list[SourceCounters]) -> bytes | None:
        """A receiver report and a REMB about *sources*; None when there are none."""
        sources = sources[:MAX_BLOCKS]
        if not sources:
            return None
        blocks = b"".join(self._block(source) for source in sources)
        count = len(sources)
        report = struct.pack("!BBHI", 0x80 | count, 201, 1 + 6 * count, self.own_ssrc) + blocks
        return report + _remb(self.own_ssrc, [source.ssrc for source in sources])

    def _block(self, now: SourceCounters) -> bytes:
        first = now.highest_sequence - now.received + 1
        seen = self._seen.setdefault(now.ssrc, _Seen(first, now.received, now.highest_sequence))
        lost = max(0, now.highest_sequence - seen.base + 1 - now.received)
        expected = now.highest_sequence - seen.highest
        missing = expected - (now.received - seen.received)
        fraction = min(255, max(0, 256 * missing // expected)) if expected > 0 else 0
        seen.received, seen.highest = now.received, now.highest_sequence
        return struct.pack(
            "!IIIIII",
            now.ssrc,
            fraction << 24 | min(lost, 0x7FFFFF),
            now.highest_sequence & 0xFFFFFFFF,
            0,
            0,
            0,
        )


def _remb(own_ssrc: int, ssrcs: list[int]) -> bytes:
    """draft-alvestrand-rmcat-remb-03 2.2."""
    exponent, mantissa = 0, REMB_BPS
    while mantissa > 0x3FFFF:
        mantissa >>= 1
        exponent += 1
    count = len(ssrcs)
    rate = struct.pack("!I", count << 24 | exponent << 18 | mantissa)
    head = struct.pack("!BBHII4s", 0x8F, 206, 4 + count, own_ssrc, 0, b"REMB")
    return head + rate + b"".join(struct.pack("!I", ssrc) for ssrc in ssrcs)
