"""Real aiortc peers on both sides of the plane: what comes in is seen and heard."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from media.sfu.plane import MediaPlane


async def frames(track: Any, count: int, what: str) -> list[Any]:
    async def collect() -> list[Any]:
        return [await track.recv() for _ in range(count)]

    try:
        return await asyncio.wait_for(collect(), 10)
    except TimeoutError:
        raise AssertionError(f"waited for {count} frames of {what}") from None


@pytest.mark.parametrize("mime", ["video/VP8", "video/H264"])
async def test_two_peers_see_and_hear_each_other_and_a_late_one_has_a_picture_within_a_second(
    plane: MediaPlane, rtc: Callable[..., Any], mime: str
) -> None:
    publisher = rtc(mime)
    publisher.pc.addTrack(VideoStreamTrack())
    publisher.pc.addTrack(AudioStreamTrack())
    await publisher.offer()
    await publisher.answer()
    publications = publisher.publications()
    await publisher.up()
    assert publisher.transport.profile == "SRTP_AEAD_AES_128_GCM"

    async def watch() -> tuple[Any, float]:
        subscriber = rtc(mime)
        subscriber.pc.addTransceiver("video", direction="recvonly")
        subscriber.pc.addTransceiver("audio", direction="recvonly")
        tracks: dict[str, Any] = {}
        subscriber.pc.on("track", lambda track: tracks.__setitem__(track.kind, track))
        await subscriber.offer()
        specs = subscriber.subscription_specs(publications)
        await subscriber.answer(specs)
        for publication in publications:
            spec = next(s for s in specs.values() if s.track == publication.spec.track)
            plane.subscribe(publication, subscriber.transport, spec)
        await subscriber.up()
        up_s = plane.now()
        picture, *_ = await frames(tracks["video"], 1, "video")
        seen_s = plane.now() - up_s
        sound = await frames(tracks["audio"], 5, "audio")
        assert (picture.width, picture.height) == (640, 480)
        assert sound[0].sample_rate == 48000
        await frames(tracks["video"], 10, "video")
        return subscriber, seen_s

    await watch()
    _, late_s = await watch()
    assert late_s < 1.0
    drops = {reason: count for reason, count in plane.counters.drops.items() if count}
    assert set(drops) <= {"muted"}, drops
