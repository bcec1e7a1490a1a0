"""Boxes, byte for byte; and what PyAV makes of them."""

from typing import Any

from media.broadcast.fmp4 import Sample, avc1_entry, init_section, mp4a_entry, part
from media.broadcast.nal import join_length_prefixed, nal_type, split_annex_b
from media.broadcast.output import parameter_sets_of


def boxes(data: bytes) -> list[tuple[str, bytes]]:
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append((data[4:8].decode(), data[8:size]))
        data = data[size:]
    return found


def test_a_part_byte_for_byte() -> None:
    body = part(7, 0x1_0000_0001, [Sample(3000, True, b"KEY"), Sample(3001, False, b"DELTA")])
    assert body.hex(" ", 4) == (
        bytes.fromhex(
            "00000070 6d6f6f66"  # moof, 112 bytes
            "00000010 6d666864 00000000 00000007"  # mfhd, sequence number 7
            "00000058 74726166"  # traf
            "00000010 74666864 00020000 00000001"  # tfhd, default-base-is-moof, track 1
            "00000014 74666474 01000000 00000001 00000001"  # tfdt in 64 bits
            "0000002c 7472756e 00000701 00000002 00000078"  # trun, two samples, data at 120
            "00000bb8 00000003 02000000"  # duration, size, sync
            "00000bb9 00000005 01010000"  # depends on others, no sync
            "00000010 6d646174"  # mdat
        )
        + b"KEYDELTA"
    ).hex(" ", 4)


def test_an_audio_sample_entry_byte_for_byte() -> None:
    entry = mp4a_entry(48_000, 2, b"\x11\x90", 128_000)
    assert entry == bytes.fromhex(
        "00000057 6d703461 000000000000 0001 0000000000000000 0002 0010 0000 0000 bb800000"
        "00000033 65736473 00000000"
        "03 80808022 0000 00"
        "04 80808014 40 15 000000 0001f400 0001f400"
        "05 80808002 1190"
        "06 80808001 02"
    )


def test_high_profiles_tell_their_chroma_format() -> None:
    base = avc1_entry(64, 64, [b"\x67\x42\xc0\x1f"], [b"\x68\xce"])
    high = avc1_entry(64, 64, [b"\x67\x64\x00\x1f"], [b"\x68\xce"])
    assert len(high) == len(base) + 4
    assert b"\xfd\xf8\xf8\x00" in high


def test_the_init_section_has_one_track_and_no_samples() -> None:
    init = init_section(timescale=48_000, sample_entry=mp4a_entry(48_000, 2, b"\x11\x90", 128_000))
    top = dict(boxes(init))
    assert top["ftyp"] == b"iso6\x00\x00\x00\x01iso6cmfcmp41"
    assert [kind for kind, _ in boxes(top["moov"])] == ["mvhd", "trak", "mvex"]


def test_another_demuxer_reads_back_every_sample_time_and_size(studio: Any) -> None:
    track = studio.video("video/H264", duration_s=1.0, width=320, height=180)
    units = [split_annex_b(data) for data in track.encoded]
    parameters = parameter_sets_of(units[0])
    init = init_section(
        timescale=90_000,
        sample_entry=avc1_entry(320, 180, parameters.sps, parameters.pps),
        width=320,
        height=180,
    )
    body, start = init, 900_000
    for first in range(0, 30, 10):
        samples = [
            Sample(
                3000,
                index == 0,
                join_length_prefixed([n for n in units[index] if nal_type(n) not in (7, 8, 9)]),
            )
            for index in range(first, first + 10)
        ]
        body += part(first, start + 3000 * first, samples)
    decoded = studio.decode(body)
    assert (decoded.codec, decoded.width, decoded.height) == ("h264", 320, 180)
    assert [round(t * 30) for t in decoded.times_s] == list(range(300, 330))
    assert decoded.keyframes_s == [10.0]
    reference = studio.picture(29, 320, 180, 60).to_ndarray(format="gray")
    assert abs(decoded.pictures[29].astype(int) - reference).mean() < 4
