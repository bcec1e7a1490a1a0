"""One participant's reception of one publication: state, numbering, and answers to NACKs."""

from typing import TYPE_CHECKING, Final

from media.rtp.packet import Packet, assemble
from media.sfu.fanout import Group, Layout, Member
from media.sfu.numbering import Numbering
from media.sfu.spec import EXT_MID, EXT_TRANSPORT_CC, PublicationSpec, SubscriptionSpec

if TYPE_CHECKING:
    from media.sfu.publication import Publication
    from media.sfu.transport import Transport

RETRANSMIT_RATE_PER_S: Final = 1000.0
RETRANSMIT_BURST: Final = 300.0
"""A subscription's budget of retransmissions: one RTCP packet can ask for thousands."""

_HOP_BY_HOP: Final = (EXT_MID, EXT_TRANSPORT_CC)
"""Extensions that are this hop's own and are never passed on."""


class Subscription:
    """Made by ``MediaPlane.subscribe``. Callers use ``paused``, ``switch`` and the properties."""

    def __init__(
        self, publication: "Publication", transport: "Transport", spec: SubscriptionSpec
    ) -> None:
        self.spec: Final = spec
        self.transport: Final = transport
        self.publication = publication
        self.target: Publication | None = None
        """Where a switch leads, until its first keyframe is here."""
        self.numbering: Final = Numbering(spec.codec.clock_rate_hz)
        self.group: Group | None = None
        self.closed = False
        self.report_due_s = 0.0
        self._paused = False
        self._packets = 0
        self._octets = 0
        self._group_start = (0, 0)
        self._retransmission_sequence = 0
        self._budget = RETRANSMIT_BURST
        self._budget_at_s = 0.0
        self.fraction_lost = 0
        """Of 256, as the subscriber last reported."""

    # --- for callers ----------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        """Forward nothing, or begin again at a keyframe; the subscriber sees no gap."""
        if paused == self._paused or self.closed:
            return
        self._paused = paused
        if paused:
            self.publication.suspend(self)
            if self.target is not None:
                self.target.suspend(self)
        else:
            (self.target or self.publication).await_start(self)

    def switch(self, publication: "Publication") -> None:
        """Send *publication* instead, on the same ssrc with continuous numbers: from its next
        keyframe on if it is video, at once if it is audio. Raises ValueError if its codec is not
        the subscription's."""
        if self.closed or publication is (self.target or self.publication):
            return
        if not publication.offers(self.spec.codec.mime):
            raise ValueError(f"the publication has no {self.spec.codec.mime}")
        if self.target is not None:
            self.target.forget(self)
            self.target = None
        if publication is self.publication:
            return
        self.target = publication
        if not self._paused:
            publication.await_start(self)

    def close(self) -> None:
        """Send nothing more, ever. Use ``MediaPlane.unsubscribe``."""
        if self.closed:
            return
        self.closed = True
        self.publication.forget(self)
        if self.target is not None:
            self.target.forget(self)
            self.target = None
        for ssrc in (self.spec.ssrc, self.spec.rtx_ssrc):
            if ssrc is not None:
                self.transport.senders.pop(ssrc, None)
                if self.transport.outbound is not None:
                    self.transport.outbound.forget(ssrc)

    @property
    def forwarding(self) -> bool:
        """Whether packets flow: not before the first keyframe, and not while paused."""
        return self.numbering.current is not None

    # --- for the publication --------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether it could begin with the next (key)frame."""
        return not self._paused and not self.closed and self.transport.connected

    def begin(self, publication: "Publication", packet: Packet, now: float) -> None:
        """Start, or complete a switch, with *packet* of *publication*."""
        if publication is not self.publication:
            previous = self.publication
            previous.suspend(self)
            previous.forget(self)
            self.publication = publication
        self.target = None
        self.numbering.begin(publication.numbers, packet.extended, packet.timestamp, now)
        self.report_due_s = now  # the first report soon, so that lips and voice meet early

    def end(self, publication: "Publication") -> None:
        """Stop sending; *publication* is whose packets were sent."""
        self.leave_group()
        self.numbering.end(
            publication.highest, publication.last_timestamp, publication.last_arrival_s
        )

    def member(self, publication: PublicationSpec) -> Member:
        """Its row in a group; a segment must be open."""
        segment = self.numbering.current
        session = self.transport.outbound
        assert segment is not None, "only a started subscription is in a group"
        assert session is not None, "only a keyed transport is sent media"
        return Member(
            layout=self.layout(publication),
            ssrc=self.spec.ssrc,
            offset=segment.offset,
            timestamp_offset=segment.timestamp_offset,
            mid=self._mid,
            session=session,
            name=self.transport.name_address,
        )

    @property
    def _mid(self) -> bytes:
        mid = self.spec.mid.encode()
        return mid if EXT_MID in self.spec.extensions and 0 < len(mid) <= 16 else b""

    def layout(self, publication: PublicationSpec) -> Layout:
        """How its packets look when they come from *publication*."""
        mid = self._mid
        return Layout(
            payload_type=self.spec.codec.payload_type,
            elements=tuple(
                (publication.extensions[uri], identifier)
                for uri, identifier in sorted(self.spec.extensions.items())
                if uri in publication.extensions and uri not in _HOP_BY_HOP
            ),
            mid_id=self.spec.extensions[EXT_MID] if mid else None,
            mid_bytes=len(mid),
        )

    def join_group(self, group: Group) -> None:
        """It is in *group* from now on; the group counts for it."""
        self.leave_group()
        self.group = group
        self._group_start = (group.packets, group.octets)

    def leave_group(self) -> None:
        group = self.group
        if group is not None:
            self._packets += group.packets - self._group_start[0]
            self._octets += group.octets - self._group_start[1]
            self.group = None

    def sent(self) -> tuple[int, int]:
        """(packets, payload octets) for sender reports, modulo 2^32."""
        packets, octets = self._packets, self._octets
        if self.group is not None:
            packets += self.group.packets - self._group_start[0]
            octets += self.group.octets - self._group_start[1]
        return packets & 0xFFFFFFFF, octets & 0xFFFFFFFF

    def count(self, octets: int) -> None:
        """One packet sent outside a group."""
        self._packets += 1
        self._octets += octets

    # --- retransmission -------------------------------------------------------------------------

    def may_retransmit(self, now: float) -> bool:
        """Take one retransmission from the budget."""
        self._budget = min(
            RETRANSMIT_BURST,
            self._budget + (now - self._budget_at_s) * RETRANSMIT_RATE_PER_S,
        )
        self._budget_at_s = now
        if self._budget < 1.0:
            return False
        self._budget -= 1.0
        return True

    def find(self, sequence: int) -> tuple[Packet, int, int] | None:
        """The packet sent as *sequence*, with the offsets it was sent with; None if it is gone."""
        located = self.numbering.locate(sequence, self.publication.highest)
        if located is None:
            return None
        segment, extended = located
        publication = self.publication
        if segment.source is not publication.numbers:
            return None
        packet = publication.history.get(extended)
        if packet is None:
            return None
        return packet, segment.offset, segment.timestamp_offset

    def rewrite(self, packet: Packet, offset: int, timestamp_offset: int) -> bytes:
        """*packet* as this subscriber gets it, byte for byte the same each time: a sequence number
        must never stand for two plaintexts (RFC 7714 8.1)."""
        layout = self.layout(self.publication.spec)
        return assemble(
            packet,
            payload_type=layout.payload_type,
            sequence=packet.extended + offset,
            timestamp=packet.timestamp + timestamp_offset,
            ssrc=self.spec.ssrc,
            block=layout.block(packet.elements, self._mid),
        )

    def rewrite_retransmission(self, packet: Packet, offset: int, timestamp_offset: int) -> bytes:
        """*packet* on the RTX ssrc (RFC 4588 4), if that was negotiated; else as it was."""
        codec, ssrc = self.spec.codec, self.spec.rtx_ssrc
        if ssrc is None or codec.rtx_payload_type is None:
            return self.rewrite(packet, offset, timestamp_offset)
        layout = self.layout(self.publication.spec)
        sequence = self._retransmission_sequence
        self._retransmission_sequence += 1
        return assemble(
            packet,
            payload_type=codec.rtx_payload_type,
            sequence=sequence,
            timestamp=packet.timestamp + timestamp_offset,
            ssrc=ssrc,
            block=layout.block(packet.elements, self._mid),
            prefix=((packet.extended + offset) & 0xFFFF).to_bytes(2, "big"),
        )
