"""What a subscriber sees of a publication, packet by packet."""

from collections.abc import Callable
from typing import Any

from media.sfu.plane import MediaPlane

DELTA = b"\x10\x01delta"


async def test_a_subscriber_starts_at_a_keyframe_and_gets_the_packets_on_its_own_ssrc(
    plane: MediaPlane, wire: Callable[[], Any], make_rtp: Callable[..., bytes]
) -> None:
    publisher, subscriber = wire(), wire()
    await publisher.connect()
    await subscriber.connect()
    publication = plane.publish(publisher.transport, publisher.publication())
    subscription = plane.subscribe(
        publication, subscriber.transport, subscriber.subscription(publication.spec)
    )
    publisher.send(make_rtp(99, timestamp=1000, payload=DELTA))
    publisher.send(make_rtp(100, timestamp=4000))
    publisher.send(make_rtp(101, timestamp=4000, payload=DELTA, marker=True))
    first = await subscriber.rtp("the keyframe")
    second = await subscriber.rtp("the next packet")
    assert (first.ssrc, first.seq, first.timestamp, first.payload) == (
        7777,
        100,
        4000,
        b"\x10\x00key",
    )
    assert (second.seq, second.payload, second.marker) == (101, DELTA, True)
    assert subscription.forwarding
