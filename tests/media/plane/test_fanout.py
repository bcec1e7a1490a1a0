"""One publication to many: each subscriber has its own numbers, keys and ids, in any batch."""

from collections.abc import Callable
from typing import Any

import pytest

from media.sfu.plane import MediaPlane
from media.sfu.spec import EXT_AUDIO_LEVEL, EXT_MID, CodecSpec

DELTA = b"\x10\x01delta"
Make = Callable[[], Any]
MakeRtp = Callable[..., bytes]


@pytest.mark.parametrize("count", [1, 2, 7, 40])
@pytest.mark.parametrize("burst", [1, 3, 12])
async def test_every_subscriber_gets_every_packet_as_its_own(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp, count: int, burst: int
) -> None:
    publisher = wire()
    await publisher.connect()
    spec = publisher.publication(extensions={EXT_MID: 3})
    publication = plane.publish(publisher.transport, spec)
    subscribers = []
    for index in range(count):
        subscriber = wire()
        await subscriber.connect()
        codec = CodecSpec("video/VP8", 100 + index % 20, 90000)
        plane.subscribe(
            publication,
            subscriber.transport,
            subscriber.subscription(
                spec, ssrc=5000 + index, codec=codec, mid=str(index), extensions={EXT_MID: 9}
            ),
        )
        subscribers.append(subscriber)
    payloads = [b"\x10\x00key", *(DELTA + bytes(40 * step) for step in range(burst))]
    publisher.send(make_rtp(65534, payload=payloads[0]))
    for step, payload in enumerate(payloads[1:], 1):
        publisher.send(make_rtp(65534 + step, payload=payload, timestamp=3000, marker=True))
    for index, subscriber in enumerate(subscribers):
        packets = [await subscriber.rtp("a packet") for _ in payloads]
        assert [packet.payload for packet in packets] == payloads
        first = packets[0].seq
        assert [packet.seq for packet in packets] == [
            (first + step) & 0xFFFF for step in range(len(packets))
        ]
        assert {packet.ssrc for packet in packets} == {5000 + index}
        assert {packet.payload_type for packet in packets} == {100 + index % 20}
        mid = str(index).encode()
        head = bytes([9 << 4 | len(mid) - 1]) + mid
        assert all(packet.block[4 : 4 + len(head)] == head for packet in packets)


async def test_audio_needs_no_keyframe_and_its_level_travels_under_the_receivers_id(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = wire(), wire()
    await publisher.connect()
    await subscriber.connect()
    opus = CodecSpec("audio/opus", 111, 48000, channels=2)
    spec = publisher.publication(opus, extensions={EXT_AUDIO_LEVEL: 1})
    publication = plane.publish(publisher.transport, spec)
    plane.subscribe(
        publication,
        subscriber.transport,
        subscriber.subscription(spec, extensions={EXT_AUDIO_LEVEL: 5}),
    )
    block = bytes.fromhex("bede0001 10 86 0000")
    publisher.send(make_rtp(7, payload=b"opus", payload_type=111, block=block))
    packet = await subscriber.rtp("the packet")
    assert (packet.payload, packet.block) == (b"opus", bytes.fromhex("bede0001 50 86 0000"))
    assert plane.speakers()[spec.track] == pytest.approx(10 ** (-6 / 20), rel=0.01)


async def test_mute_stops_everything_and_leaves_no_gap(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = wire(), wire()
    await publisher.connect()
    await subscriber.connect()
    publication = plane.publish(publisher.transport, publisher.publication())
    plane.subscribe(publication, subscriber.transport, subscriber.subscription(publication.spec))
    publisher.send(make_rtp(10))
    before = await subscriber.rtp("the first packet")
    publication.muted = True
    for sequence in range(11, 15):
        publisher.send(make_rtp(sequence, timestamp=3000 * sequence))
    assert await subscriber.rtp_until_quiet() == []
    publication.muted = False
    publisher.send(make_rtp(15, timestamp=60_000, payload=DELTA))  # no picture without a keyframe
    publisher.send(make_rtp(16, timestamp=63_000))
    after = await subscriber.rtp("the keyframe after the mute")
    assert (after.seq, after.payload) == (before.seq + 1, b"\x10\x00key")


async def test_a_subscription_switches_at_a_keyframe_with_unbroken_numbers(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    ana, ben, player = wire(), wire(), wire()
    for each in (ana, ben, player):
        await each.connect()
    first = plane.publish(ana.transport, ana.publication())
    second = plane.publish(ben.transport, ben.publication())
    subscription = plane.subscribe(first, player.transport, player.subscription(first.spec))
    ana.send(make_rtp(100, timestamp=1_000))
    old = await player.rtp("ana's picture")
    subscription.switch(second)
    ben.send(make_rtp(40_000, timestamp=900_000, payload=DELTA))
    ana.send(make_rtp(101, timestamp=4_000, payload=DELTA))
    assert (await player.rtp("ana's next picture")).seq == old.seq + 1
    ben.send(make_rtp(40_001, timestamp=903_000))
    new = await player.rtp("ben's keyframe")
    assert (new.seq, new.ssrc, new.payload) == (old.seq + 2, old.ssrc, b"\x10\x00key")
    assert 0 < (new.timestamp - old.timestamp) & 0xFFFFFFFF < 10 * 90_000
    ana.send(make_rtp(102, timestamp=7_000, payload=DELTA))
    assert await player.rtp_until_quiet() == []


async def test_a_full_socket_costs_video_the_rest_of_its_frame_and_audio_nothing(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = wire(), wire()
    await publisher.connect()
    await subscriber.connect()
    opus = CodecSpec("audio/opus", 111, 48000, channels=2)
    video = plane.publish(publisher.transport, publisher.publication())
    audio = plane.publish(
        publisher.transport, publisher.publication(opus, ssrc=3333, mid="1", rtx_ssrc=None)
    )
    plane.subscribe(video, subscriber.transport, subscriber.subscription(video.spec))
    plane.subscribe(audio, subscriber.transport, subscriber.subscription(audio.spec, ssrc=7778))
    publisher.send(make_rtp(1))
    await subscriber.rtp("the first picture")
    plane.outbox.congested = True
    publisher.send(make_rtp(2, timestamp=3000, payload=DELTA))
    publisher.send(make_rtp(50, ssrc=3333, payload_type=111, payload=b"opus"))
    assert await subscriber.rtp_until_quiet() == []
    assert plane.counters.drops["congested"] >= 1
    assert plane.outbox.drain()
    kept = await subscriber.rtp("the sound that was kept")
    assert (kept.ssrc, kept.payload) == (7778, b"opus")
