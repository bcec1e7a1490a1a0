"""Loss on both sides: what is asked for again, what is answered, how keyframes are asked for."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from media.rtp import rtcp
from media.rtp.clock import s_to_ntp
from media.rtp.reception import ReportBlock
from media.sfu.keyframes import INTERVAL_S, KeyframeRequests
from media.sfu.plane import MediaPlane
from media.transport import seams

DELTA = b"\x10\x01delta"
Make = Callable[[], Any]
MakeRtp = Callable[..., bytes]


async def pair(
    plane: MediaPlane, wire: Make, start: int, make_rtp: MakeRtp, **subscription: Any
) -> tuple[Any, Any]:
    """A publisher and a subscriber that has had the keyframe *start*."""
    publisher, subscriber = wire(), wire()
    await publisher.connect()
    await subscriber.connect()
    publication = plane.publish(publisher.transport, publisher.publication())
    spec = subscriber.subscription(publication.spec, **subscription)
    plane.subscribe(publication, subscriber.transport, spec)
    publisher.send(make_rtp(start))
    first = await subscriber.rtp("the keyframe")
    assert first.payload == b"\x10\x00key"
    return publisher, subscriber


@pytest.mark.parametrize("start", [100, 65534, 65535])
async def test_a_lost_packet_is_asked_for_and_passed_on_in_its_place(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp, start: int
) -> None:
    publisher, subscriber = await pair(plane, wire, start, make_rtp)
    publisher.send(make_rtp(start + 2, payload=DELTA + b"2"))
    late = await subscriber.rtp("the packet after the gap")
    nack = await publisher.feedback(rtcp.Nack, "a NACK")
    assert nack == rtcp.Nack(1111, ((start + 1) & 0xFFFF,))
    # RFC 4588: the original sequence number goes before the payload.
    original = ((start + 1) & 0xFFFF).to_bytes(2, "big")
    publisher.send(make_rtp(9, ssrc=2222, payload_type=97, payload=original + DELTA + b"1"))
    found = await subscriber.rtp("the recovered packet")
    assert (found.seq, found.payload) == ((late.seq - 1) & 0xFFFF, DELTA + b"1")


@pytest.mark.parametrize("rtx_ssrc", [None, 8888])
@pytest.mark.parametrize("start", [100, 65534])
async def test_a_subscribers_nack_is_answered_from_the_cache(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp, rtx_ssrc: int | None, start: int
) -> None:
    publisher, subscriber = await pair(plane, wire, start, make_rtp, rtx_ssrc=rtx_ssrc)
    sent = []
    for step in range(1, 4):
        publisher.send(make_rtp(start + step, payload=DELTA + bytes([step])))
        sent.append(await subscriber.rtp("a packet"))
    subscriber.send_rtcp(rtcp.nack(1, 7777, [sent[1].seq]))
    # A receiver that has lost the packet has not seen its number; ours has, so it forgets.
    subscriber.opener = seams.srtp_session(subscriber.from_plane, gcm=True, inbound=True)
    again = await subscriber.rtp("the retransmission")
    if rtx_ssrc is None:
        assert again.data == sent[1].data  # the very same: a nonce is never used for two texts
    else:
        assert (again.ssrc, again.payload_type) == (8888, 97)
        assert again.payload == sent[1].seq.to_bytes(2, "big") + sent[1].payload


async def test_a_nack_for_what_was_never_sent_is_counted_and_costs_nothing(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = await pair(plane, wire, 100, make_rtp)
    subscriber.send_rtcp(rtcp.nack(1, 7777, [5000, 99]))
    subscriber.send_rtcp(rtcp.nack(1, 4242, [100]))
    publisher.send(make_rtp(101, payload=DELTA))
    assert (await subscriber.rtp("the next packet")).payload == DELTA
    assert plane.counters.drops["cache_miss"] == 2


async def test_a_flood_of_nacks_is_bounded_by_a_budget(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    _, subscriber = await pair(plane, wire, 100, make_rtp, rtx_ssrc=8888)
    for _ in range(60):
        subscriber.send_rtcp(rtcp.nack(1, 7777, [100] * 100))
    answers = await subscriber.rtp_until_quiet(0.3)
    assert 0 < len(answers) < 3000
    assert plane.counters.drops["nack_budget"] > 1000


async def test_many_wishes_for_a_keyframe_are_one_request(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = await pair(plane, wire, 100, make_rtp)
    for _ in range(50):
        subscriber.send_rtcp(rtcp.pli(1, 7777))
    await publisher.feedback(rtcp.KeyframeWanted, "a keyframe request")
    publisher.send(make_rtp(101))
    await subscriber.rtp("the keyframe")
    asked = plane.counters.keyframes_requested
    assert plane.counters.keyframes_asked == 50
    assert asked <= 3, "each wish became a request"


def test_keyframe_requests_are_throttled_and_repeated_until_one_comes() -> None:
    requests = KeyframeRequests()
    assert not requests.due(0.0)
    requests.want()
    assert requests.due(10.0)
    assert not requests.due(10.0 + INTERVAL_S / 2)
    assert requests.next_due_s() == 10.0 + INTERVAL_S
    assert requests.due(10.0 + INTERVAL_S)
    requests.arrived()
    assert not requests.due(20.0)
    assert requests.next_due_s() is None


async def test_publishers_get_receiver_reports_and_subscribers_sender_reports_in_their_time(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = await pair(plane, wire, 100, make_rtp)
    report = rtcp.SenderReport(1111, s_to_ntp(1_700_000_000.0), 50_000, 1, 5)
    publisher.send_rtcp(rtcp.sender_report(report) + rtcp.source_description(1111, "p"))
    for step in range(1, 6):
        publisher.send(make_rtp(100 + step, payload=DELTA))
        await subscriber.rtp("a packet")
    seen = await subscriber.feedback(rtcp.SenderReport, "a sender report")
    assert isinstance(seen, rtcp.SenderReport)
    assert (seen.ssrc, seen.packets) == (7777, 6)
    heard = await publisher.feedback(ReportBlock, "a receiver report")
    assert isinstance(heard, ReportBlock)
    assert (heard.ssrc, heard.cumulative_lost) == (1111, 0)


async def test_a_tap_gets_every_packet_and_the_reports(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher = wire()
    await publisher.connect()
    publication = plane.publish(publisher.transport, publisher.publication())
    got: list[bytes] = []
    reported: list[int] = []
    arrived = asyncio.Event()

    class Sink:
        def packets(self, packets: list[bytes], arrival_s: float) -> None:
            got.extend(packets)
            if len(got) >= 2:
                arrived.set()

        def sender_report(self, ntp_s: float, rtp_timestamp: int) -> None:
            reported.append(rtp_timestamp)

    tap = plane.tap(publication, Sink())
    report = rtcp.SenderReport(1111, s_to_ntp(1_700_000_000.0), 50_000, 1, 5)
    packets = [make_rtp(100), make_rtp(101, payload=DELTA)]
    publisher.send(packets[0])
    publisher.send_rtcp(rtcp.sender_report(report))
    publisher.send(packets[1])
    await asyncio.wait_for(arrived.wait(), 5)
    assert (got, reported) == (packets, [50_000])
    publication.untap(tap)


async def test_a_keyframe_is_asked_for_as_soon_as_the_subscriber_can_take_it_and_not_before(
    plane: MediaPlane, wire: Make, make_rtp: MakeRtp
) -> None:
    publisher, subscriber = wire(), wire()
    await publisher.connect()
    publication = plane.publish(publisher.transport, publisher.publication())
    plane.subscribe(publication, subscriber.transport, subscriber.subscription(publication.spec))
    publisher.send(make_rtp(1, payload=DELTA))
    await publisher.rtp_until_quiet(INTERVAL_S / 2)
    assert not publication.keyframes.wanted
    assert plane.counters.keyframes_requested == 0
    await subscriber.connect()
    await publisher.feedback(rtcp.KeyframeWanted, "a keyframe request", INTERVAL_S / 2)
