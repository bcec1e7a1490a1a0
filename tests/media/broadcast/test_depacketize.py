"""Frames out of packets, for each codec: whole ones, broken ones, noise."""

import random
from typing import Any

import pytest

from media.broadcast.depacketize import DEPACKETIZERS, Depacketizer, EncodedFrame
from media.broadcast.depacketize.av1 import Av1Depacketizer
from media.broadcast.depacketize.h264 import H264Depacketizer
from media.broadcast.depacketize.vp8 import Vp8Depacketizer
from media.broadcast.depacketize.vp8 import descriptor_bytes as vp8_descriptor_bytes
from media.broadcast.depacketize.vp9 import Vp9Depacketizer
from media.broadcast.depacketize.vp9 import descriptor_bytes as vp9_descriptor_bytes
from media.broadcast.nal import split_annex_b
from media.broadcast.packet import RtpPacket, parse_rtp

SPS = bytes.fromhex("6742c01fda014016e840000003004000000c03c60ca8")
PPS = bytes.fromhex("68ce3c80")
IDR = b"\x65\x88" + bytes(range(2, 30))
DELTA = b"\x41\x9a" + bytes(range(2, 20))
VP8_KEY = b"\x10\x02\x00\x9d\x01\x2a\x40\x01\xf0\x00rest"
VP8_DELTA = b"\x11\x02\x00more"


def packet(payload: bytes, timestamp: int = 0, *, marker: bool = False) -> RtpPacket:
    return RtpPacket(96, marker, 0, timestamp, 1, payload)


def stap_a(*nals: bytes) -> bytes:
    return b"\x78" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


def feed(depacketizer: Depacketizer, *packets: RtpPacket) -> list[EncodedFrame]:
    return [frame for item in packets for frame in depacketizer.push(item)]


# H.264, RFC 6184.


def test_h264_single_aggregated_and_fragmented_units_make_one_access_unit() -> None:
    frames = feed(
        H264Depacketizer(),
        packet(stap_a(SPS, PPS)),
        packet(b"\x06\x05\x01\x00\x80"),  # SEI, alone in its packet
        packet(b"\x7c\x85" + IDR[1:10]),  # FU-A: start
        packet(b"\x7c\x05" + IDR[10:20]),
        packet(b"\x7c\x45" + IDR[20:], marker=True),  # end
    )
    assert frames == [EncodedFrame(0, True, (SPS, PPS, b"\x06\x05\x01\x00\x80", IDR))]


def test_h264_a_new_timestamp_ends_an_access_unit_without_marker() -> None:
    depacketizer = H264Depacketizer()
    assert feed(depacketizer, packet(stap_a(SPS, PPS, IDR), 0)) == []
    frames = feed(depacketizer, packet(DELTA, 3000))
    assert [frame.timestamp for frame in frames] == [0]
    assert [frame.units for frame in feed(depacketizer, packet(DELTA, 6000))] == [(DELTA,)]


def test_h264_parameter_sets_sent_before_are_put_into_the_keyframe() -> None:
    depacketizer = H264Depacketizer()
    assert feed(depacketizer, packet(stap_a(SPS, PPS), 0, marker=True)) == []
    assert depacketizer.damaged_frames == 0
    [frame] = feed(depacketizer, packet(IDR, 3000, marker=True))
    assert frame == EncodedFrame(3000, True, (SPS, PPS, IDR))


def test_h264_parameter_sets_of_the_description_serve() -> None:
    depacketizer = H264Depacketizer()
    assert feed(depacketizer, packet(IDR, marker=True)) == []
    depacketizer.know_parameter_sets([SPS, PPS])
    assert [f.keyframe for f in feed(depacketizer, packet(IDR, 1, marker=True))] == [True]


def test_h264_a_lost_fragment_costs_everything_up_to_the_next_keyframe() -> None:
    depacketizer = H264Depacketizer()
    feed(depacketizer, packet(stap_a(SPS, PPS, IDR), 0, marker=True))
    feed(depacketizer, packet(b"\x5c\x81" + DELTA[1:9], 3000))
    before = depacketizer.awaiting_keyframe
    depacketizer.gap()
    assert (before, depacketizer.awaiting_keyframe) == (False, True)
    assert feed(depacketizer, packet(b"\x5c\x41" + DELTA[15:], 3000, marker=True)) == []
    assert feed(depacketizer, packet(DELTA, 6000, marker=True)) == []
    assert len(feed(depacketizer, packet(IDR, 9000, marker=True))) == 1
    assert depacketizer.damaged_frames == 2


