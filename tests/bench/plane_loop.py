"""The media plane and nothing else as a process: the figure between the bare loop's and the whole
server's.

Speaks the bare loop's commands (:mod:`tests.bench.bare`): transports get their keys and addresses
by hand instead of by ICE and DTLS; everything after is the plane's own.
``python -m tests.bench.plane_loop``.
"""

import asyncio
import sys

import msgspec
import uvloop

from coordinator.ids import new_participant_sid, new_track_sid
from media.config import MediaConfig
from media.sfu.plane import MediaPlane, Publication, Transport
from media.sfu.spec import CodecSpec, PublicationSpec, Ssrc, SubscriptionSpec
from media.transport import addresses, seams
from media.transport.seams import Keyed
from tests.bench.bare import AddPublisher, AddSubscriber, Command, Done, Ready

VP8 = CodecSpec("video/VP8", 96, 90000, nack=True, pli=True)


class Silent:
    """An observer with nothing to do."""

    def connected(self, transport: Transport) -> None: ...

    def failed(self, transport: Transport, why: str) -> None:
        print(f"a transport failed: {why}", file=sys.stderr)


class PlaneLoop:
    def __init__(self, plane: MediaPlane) -> None:
        self.plane = plane
        self._publications: dict[str, Publication] = {}

    def _transport(self, key: str, port: int) -> Transport:
        """Keyed with *key* both ways, its peer at loopback *port*."""
        transport = self.plane.create_transport(Silent())
        self.plane.adopt_address(transport, addresses.pack("127.0.0.1", port))
        secret = bytes.fromhex(key)
        transport.adopt(
            Keyed(
                seams.srtp_session(secret, gcm=True, inbound=True),
                seams.srtp_session(secret, gcm=True, inbound=False),
                "SRTP_AEAD_AES_128_GCM",
            )
        )
        return transport

    def add_publisher(self, command: AddPublisher) -> None:
        transport = self._transport(command.key, command.port)
        self._publications[command.name] = self.plane.publish(
            transport,
            PublicationSpec(new_track_sid(), new_participant_sid(), "video", "camera", "0", (VP8,)),
        )

    def add_subscriber(self, command: AddSubscriber) -> None:
        publication = self._publications[command.publisher]
        transport = self._transport(command.key, command.port)
        self.plane.subscribe(
            publication,
            transport,
            SubscriptionSpec(publication.spec.track, "0", VP8, Ssrc(4242), None, "bench"),
        )


async def serve() -> None:
    plane = await MediaPlane.open(MediaConfig(port=0, transport_timeout_s=3600.0))
    loop, ended = PlaneLoop(plane), asyncio.Event()
    decode = msgspec.json.Decoder(Command).decode

    def say(message: Ready | Done) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
        sys.stdout.buffer.flush()

    def command() -> None:
        line = sys.stdin.buffer.readline()
        if not line:
            ended.set()
            return
        match decode(line):
            case AddPublisher() as publisher:
                loop.add_publisher(publisher)
            case AddSubscriber() as subscriber:
                loop.add_subscriber(subscriber)
        say(Done())

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), command)
    say(Ready(port=plane.port))
    await ended.wait()
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    print(
        plane.counters.wakeups,
        plane.counters.received,
        plane.counters.forwarded,
        {r: c for r, c in plane.counters.drops.items() if c},
        file=sys.stderr,
    )
    await plane.close()


if __name__ == "__main__":
    uvloop.run(serve())
