"""What the plane says by itself over RTCP: reports, bandwidth, NACKs and keyframe requests."""

from typing import TYPE_CHECKING, Final

from media.rtp import rtcp
from media.rtp.clock import s_to_ntp
from media.sfu.counters import PlaneCounters

if TYPE_CHECKING:
    from media.sfu.publication import Publication
    from media.sfu.subscription import Subscription
    from media.sfu.transport import Transport

OUR_SSRC: Final = 1
"""As libwebrtc's receivers name themselves when they send nothing."""
SENDER_REPORT_S: Final = 1.0
RECEIVER_REPORT_S: Final = 1.0
FIRST_REPORTS: Final = 20
FIRST_REPORTS_S: Final = 0.1
"""A browser trusts REMB during its first two seconds and then grows by 8 % a second (libwebrtc,
send side bandwidth estimation): it must hear early and often what it may send."""
PUBLISHER_MAX_BPS: Final = 5_000_000
"""Told to publishers by REMB: a camera at 720p and a screen."""


def feedback(publication: "Publication", counters: PlaneCounters, now: float) -> None:
    """NACKs and keyframe requests that are due to the publisher."""
    transport = publication.transport
    if not transport.connected or publication.ssrc < 0:
        return
    compound = b""
    missing = publication.reception.missing
    if missing:
        asked = publication.reception.due(now)
        if asked:
            compound += rtcp.nack(OUR_SSRC, publication.ssrc, asked)
            counters.nacked_packets += len(asked)
    if publication.keyframes.due(now):
        counters.keyframes_requested += 1
        if publication.codec.pli or not publication.codec.fir:
            compound += rtcp.pli(OUR_SSRC, publication.ssrc)
        else:
            publication.fir_number += 1
            compound += rtcp.fir(OUR_SSRC, publication.ssrc, publication.fir_number)
    if compound:
        transport.send_rtcp(compound)


def receiver_report(transport: "Transport", now: float) -> None:
    """Reports on all a publisher sends, with REMB where that was negotiated."""
    if now < transport.report_due_s or not transport.connected:
        return
    started = [p for p in transport.routes.publications if p.reception.started]
    if not started:
        return
    transport.reports_sent += 1
    transport.report_due_s = now + (
        FIRST_REPORTS_S if transport.reports_sent < FIRST_REPORTS else RECEIVER_REPORT_S
    )
    blocks = []
    for publication in started[: rtcp.BLOCKS_MAX]:
        last_sr, heard_s = transport.sender_reports.get(publication.ssrc, (0, now))
        delay = min(0xFFFFFFFF, round((now - heard_s) * 65536)) if last_sr else 0
        blocks.append(publication.reception.report(publication.ssrc, last_sr, delay))
    compound = rtcp.receiver_report(OUR_SSRC, blocks)
    limited = [p.ssrc for p in started if p.video and p.codec.remb]
    if limited:
        compound += rtcp.remb(OUR_SSRC, PUBLISHER_MAX_BPS, limited[: rtcp.BLOCKS_MAX])
    transport.send_rtcp(compound)


def sender_report(subscription: "Subscription", now: float, wallclock_s: float) -> bytes:
    """The compound for one subscription if it is due, or nothing.

    All subscriptions' reports are in this node's time, so that those of one participant, and those
    before and after a switch, can be laid against each other.
    """
    segment = subscription.numbering.current
    if segment is None or now < subscription.report_due_s:
        return b""
    clock = subscription.publication.clock
    if not clock.known:
        return b""
    subscription.report_due_s = now + SENDER_REPORT_S
    timestamp = clock.timestamp_at(wallclock_s) + segment.timestamp_offset
    packets, octets = subscription.sent()
    ssrc = subscription.spec.ssrc
    return rtcp.sender_report(
        rtcp.SenderReport(ssrc, s_to_ntp(wallclock_s), timestamp & 0xFFFFFFFF, packets, octets)
    ) + rtcp.source_description(ssrc, subscription.spec.cname)
