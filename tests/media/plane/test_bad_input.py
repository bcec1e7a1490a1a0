"""What strangers and broken peers send is dropped and counted, and harms nobody else."""

import os
import socket
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from media.rtp import rtcp
from media.sfu.plane import MediaPlane
from media.transport.seams import StunClass, parse_stun

DELTA = b"\x10\x01delta"
Make = Callable[[], Any]
MakeRtp = Callable[..., bytes]


async def settled(plane: MediaPlane, wire: Make) -> None:
    """Everything sent before has been handled: a check sent after it was answered."""
    probe = wire()
    probe.check()
    answer = parse_stun(await probe.datagram("the answer to a check"))
    assert answer.message_class == StunClass.RESPONSE


async def meeting(plane: MediaPlane, wire: Make) -> tuple[Any, Any]:
    publisher, subscriber = wire(), wire()
    await publisher.connect()
    await subscriber.connect()
    publication = plane.publish(publisher.transport, publisher.publication())
    plane.subscribe(publication, subscriber.transport, subscriber.subscription(publication.spec))
    return publisher, subscriber


async def flows(publisher: Any, subscriber: Any, make_rtp: MakeRtp, sequence: int = 500) -> None:
    publisher.send(make_rtp(sequence))
    assert (await subscriber.rtp("a packet")).payload == b"\x10\x00key"


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"\x05" * 40, "noise"),
        (b"\xff" * 40, "noise"),
        (b"GET / HTTP/1.1\r\n", "noise"),
        (b"\x80", "too_short"),
        (b"", None),
        (b"\x80\x60" + b"\x00" * 40, "unverified_address"),
        (b"\x80\xc8" + b"\x00" * 40, "unverified_address"),
        (b"\x16\xfe\xfd" + b"\x00" * 40, "unverified_address"),
        (b"\x00\x01\x00\x00" + b"\x00" * 16, "stun_malformed"),
        (b"\x80" + b"\x00" * 1600, "too_long"),
    ],
)
async def test_a_strangers_datagram_is_dropped_and_counted(
    plane: MediaPlane,
    wire: Make,
    make_rtp: MakeRtp,
    datagram: bytes,
    reason: str | None,
) -> None:
    publisher, subscriber = await meeting(plane, wire)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(datagram, ("127.0.0.1", plane.port))
    await settled(plane, wire)
    if reason is not None:
        assert plane.counters.drops[reason] == 1
    await flows(publisher, subscriber, make_rtp)


