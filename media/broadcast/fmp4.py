"""Core: CMAF written by hand (ISO/IEC 14496-12, -14, -15; ISO/IEC 23000-19): init sections and
parts, one track each.

By hand, because a part must end exactly where we say; a muxer flushes where it likes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack
from typing import Final

TRACK_ID: Final = 1
_UNITY_MATRIX: Final = pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_UNDETERMINED_LANGUAGE: Final = 0x55C4
# 14496-12 8.8.3.1: sample_depends_on 2 (on none) for a sync sample; 1 and non-sync otherwise.
_SYNC_SAMPLE: Final = 0x02000000
_OTHER_SAMPLE: Final = 0x01010000


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a part."""

    duration_ticks: int
    sync: bool
    data: bytes


def _box(kind: bytes, *contents: bytes) -> bytes:
    body = b"".join(contents)
    return pack(">I4s", len(body) + 8, kind) + body


def _full_box(kind: bytes, version: int, flags: int, *contents: bytes) -> bytes:
    return _box(kind, pack(">I", version << 24 | flags), *contents)


def avc1_entry(width: int, height: int, sps: Sequence[bytes], pps: Sequence[bytes]) -> bytes:
    """A sample entry whose parameter sets stand here and not in the samples (14496-15 5.4)."""
    first = sps[0]
    assert len(sps) < 32, "avcC counts them in 5 bits"
    assert len(pps) < 256, "avcC counts them in 8 bits"
    configuration = _box(
        b"avcC",
        bytes([1, first[1], first[2], first[3], 0xFF, 0xE0 | len(sps)]),
        *[pack(">H", len(nal)) + nal for nal in sps],
        bytes([len(pps)]),
        *[pack(">H", len(nal)) + nal for nal in pps],
        # 5.3.3.1.2: the high profiles add their chroma format and bit depths: 4:2:0, 8 bits.
        b"\xfd\xf8\xf8\x00" if first[1] in (100, 110, 122, 144) else b"",
    )
    return _box(
        b"avc1",
        bytes(6) + pack(">H", 1) + bytes(16),
        pack(">HHIIIH", width, height, 0x480000, 0x480000, 0, 1),
        bytes(32) + pack(">Hh", 0x18, -1),
        configuration,
        # Square pixels; players that find none may ask the stream (14496-12 12.1.4).
        _box(b"pasp", pack(">II", 1, 1)),
    )


def mp4a_entry(
    rate_hz: int, channels: int, audio_specific_config: bytes, bit_rate_bps: int
) -> bytes:
    """A sample entry for AAC (14496-14 5.6; descriptors of 14496-1 7.2.6)."""
    decoder = _descriptor(
        4,
        b"\x40\x15\x00\x00\x00"
        + pack(">II", bit_rate_bps, bit_rate_bps)
        + _descriptor(5, audio_specific_config),
    )
    elementary = _descriptor(3, b"\x00\x00\x00" + decoder + _descriptor(6, b"\x02"))
    return _box(
        b"mp4a",
        bytes(6) + pack(">H", 1) + bytes(8),
        pack(">HHHHI", channels, 16, 0, 0, rate_hz << 16),
        _full_box(b"esds", 0, 0, elementary),
    )


def _descriptor(tag: int, body: bytes) -> bytes:
    assert len(body) < 128, "one byte of size is enough for our descriptors"
    return bytes([tag, 0x80, 0x80, 0x80, len(body)]) + body


def init_section(*, timescale: int, sample_entry: bytes, width: int = 0, height: int = 0) -> bytes:
    """Return ``ftyp`` and ``moov`` of one track; with a size it is video, without it audio."""
    video = width > 0
    header = _full_box(
        b"tkhd",
        0,
        3,  # enabled, in movie
        pack(">IIIII", 0, 0, TRACK_ID, 0, 0) + bytes(8),
        pack(">hhhh", 0, 0, 0 if video else 0x100, 0) + _UNITY_MATRIX,
        pack(">II", width << 16, height << 16),
    )
    media_header = _full_box(
        b"mdhd", 0, 0, pack(">IIIIHH", 0, 0, timescale, 0, _UNDETERMINED_LANGUAGE, 0)
    )
    handler = _full_box(
        b"hdlr", 0, 0, bytes(4) + (b"vide" if video else b"soun") + bytes(12) + b"\x00"
    )
    kind_header = (
        _full_box(b"vmhd", 0, 1, bytes(8)) if video else _full_box(b"smhd", 0, 0, bytes(4))
    )
    data_info = _box(b"dinf", _full_box(b"dref", 0, 0, pack(">I", 1), _full_box(b"url ", 0, 1)))
    tables = _box(
        b"stbl",
        _full_box(b"stsd", 0, 0, pack(">I", 1), sample_entry),
        _full_box(b"stts", 0, 0, bytes(4)),
        _full_box(b"stsc", 0, 0, bytes(4)),
        _full_box(b"stsz", 0, 0, bytes(8)),
        _full_box(b"stco", 0, 0, bytes(4)),
    )
    media = _box(b"mdia", media_header, handler, _box(b"minf", kind_header, data_info, tables))
    movie_header = _full_box(
        b"mvhd",
        0,
        0,
        pack(">IIIIIHH", 0, 0, 1000, 0, 0x10000, 0x100, 0) + bytes(8),
        _UNITY_MATRIX + bytes(24) + pack(">I", TRACK_ID + 1),
    )
    extends = _box(b"mvex", _full_box(b"trex", 0, 0, pack(">IIIII", TRACK_ID, 1, 0, 0, 0)))
    return _box(b"ftyp", b"iso6", pack(">I", 1), b"iso6cmfcmp41") + _box(
        b"moov", movie_header, _box(b"trak", header, media), extends
    )


def part(sequence_number: int, start_ticks: int, samples: Sequence[Sample]) -> bytes:
    """Return ``moof`` and ``mdat`` of *samples*, the first of which is at *start_ticks*."""
    assert samples, "a part has samples"
    fragment_header = _full_box(b"mfhd", 0, 0, pack(">I", sequence_number & 0xFFFFFFFF))
    # default-base-is-moof (CMAF 7.5.16); decode time in 64 bits.
    track_header = _full_box(b"tfhd", 0, 0x020000, pack(">I", TRACK_ID))
    decode_time = _full_box(b"tfdt", 1, 0, pack(">Q", start_ticks))
    run_bytes = 8 + 12 + 12 * len(samples)
    fragment_bytes = 8 + len(fragment_header) + 8 + len(track_header) + len(decode_time) + run_bytes
    # 0x701: data offset, and of each sample its duration, size and flags.
    run = _full_box(
        b"trun",
        0,
        0x000701,
        pack(">Ii", len(samples), fragment_bytes + 8),
        *[
            pack(
                ">III",
                sample.duration_ticks,
                len(sample.data),
                _SYNC_SAMPLE if sample.sync else _OTHER_SAMPLE,
            )
            for sample in samples
        ],
    )
    fragment = _box(b"moof", fragment_header, _box(b"traf", track_header, decode_time, run))
    assert len(fragment) == fragment_bytes, "the data offset points behind the fragment"
    return fragment + _box(b"mdat", *[sample.data for sample in samples])