def test_h264_a_keyframe_whose_first_slice_was_lost_is_no_keyframe() -> None:
    depacketizer = H264Depacketizer()
    depacketizer.know_parameter_sets([SPS, PPS])
    depacketizer.gap()
    second_slice = b"\x65\x40" + IDR[2:]  # first_mb_in_slice is not 0
    assert feed(depacketizer, packet(second_slice, marker=True)) == []
    assert depacketizer.awaiting_keyframe


@pytest.mark.parametrize(
    "payload",
    [
        b"\x78\x00",  # STAP-A cut inside a size
        b"\x78\x00\x00",  # of nothing
        b"\x78\x00\x09\x65\x88",  # longer than the packet
        b"\x7c\x85",  # FU-A without a piece
        b"\x7c\xc5\x88",  # start and end at once
        b"\x7c\x05\x88",  # a middle without a start
        b"\x79\x00\x00\x00\x02\x65\x88",  # STAP-B
        b"\x7d\x85\x00\x00\x88",  # FU-B
        b"\x1f\x00",  # undefined
    ],
)
def test_h264_what_the_format_forbids_damages_the_frame(payload: bytes) -> None:
    depacketizer = H264Depacketizer()
    depacketizer.know_parameter_sets([SPS, PPS])
    assert feed(depacketizer, packet(IDR), packet(payload, marker=True)) == []
    assert depacketizer.damaged_frames == 1


# VP8, RFC 7741.


@pytest.mark.parametrize(
    ("descriptor", "size"),
    [
        ("10", 1),
        ("900000", 2),
        ("908001", 3),  # 7-bit picture id
        ("90808001", 4),  # 15-bit picture id
        ("90c0800105", 5),  # and TL0PICIDX
        ("90e0800105e0", 6),  # and TID
        ("90f0800105e0", 6),  # and TID, KEYIDX
        ("9020e0", 3),
    ],
)
def test_vp8_descriptors_of_every_shape(descriptor: str, size: int) -> None:
    assert vp8_descriptor_bytes(bytes.fromhex(descriptor) + b"media") == size


def test_vp8_partitions_and_packets_are_joined() -> None:
    frames = feed(
        Vp8Depacketizer(),
        packet(b"\x90\x80\x01" + VP8_KEY[:8], 3000),
        packet(b"\x80\x80\x01" + VP8_KEY[8:10], 3000),
        packet(b"\x91\x80\x01" + VP8_KEY[10:], 3000, marker=True),  # second partition
        packet(b"\x90\x80\x02" + VP8_DELTA, 6000, marker=True),
    )
    assert frames == [
        EncodedFrame(3000, True, (VP8_KEY,)),
        EncodedFrame(6000, False, (VP8_DELTA,)),
    ]


def test_vp8_without_its_first_packet_a_frame_is_nothing() -> None:
    depacketizer = Vp8Depacketizer()
    assert feed(depacketizer, packet(b"\x00" + VP8_KEY, marker=True)) == []
    assert depacketizer.awaiting_keyframe
    assert len(feed(depacketizer, packet(b"\x10" + VP8_KEY, 1, marker=True))) == 1


def test_vp8_a_keyframe_without_its_start_code_is_noise() -> None:
    assert feed(Vp8Depacketizer(), packet(b"\x10\x00\x00\x00abcdef", marker=True)) == []


# VP9, RFC 9628.


@pytest.mark.parametrize(
    ("descriptor", "size"),
    [
        ("0c", 1),
        ("8c01", 2),
        ("8c8001", 3),
        ("ac010000", 4),  # layer indices with TL0PICIDX
        ("bc0100", 3),  # flexible: without
        ("fc01000304", 5),  # two reference indices: N set, then clear
        ("8e01" + "18" + "0140" + "00f0" + "01" + "04" + "02", 10),  # scalability structure
    ],
)
def test_vp9_descriptors_of_every_shape(descriptor: str, size: int) -> None:
    assert vp9_descriptor_bytes(bytes.fromhex(descriptor) + b"media") == size


