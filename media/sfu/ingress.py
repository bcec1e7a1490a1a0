"""From a datagram to a publication or a subscription: what the plane does with each kind of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from media.rtp import rtcp
from media.rtp.clock import ntp_to_s
from media.rtp.packet import HEADER_BYTES, Header, read_header, split
from media.rtp.reception import ReportBlock
from media.sfu.counters import PlaneCounters
from media.transport import seams
from media.transport.addresses import AddressKey
from media.transport.ice import BadCheck, parse_check
from media.transport.inbox import KIND_OF, Inbox, Kind

if TYPE_CHECKING:
    from media.sfu.publication import Publication
    from media.sfu.transport import Transport

# Names of the hot path, looked up once.
MEDIA: Final = Kind.MEDIA
unprotect: Final = seams.unprotect

_SRTP_REASONS: Final = {
    seams.AUTH_FAILED: "srtp_auth_failed",
    seams.REPLAYED: "srtp_replayed",
    seams.TOO_OLD: "srtp_replayed",
}


class Ingress:
    """Reads an inbox's batch. Owns the two tables that tell peers apart."""

    def __init__(
        self,
        inbox: Inbox,
        counters: PlaneCounters,
        *,
        wallclock: Callable[[], float],
    ) -> None:
        self._inbox = inbox
        self._counters = counters
        self._wallclock = wallclock
        self.by_ufrag: dict[str, Transport] = {}
        self.by_address: dict[AddressKey, Transport] = {}

    def handle(self, lengths: list[int], now: float) -> "dict[Publication, None]":
        """Handle the inbox's present batch; returns the publications that have packets to
        forward, in order of arrival."""
        touched: dict[Publication, None] = {}
        inbox, data, starts = self._inbox, self._inbox.data, self._inbox.starts
        for row, length in enumerate(lengths):
            if length < HEADER_BYTES:
                # STUN's header has 20 bytes, a DTLS record's 13, SRTCP 8 with index and tag.
                self._counters.drop("too_long" if length < 0 else "too_short")
                continue
            header = read_header(data, starts[row])
            kind = KIND_OF[header[0]]
            if kind is MEDIA:
                transport = self.by_address.get(inbox.source(row))
                if transport is None:
                    self._counters.drop("unverified_address")
                elif 192 <= header[1] <= 223:  # RTCP (RFC 5761 4)
                    self._control(transport, row, length, now)
                else:
                    self._media(transport, row, header, now, touched)
            elif kind is Kind.STUN:
                self._stun(inbox.datagram(row, length), inbox.source(row))
            elif kind is Kind.DTLS:
                self._dtls(inbox.datagram(row, length), inbox.source(row))
            else:
                self._counters.drop("noise")
        return touched

    def _media(
        self,
        transport: "Transport",
        row: int,
        header: Header,
        now: float,
        touched: "dict[Publication, None]",
    ) -> None:
        inbox = self._inbox
        ssrc = header[4]
        routes = transport.routes
        publication = routes.media.get(ssrc)
        if publication is None and ssrc not in routes.retransmission and routes.full:
            self._counters.drop("ssrc_limit")
            return
        inbound = transport.inbound
        if inbound is None:
            self._counters.drop("not_keyed")
            return
        status = unprotect(inbound.pointer, inbox.pointers[row], inbox.length_pointers[row])
        if status:
            self._counters.drop(_SRTP_REASONS.get(status, "srtp_failed"))
            return
        self._counters.received += 1
        start = inbox.starts[row]
        datagram = bytes(inbox.data[start : start + inbox.lengths[row]])
        if publication is not None:
            reason = publication.receive(datagram, header, now)
        else:
            publication, reason = self._unusual(transport, datagram, header, now)
        if reason is not None:
            self._counters.drop(reason)
        elif publication is not None:
            touched[publication] = None

    def _unusual(
        self, transport: "Transport", datagram: bytes, header: Header, now: float
    ) -> "tuple[Publication | None, str | None]":
        """An authenticated packet that is on no known media ssrc: a retransmission, or new."""
        routes, ssrc = transport.routes, header[4]
        publication = routes.retransmission.get(ssrc) or self._learn(transport, datagram, header)
        if publication is None:
            return None, "unknown_ssrc"
        if ssrc in routes.retransmission:
            return publication, publication.recover(datagram, header, now)
        return publication, publication.receive(datagram, header, now)

    def _learn(
        self, transport: "Transport", datagram: bytes, header: Header
    ) -> "Publication | None":
        """RFC 8843 9.2, for an authenticated packet of a new ssrc."""
        parts = split(datagram, header[0])
        if parts is None:
            return None
        mid = None
        for identifier, value in parts[1]:
            if identifier == transport.routes.mid_id:
                mid = value.decode("ascii", "replace")
        return transport.routes.learn(header[4], header[1] & 0x7F, mid)

    def _stun(self, datagram: bytes, source: AddressKey) -> None:
        try:
            check = parse_check(datagram)
            transport = self.by_ufrag.get(check.local_ufrag)
            if transport is None:
                raise BadCheck("wrong_username")
            transport.handle_check(check, source)
        except BadCheck as bad:
            self._counters.drop("stun_" + bad.reason)
            return
        self._learn_address(transport, source)

    def _learn_address(self, transport: "Transport", source: AddressKey) -> None:
        """*source* was proven by an authenticated check, and belongs to *transport* alone."""
        ice = transport.ice
        previous = self.by_address.get(source)
        if previous is transport or source not in ice.addresses:
            return  # known, or answered with an error: nothing was proven
        if previous is not None:
            previous.ice.addresses.pop(source, None)
        self.by_address[source] = transport
        while ice.forgotten:
            self.by_address.pop(ice.forgotten.pop(), None)

    def forget_addresses(self, transport: "Transport") -> None:
        """*transport* is closed."""
        for source in transport.ice.addresses:
            self.by_address.pop(source, None)

    def _dtls(self, datagram: bytes, source: AddressKey) -> None:
        transport = self.by_address.get(source)
        reason = "unverified_address" if transport is None else transport.handle_dtls(datagram)
        if reason is not None:
            self._counters.drop(reason)

    # --- RTCP -----------------------------------------------------------------------------------

    def _control(self, transport: "Transport", row: int, length: int, now: float) -> None:
        inbox, counters = self._inbox, self._counters
        if transport.inbound is None:
            counters.drop("not_keyed")
            return
        if seams.unprotect_rtcp(
            transport.inbound.pointer, inbox.pointers[row], inbox.length_pointers[row]
        ):
            counters.drop("srtcp_failed")
            return
        try:
            items = rtcp.parse(inbox.datagram(row, inbox.lengths[row]))
        except rtcp.MalformedRtcp:
            counters.drop("rtcp_malformed")
            return
        for item in items:
            if isinstance(item, rtcp.SenderReport):
                self._sender_report(transport, item, now)
            elif isinstance(item, rtcp.Nack):
                self._nack(transport, item, now)
            elif isinstance(item, rtcp.KeyframeWanted):
                self._keyframe_wanted(transport, item.media_ssrc)
            elif isinstance(item, ReportBlock):
                subscription = transport.senders.get(item.ssrc)
                if subscription is not None and item.ssrc == subscription.spec.ssrc:
                    subscription.fraction_lost = item.fraction_lost

    def _sender_report(self, transport: "Transport", report: rtcp.SenderReport, now: float) -> None:
        publication = transport.routes.media.get(report.ssrc)
        if publication is None or publication.ssrc != report.ssrc:
            return
        transport.sender_reports[report.ssrc] = (report.ntp >> 16 & 0xFFFFFFFF, now)
        captured_s = transport.clock.to_ours(ntp_to_s(report.ntp), self._wallclock())
        publication.clock.set(captured_s, report.timestamp)
        publication.report_to_taps(captured_s, report.timestamp)

    def _keyframe_wanted(self, transport: "Transport", ssrc: int) -> None:
        subscription = transport.senders.get(ssrc)
        if subscription is None or subscription.closed:
            return
        self._counters.keyframes_asked += 1
        if subscription.publication.video:
            subscription.publication.keyframes.want()

    def _nack(self, transport: "Transport", nack: rtcp.Nack, now: float) -> None:
        """Answer a subscriber's NACK from the publication's history."""
        counters = self._counters
        subscription = transport.senders.get(nack.media_ssrc)
        if subscription is None or nack.media_ssrc != subscription.spec.ssrc:
            return
        counters.nacks_received += len(nack.sequences)
        for sequence in nack.sequences:
            found = subscription.find(sequence)
            if found is None:
                counters.drop("cache_miss")
            elif not subscription.may_retransmit(now):
                counters.drop("nack_budget")
            else:
                transport.send_rtp(subscription.rewrite_retransmission(*found))
                counters.retransmitted += 1
