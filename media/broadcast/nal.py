"""Core: H.264 NAL units and parameter sets (ITU-T H.264 7.3, ISO/IEC 14496-15 5.3)."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

NAL_SLICE: Final = 1
NAL_IDR: Final = 5
NAL_SPS: Final = 7
NAL_PPS: Final = 8
NAL_DELIMITER: Final = 9

_START_CODE: Final = b"\x00\x00\x01"
_PROFILES_WITH_CHROMA: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134})


def nal_type(nal: bytes) -> int:
    """The nal_unit_type of *nal*, which is not empty."""
    return nal[0] & 0x1F


def split_annex_b(data: bytes) -> list[bytes]:
    """Return the NAL units of a byte stream (H.264 Annex B), start codes taken off."""
    nals = []
    start = data.find(_START_CODE)
    while start != -1:
        following = data.find(_START_CODE, start + 3)
        end = len(data) if following == -1 else following
        # A four-byte start code begins with one more zero; a NAL unit never ends with one.
        nal = data[start + 3 : end].rstrip(b"\x00")
        if nal:
            nals.append(nal)
        start = following
    return nals


def join_annex_b(nals: Iterable[bytes]) -> bytes:
    """Return *nals* as a byte stream, as decoders take it."""
    return b"".join(b"\x00\x00\x00\x01" + nal for nal in nals)


def join_length_prefixed(nals: Iterable[bytes]) -> bytes:
    """Return *nals* as a sample of an ``avc1`` track: each behind its length in 4 bytes."""
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


def parse_sprop(fmtp: str) -> list[bytes]:
    """Return the NAL units of sprop-parameter-sets in *fmtp* (RFC 6184 8.1); [] without any."""
    for item in fmtp.split(";"):
        name, _, value = item.strip().partition("=")
        if name.strip().lower() == "sprop-parameter-sets":
            try:
                nals = [base64.b64decode(text, validate=True) for text in value.split(",")]
            except (binascii.Error, ValueError):
                return []
            return [nal for nal in nals if nal]
    return []


@dataclass(frozen=True, slots=True)
class SequenceParameters:
    """What we need of a sequence parameter set."""

    profile_idc: int
    width: int
    height: int
    eight_bit_420: bool


class _BitReader:
    """Reads a raw byte sequence payload (H.264 7.2); raises ValueError past its end."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        if count > self._left:
            raise ValueError("the parameter set ends early")
        self._left -= count
        return self._bits >> self._left & ((1 << count) - 1)

    def ue(self) -> int:
        """Exp-Golomb, 9.1."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 31:
                raise ValueError("not an Exp-Golomb code")
        return (1 << zeros) - 1 + self.read(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def parse_sps(nal: bytes) -> SequenceParameters:
    """Return what the SPS *nal* says (H.264 7.3.2.1.1). Raises ValueError where it is not one."""
    if len(nal) < 4 or nal_type(nal) != NAL_SPS:
        raise ValueError("not a sequence parameter set")
    # 7.4.1: emulation prevention bytes are no part of the payload.
    bits = _BitReader(nal[1:].replace(b"\x00\x00\x03", b"\x00\x00"))
    profile_idc = bits.read(8)
    bits.read(16)
    bits.ue()
    chroma, eight_bit = 1, True
    if profile_idc in _PROFILES_WITH_CHROMA:
        chroma, eight_bit = _read_high_profile(bits)
    _skip_picture_order(bits)
    bits.ue()  # max_num_ref_frames
    bits.read(1)
    width = 16 * (bits.ue() + 1)
    height_in_map_units = bits.ue() + 1
    frame_mbs_only = bits.read(1)
    height = 16 * height_in_map_units * (2 - frame_mbs_only)
    if not frame_mbs_only:
        bits.read(1)
    bits.read(1)
    if bits.read(1):  # frame_cropping: 7.4.2.1.1, units of chroma samples
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        unit_x = 2 if chroma in (1, 2) else 1
        unit_y = (2 if chroma == 1 else 1) * (2 - frame_mbs_only)
        width -= unit_x * (left + right)
        height -= unit_y * (top + bottom)
    if not (0 < width <= 8192 and 0 < height <= 8192):
        raise ValueError("no picture has this size")
    return SequenceParameters(profile_idc, width, height, chroma == 1 and eight_bit)


def _read_high_profile(bits: _BitReader) -> tuple[int, bool]:
    chroma = bits.ue()
    if chroma == 3:
        bits.read(1)
    eight_bit = bits.ue() == 0
    eight_bit = bits.ue() == 0 and eight_bit
    bits.read(1)
    if bits.read(1):
        for index in range(12 if chroma == 3 else 8):
            if bits.read(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma, eight_bit


def _skip_scaling_list(bits: _BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _skip_picture_order(bits: _BitReader) -> None:
    bits.ue()  # log2_max_frame_num_minus4
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.read(1)
        bits.se()
        bits.se()
        count = bits.ue()
        if count > 255:
            raise ValueError("too many frames in a picture order cycle")
        for _ in range(count):
            bits.se()
