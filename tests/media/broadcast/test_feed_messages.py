"""What node and worker say to one another."""

import random

import msgspec
import pytest

from coordinator.ids import TrackSid
from media.broadcast.feed_messages import (
    MAX_DATAGRAM_BYTES,
    KeyframeWanted,
    MediaDatagram,
    SenderReport,
    Stop,
    decode_from_worker,
    decode_to_worker,
    encode_control,
    encode_media,
)


def test_control_messages_come_out_as_they_went_in() -> None:
    report = SenderReport(sid=TrackSid("TR_a"), ntp_s=3.9e9, rtp_timestamp=5)
    assert decode_to_worker(encode_control(report)) == report
    assert decode_to_worker(encode_control(Stop())) == Stop()
    wanted = KeyframeWanted(sid=TrackSid("TR_a"))
    assert decode_from_worker(encode_control(wanted)) == wanted


def test_a_media_datagram_byte_for_byte() -> None:
    [datagram] = encode_media(258, 1.5, [b"abc", b""])
    assert datagram == bytes.fromhex("01 0102 3ff8000000000000 0003 616263 0000")
    assert decode_to_worker(datagram) == MediaDatagram(258, 1.5, [b"abc", b""])


def test_many_packets_are_parted_into_datagrams_that_fit() -> None:
    packets = [bytes([n]) * 1200 for n in range(200)]
    datagrams = list(encode_media(1, 0.0, packets))
    assert len(datagrams) == 4
    assert max(map(len, datagrams)) <= MAX_DATAGRAM_BYTES
    back = [decode_to_worker(datagram) for datagram in datagrams]
    assert [p for d in back if isinstance(d, MediaDatagram) for p in d.packets] == packets
    assert list(encode_media(1, 0.0, [bytes(70_000)])) == [], "no UDP datagram is as large"


@pytest.mark.parametrize("noise", [b"", b"{", b"\x01", b'{"type":"later"}', b"\x01" + bytes(11)])
def test_what_is_no_message_is_refused(noise: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, ValueError)):
        decode_to_worker(noise)


def test_noise_is_refused_or_read_and_nothing_else() -> None:
    chance = random.Random(9)
    for _ in range(3000):
        try:
            decode_to_worker(b"\x01" + chance.randbytes(chance.randrange(60)))
        except ValueError:
            continue
