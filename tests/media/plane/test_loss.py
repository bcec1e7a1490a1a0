"""Loss on both legs at once, seeded: everything arrives in the end, once and in its place."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from media.rtp import rtcp
from media.rtp.sequence import unwrap
from media.sfu.plane import MediaPlane

Make = Callable[[], Any]
MakeRtp = Callable[..., bytes]
PACKETS = 300
LOSS = 0.08


class LossyPublisher:
    """Sends numbered packets, loses some on the way, and answers NACKs on its RTX ssrc."""

    def __init__(self, wire: Any, make_rtp: MakeRtp, chance: random.Random, start: int) -> None:
        self.wire, self.make_rtp, self.chance, self.start = wire, make_rtp, chance, start
        self.again = 0

    def payload(self, index: int) -> bytes:
        return b"\x10" + (b"\x00" if index == 0 else b"\x01") + index.to_bytes(4, "big")

    def send(self, index: int) -> None:
        if index == 0 or self.chance.random() > LOSS:
            packet = self.make_rtp(
                self.start + index, timestamp=index * 3000, payload=self.payload(index)
            )
            self.wire.send(packet)

    async def answer(self) -> None:
        while True:
            nack = await self.wire.feedback(rtcp.Nack, "a NACK", 30)
            for sequence in nack.sequences:
                index = (sequence - self.start) & 0xFFFF
                self.again += 1
                if self.chance.random() > LOSS:
                    self.wire.send(
                        self.make_rtp(
                            self.again,
                            ssrc=2222,
                            payload_type=97,
                            timestamp=index * 3000,
                            payload=sequence.to_bytes(2, "big") + self.payload(index),
                        )
                    )


@pytest.mark.parametrize("seed", [1, 2])
async def test_everything_arrives_through_loss_on_both_legs(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp, seed: int
) -> None:
    chance = random.Random(seed)
    publisher, subscriber = wire(), wire()
    await publisher.connect()
    await subscriber.connect()
    publication = plane.publish(publisher.transport, publisher.publication())
    spec = subscriber.subscription(publication.spec, rtx_ssrc=8888)
    plane.subscribe(publication, subscriber.transport, spec)
    # The numbers wrap in the middle.
    source = LossyPublisher(publisher, make_rtp, chance, 65_400)
    answering = asyncio.create_task(source.answer())
    got: dict[int, bytes] = {}
    highest = -1
    more = asyncio.Event()

    async def receive() -> None:
        """Lose some; ask again for what is missing whenever it falls quiet."""
        nonlocal highest
        while len(got) < PACKETS:
            try:
                packet = await subscriber.rtp("a packet", 0.05)
            except AssertionError:
                missing = [n for n in range(min(got, default=0), highest + 1) if n not in got]
                subscriber.send_rtcp(rtcp.nack(1, 7777, missing))
                continue
            if highest >= 0 and chance.random() < LOSS:
                continue
            sequence, payload = packet.seq, packet.payload
            if packet.ssrc == 8888:
                sequence, payload = int.from_bytes(payload[:2], "big"), payload[2:]
            number = unwrap(sequence, highest) if highest >= 0 else sequence
            more.set()
            assert got.setdefault(number, payload) == payload, f"two packets as one, seed {seed}"
            highest = max(highest, number)

    receiving = asyncio.create_task(receive())
    # The last may be lost with nothing after it to tell: a few more to be sure of it.
    for index in range(PACKETS + 5):
        source.send(index)
        while index - (highest - min(got, default=highest)) > 40:  # less than a buffer holds
            more.clear()
            await asyncio.wait_for(more.wait(), 15)
    try:
        await asyncio.wait_for(receiving, 20)
    except TimeoutError:
        raise AssertionError(f"waited for the rest: {len(got)} of {PACKETS}, seed {seed}") from None
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
    first = min(got)
    for index in range(PACKETS):
        assert got.get(first + index, source.payload(index)) == source.payload(index)
    assert plane.counters.recovered > 0
    assert plane.counters.retransmitted > 0
