"""Does this packet begin a keyframe? Read from the payload headers alone. A sans-IO core.

Each function takes one RTP payload and never raises: a payload too short to tell begins none.
"""

from collections.abc import Callable
from typing import Final

Detector = Callable[[bytes], bool]


def vp8(payload: bytes) -> bool:
    """RFC 7741 4.2, 4.3: the first packet of partition 0 whose frame header has P = 0."""
    if len(payload) < 1:
        return False
    first = payload[0]
    if first & 0x17 != 0x10:  # S set, PID 0
        return False
    at = 1
    if first & 0x80:  # X
        if len(payload) < 2:
            return False
        extended = payload[1]
        at = 2
        if extended & 0x80:  # I: picture id, 7 or 15 bits
            if len(payload) <= at:
                return False
            at += 2 if payload[at] & 0x80 else 1
        if extended & 0x40:  # L
            at += 1
        if extended & 0x30:  # T or K share one byte
            at += 1
    return len(payload) > at and not payload[at] & 0x01


_IDR: Final = 5
_SPS: Final = 7
_STAP_A: Final = 24
_FU_A: Final = 28


def h264(payload: bytes) -> bool:
    """RFC 6184 5.2-5.8: an SPS or the start of an IDR slice, alone, aggregated or fragmented."""
    if len(payload) < 2:
        return False
    kind = payload[0] & 0x1F
    if kind in (_IDR, _SPS):
        return True
    if kind == _FU_A:
        return bool(payload[1] & 0x80) and payload[1] & 0x1F in (_IDR, _SPS)
    if kind == _STAP_A:
        at = 1
        while at + 2 < len(payload):
            size = payload[at] << 8 | payload[at + 1]
            if payload[at + 2] & 0x1F in (_IDR, _SPS):
                return True
            at += 2 + size
    return False


def vp9(payload: bytes) -> bool:
    """RFC 9628 4.2: begins a frame (B), not inter-predicted (P = 0), lowest spatial layer."""
    if len(payload) < 1:
        return False
    first = payload[0]
    if first & 0x40 or not first & 0x08:  # P, B
        return False
    if not first & 0x20:  # no layer indices
        return True
    at = 1
    if first & 0x80:  # I
        if len(payload) <= at:
            return False
        at += 2 if payload[at] & 0x80 else 1
    # TID(3) U SID(3) D: a keyframe's higher spatial layers are predicted from its lowest.
    return len(payload) > at and not payload[at] & 0x0E


def av1(payload: bytes) -> bool:
    """AV1 RTP payload 4.4: N, the first packet of a coded video sequence."""
    return len(payload) > 1 and bool(payload[0] & 0x08) and not payload[0] & 0x80


DETECTORS: Final[dict[str, Detector]] = {
    "video/vp8": vp8,
    "video/h264": h264,
    "video/vp9": vp9,
    "video/av1": av1,
}


def detector(mime: str) -> Detector | None:
    """The detector of *mime* (any case); None for audio and for video we do not know."""
    return DETECTORS.get(mime.lower())