async def test_a_check_with_wrong_integrity_gets_no_answer_and_proves_no_address(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = await meeting(plane, wire)
    thief = wire()
    thief.transport, own = publisher.transport, thief.transport
    thief.check(pwd="x" * 24)
    thief.transport = own
    await settled(plane, wire)
    assert plane.counters.drops["stun_bad_integrity"] == 1
    await flows(publisher, subscriber, make_rtp)


async def test_media_from_an_unproven_address_is_dropped_even_with_the_right_keys(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = await meeting(plane, wire)
    await flows(publisher, subscriber, make_rtp)
    sealed = publisher.seal(make_rtp(501, payload=DELTA))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
        elsewhere.sendto(sealed, ("127.0.0.1", plane.port))
    await settled(plane, wire)
    assert plane.counters.drops["unverified_address"] == 1
    publisher.sock.send(sealed)
    assert (await subscriber.rtp("the packet from the proven address")).payload == DELTA


async def test_a_peer_that_moved_goes_on_after_an_authenticated_check_from_there(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = await meeting(plane, wire)
    await flows(publisher, subscriber, make_rtp)
    subscriber.sock.close()
    subscriber.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    subscriber.sock.bind(("127.0.0.1", 0))
    subscriber.sock.setblocking(False)
    subscriber.sock.connect(("127.0.0.1", plane.port))
    subscriber.check(nominate=True)
    await settled(plane, wire)
    await flows(publisher, subscriber, make_rtp, 501)


async def test_forged_and_replayed_packets_are_told_apart_and_dropped(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = await meeting(plane, wire)
    sealed = publisher.seal(make_rtp(500))
    publisher.sock.send(sealed)
    await subscriber.rtp("the packet")
    publisher.sock.send(sealed)
    forged = bytearray(publisher.seal(make_rtp(501)))
    forged[-1] ^= 1
    publisher.sock.send(bytes(forged))
    await settled(plane, wire)
    assert plane.counters.drops["srtp_replayed"] == 1
    assert plane.counters.drops["srtp_auth_failed"] == 1
    assert await subscriber.rtp_until_quiet() == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ssrc": 9}, None),  # a new ssrc with a payload type that only one publication uses
        ({"ssrc": 9, "payload_type": 120}, "unknown_ssrc"),
        ({"payload_type": 120}, "unknown_payload_type"),
    ],
)
async def test_unknown_sources_and_payload_types(
    plane: MediaPlane,
    wire: Make,
    make_rtp: MakeRtp,
    changes: dict[str, int],
    reason: str | None,
) -> None:
    publisher, _ = await meeting(plane, wire)
    publisher.send(make_rtp(500, **changes))
    await settled(plane, wire)
    if reason is None:
        assert sum(plane.counters.drops.values()) == 0
    else:
        assert plane.counters.drops[reason] == 1


async def test_inventing_sources_without_end_is_stopped(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = await meeting(plane, wire)
    for ssrc in range(10_000, 10_200):
        publisher.send(make_rtp(1, ssrc=ssrc, payload_type=120))
    await settled(plane, wire)
    assert plane.counters.drops["ssrc_limit"] > 100
    await flows(publisher, subscriber, make_rtp)


async def test_malformed_headers_and_feedback_are_counted(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = await meeting(plane, wire)
    publisher.send_rtcp(rtcp.pli(1, 2) + b"\x81\xcd\x00\xff")
    await settled(plane, wire)
    assert plane.counters.drops["rtcp_malformed"] == 1
    await flows(publisher, subscriber, make_rtp)


async def test_a_peer_whose_checks_stop_is_told_of_and_closed(wire: Make) -> None:
    peer = wire()
    await peer.connect()
    assert peer.transport.expired(peer.transport.ice.checked_at_s + 4.9) is None
    assert peer.transport.expired(peer.transport.ice.checked_at_s + 5.1) == "consent_expired"
    peer.transport.fail("consent_expired")
    assert peer.observer.why == ["consent_expired"]
    assert peer.transport.closed


async def test_seeded_noise_in_every_protocol_ends_nothing(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = await meeting(plane, wire)
    random = Random(7982)
    sequence = 0
    for _ in range(1500):
        first = random.choice([0, 1, 3, 20, 22, 63, 64, 100, 128, 144, 191, 255])
        publisher.sock.send(bytes([first]) + random.randbytes(random.randrange(0, 200)))
        if random.random() < 0.3:
            # libsrtp wants an extension that fits; what is in it is noise.
            words = random.randrange(6)
            profile = random.choice([b"\xbe\xde", b"\x10\x00", random.randbytes(2)])
            block = profile + words.to_bytes(2, "big") + random.randbytes(4 * words)
            payload = random.randbytes(random.randrange(30))
            sequence = (sequence + random.randrange(1, 4000)) & 0xFFFF
            publisher.send(make_rtp(sequence, payload=payload, block=block))
        if random.random() < 0.3:
            kind = random.choice([200, 201, 203, 205, 206])
            publisher.send_rtcp(bytes([0x80 | random.randrange(32), kind]) + os.urandom(18))
    await settled(plane, wire)
    await subscriber.rtp_until_quiet()
    publisher.send(make_rtp(sequence + 1))
    publisher.send(make_rtp(sequence + 2))
    assert (await subscriber.rtp("a packet after all that")).payload == b"\x10\x00key"
    await flows(*await meeting(plane, wire), make_rtp)