def test_vp9_a_picture_from_its_packets() -> None:
    frames = feed(
        Vp9Depacketizer(),
        packet(b"\x88\x01key", 0),
        packet(b"\x84\x01frame", 0, marker=True),
        packet(b"\xcc\x02delta", 3000, marker=True),
    )
    assert frames == [
        EncodedFrame(0, True, (b"keyframe",)),
        EncodedFrame(3000, False, (b"delta",)),
    ]


# AV1.


def test_av1_fragments_and_elements_make_a_temporal_unit_with_sizes() -> None:
    sequence_header, frame = b"\x08seq", b"\x30" + bytes(range(40))
    frames = feed(
        Av1Depacketizer(),
        # W 2, Y, N: a whole element behind its size, then the first piece of the next.
        packet(b"\x68\x04" + sequence_header + frame[:10]),
        packet(b"\xd0" + frame[10:20]),  # W 1, Z, Y
        packet(b"\x80" + b"\x15" + frame[20:], marker=True),  # W 0, Z: size told
    )
    data = b"\x12\x00" + b"\x0a\x03seq" + b"\x32\x28" + bytes(range(40))
    assert frames == [EncodedFrame(0, True, (data,))]


def test_av1_a_temporal_delimiter_in_a_packet_is_left_out() -> None:
    [frame] = feed(Av1Depacketizer(), packet(b"\x28\x01\x10\x32\x01\x07", marker=True))
    assert frame.units == (b"\x12\x00\x32\x01\x07",)


@pytest.mark.parametrize(
    "payload", [b"\x00", b"\x00\x09a", b"\x30\x01a", b"\x80a", b"\x00\xff\xff"]
)
def test_av1_what_the_format_forbids_damages_the_frame(payload: bytes) -> None:
    depacketizer = Av1Depacketizer()
    assert feed(depacketizer, packet(payload, marker=True)) == []
    assert depacketizer.damaged_frames == 1


# All of them.


@pytest.mark.parametrize("mime", ["video/VP8", "video/H264"])
def test_what_another_packetizer_cut_comes_out_as_it_went_in(studio: Any, mime: str) -> None:
    track = studio.video(mime, duration_s=1.0, width=640, height=360)
    depacketizer = DEPACKETIZERS[mime.lower()]()
    frames = []
    for _, burst in track.bursts:
        for data in burst:
            parsed = parse_rtp(data)
            assert parsed is not None
            frames += depacketizer.push(parsed)
    if mime == "video/H264":
        assert [list(f.units) for f in frames] == [split_annex_b(e) for e in track.encoded]
    else:
        assert [f.units[0] for f in frames] == track.encoded
    assert [index for index, f in enumerate(frames) if f.keyframe] == [0]


@pytest.mark.parametrize("mime", sorted(DEPACKETIZERS))
def test_noise_never_raises_and_never_grows(mime: str) -> None:
    for seed in range(20):
        chance = random.Random(seed)
        depacketizer = DEPACKETIZERS[mime]()
        for step in range(500):
            payload = chance.randbytes(chance.choice([0, 1, 2, 3, 7, 30]))
            depacketizer.push(packet(payload, step // 4, marker=chance.random() < 0.2))
            if chance.random() < 0.05:
                depacketizer.gap()


@pytest.mark.parametrize("mime", ["video/vp8", "video/h264"])
def test_media_with_flipped_bits_never_raises(studio: Any, mime: str) -> None:
    name = {"video/vp8": "video/VP8", "video/h264": "video/H264"}[mime]
    track = studio.video(name, duration_s=0.5)
    chance = random.Random(11)
    depacketizer = DEPACKETIZERS[mime]()
    for _, burst in track.bursts * 20:
        for data in burst:
            broken = bytearray(data)
            for _ in range(3):
                broken[chance.randrange(12, len(broken))] ^= 1 << chance.randrange(8)
            parsed = parse_rtp(bytes(broken))
            assert parsed is not None
            depacketizer.push(parsed)
