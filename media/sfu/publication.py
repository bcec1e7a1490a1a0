"""One published track: its packets come in, are remembered, and go out to its subscriptions."""

from typing import TYPE_CHECKING, Final, Protocol

from media.rtp import keyframe
from media.rtp.clock import SourceClock
from media.rtp.history import PacketHistory
from media.rtp.levels import AudioLevels
from media.rtp.packet import HEADER_BYTES, NO_ELEMENTS, Header, Packet, assemble, split
from media.rtp.reception import RENUMBERED, Reception
from media.rtp.sequence import unwrap
from media.sfu import fanout
from media.sfu.counters import PlaneCounters
from media.sfu.keyframes import KeyframeRequests
from media.sfu.spec import EXT_AUDIO_LEVEL, CodecSpec, PublicationSpec
from media.transport.outbox import Outbox

if TYPE_CHECKING:
    from media.sfu.subscription import Subscription
    from media.sfu.transport import Transport

HISTORY_VIDEO: Final = 1024
HISTORY_AUDIO: Final = 256
"""Packets kept for retransmission: 5 s of each at their common rates."""


class TapSink(Protocol):
    """Who listens to a publication beside its subscribers. Must not block."""

    def packets(self, packets: list[bytes], arrival_s: float) -> None:
        """Plain RTP in order of arrival, header extensions removed; *arrival_s* is monotonic."""

    def sender_report(self, ntp_s: float, rtp_timestamp: int) -> None:
        """*rtp_timestamp* was captured at *ntp_s*: seconds of the Unix epoch, on this node's clock,
        so that all publications of a room are on one."""


class Tap:
    """One TapSink on one publication; ``close`` ends it."""

    def __init__(self, publication: "Publication", sink: TapSink) -> None:
        self._publication = publication
        self.sink: Final = sink

    def close(self) -> None:
        self._publication.untap(self)


class Publication:
    """Made by ``MediaPlane.publish``. Callers use ``muted``, ``spec`` and ``transport``."""

    def __init__(
        self,
        transport: "Transport",
        spec: PublicationSpec,
        outbox: Outbox,
        counters: PlaneCounters,
    ) -> None:
        self.spec: Final = spec
        self.transport: Final = transport
        self._outbox = outbox
        self._counters = counters
        self.video: Final = spec.kind == "video"
        self.codec: CodecSpec = spec.codecs[0]
        self._begins_keyframe = keyframe.detector(self.codec.mime)
        self.reception = self._new_reception()
        self.history: Final = PacketHistory(HISTORY_VIDEO if self.video else HISTORY_AUDIO)
        self.clock = SourceClock(self.codec.clock_rate_hz)
        self.keyframes: Final = KeyframeRequests()
        self.fir_number = 0
        self.levels: Final = AudioLevels()
        self._level_id = spec.extensions.get(EXT_AUDIO_LEVEL, -1)
        self.ssrc = -1
        """The media ssrc in use; -1 before the first packet."""
        self.numbers: object = object()
        """Changes when the publisher's numbers begin anew (ssrc, codec or sequence)."""
        self.last_timestamp = 0
        self.last_arrival_s = 0.0
        self.closed = False
        self.burst: list[Packet] = []
        """Packets of this wake-up, not yet forwarded."""
        self._waiting: dict[Subscription, None] = {}
        self._forwarding: dict[Subscription, None] = {}
        self._groups: list[fanout.Group] | None = []
        self._newest_start = 0
        """Packets older than this are not for every subscription."""
        self._given_up_timestamp = -1
        self._muted = False
        self._taps: list[Tap] = []

    # --- for callers ----------------------------------------------------------------------------

    @property
    def muted(self) -> bool:
        return self._muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        """Forward nothing to anybody, taps included; subscribers see no gap afterwards."""
        if muted == self._muted:
            return
        self._muted = muted
        if muted:
            self._restart_all()
        elif self._waiting:
            self.keyframes.want()

    def offers(self, mime: str) -> bool:
        """Whether one of its codecs is *mime*."""
        return any(codec.mime.lower() == mime.lower() for codec in self.spec.codecs)

    # --- subscriptions --------------------------------------------------------------------------

    def await_start(self, subscription: "Subscription") -> None:
        """Forward to *subscription* from the next keyframe (video) or packet (audio) on.

        A subscriber whose transport is still coming up could not take a keyframe yet, and asking
        for one would hold back the request that it needs: ``transport_connected`` asks.
        """
        self._waiting[subscription] = None
        if self.video and subscription.ready:
            self.keyframes.want()

    def suspend(self, subscription: "Subscription") -> None:
        """Forward to *subscription* no longer."""
        self._waiting.pop(subscription, None)
        if subscription in self._forwarding:
            self.forward()
            del self._forwarding[subscription]
            subscription.end(self)
            self._groups = None

    def forget(self, subscription: "Subscription") -> None:
        """*subscription* has nothing to do with this publication any more."""
        self.suspend(subscription)

    @property
    def subscriptions(self) -> "tuple[Subscription, ...]":
        return (*self._forwarding, *self._waiting)

    def tap(self, sink: TapSink) -> Tap:
        tap = Tap(self, sink)
        self._taps.append(tap)
        if self.video:
            self.keyframes.want()
        return tap

    def untap(self, tap: Tap) -> None:
        if tap in self._taps:
            self._taps.remove(tap)

    def close(self) -> None:
        """End every subscription's stretch; nothing more is forwarded."""
        self.closed = True
        self.forward()
        for subscription in self.subscriptions:
            self.suspend(subscription)
        self._taps.clear()

    # --- receiving ------------------------------------------------------------------------------

    @property
    def highest(self) -> int:
        """The newest extended sequence number."""
        return self.reception.highest

    def receive(self, datagram: bytes, header: Header, now: float) -> str | None:
        """A decrypted packet of its media ssrc. A drop reason, or None."""
        first, second, sequence, timestamp, ssrc = header
        if ssrc != self.ssrc or second & 0x7F != self.codec.payload_type:
            reason = self._source_changed(ssrc, second & 0x7F)
            if reason is not None:
                return reason
        if first & 0x1F:  # an extension block or CSRCs
            parts = split(datagram, first)
            if parts is None:
                return "rtp_malformed"
            payload_start, elements = parts
        else:
            payload_start, elements = HEADER_BYTES, NO_ELEMENTS
        reception = self.reception
        extended = reception.place(sequence, now)
        if extended != reception.highest:
            if extended == RENUMBERED:
                self._restart_all()
                extended = reception.restart(sequence)
            elif extended <= reception.highest - self.history.capacity:
                return "too_old"
        if not self.history.put(extended, datagram):
            return "duplicate"
        reception.count(timestamp, now)
        if extended == reception.highest:
            self.last_timestamp = timestamp
            self.last_arrival_s = now
        if elements and not self.video:
            for identifier, value in elements:
                if identifier == self._level_id:
                    self.levels.add(value)
        packet = Packet(
            extended, timestamp, second & 0x80, first & 0x20, elements, datagram[payload_start:]
        )
        if self.keyframes.wanted or self._waiting or self._muted:
            return self._take(packet, now)
        self.burst.append(packet)
        return None

    def recover(self, datagram: bytes, header: Header, now: float) -> str | None:
        """A decrypted packet of its RTX ssrc (RFC 4588 4): the original is inside."""
        first, second, _, timestamp, _ = header
        parts = split(datagram, first)
        if parts is None:
            return "rtp_malformed"
        payload_start, elements = parts
        if len(datagram) - payload_start < 2 or first & 0x20:
            return "rtx_padding"  # bandwidth probing carries no original
        reception = self.reception
        if not reception.started or second & 0x7F != self.codec.rtx_payload_type:
            return "unknown_payload_type"
        original = datagram[payload_start] << 8 | datagram[payload_start + 1]
        extended = unwrap(original, reception.highest)
        if not reception.highest - self.history.capacity < extended <= reception.highest:
            return "too_old"
        # As it was first sent, but for the payload type and ssrc, which are rewritten anyway.
        original_datagram = datagram[:payload_start] + datagram[payload_start + 2 :]
        if not self.history.put(extended, original_datagram):
            return "duplicate"
        reception.missing.pop(extended, None)
        reception.count(timestamp, now)
        packet = Packet(
            extended, timestamp, second & 0x80, 0, elements, original_datagram[payload_start:]
        )
        self._counters.recovered += 1
        return self._take(packet, now)

    @property
    def _attentive(self) -> bool:
        """Whether somebody waits for a keyframe."""
        return self.keyframes.wanted or bool(self._waiting)

    def _take(self, packet: Packet, now: float) -> str | None:
        """Decide what becomes of a new packet."""
        if self._attentive:
            begins = self._begins_keyframe
            if begins is None or begins(packet.payload):
                self.keyframes.arrived()
                if self._waiting and not self._muted:
                    self._start_waiting(packet, now)
        if self._muted:
            return "muted"
        self.burst.append(packet)
        return None

    # --- sending --------------------------------------------------------------------------------

    def forward(self) -> None:
        """Send this wake-up's packets to all subscriptions and taps."""
        packets, self.burst = self.burst, []
        if not packets:
            return
        if self._taps:
            self._feed_taps(packets)
        if self.video and (self._outbox.congested or self._given_up_timestamp >= 0):
            packets = self._give_up(packets)
            if not packets:
                return
        if self._groups is None:
            self._regroup()
            assert self._groups is not None
        for packet in packets:
            if packet.extended < self._newest_start:
                self._forward_late(packets)
                return
        for group in self._groups:
            fanout.forward(self._outbox, group, packets)
        self._counters.forwarded += len(packets) * len(self._forwarding)

    def _forward_late(self, packets: list[Packet]) -> None:
        """Some packet is older than some subscription's start: one by one."""
        for packet in packets:
            for subscription in self._forwarding:
                segment = subscription.numbering.current
                if segment is None or packet.extended < segment.first:
                    continue
                datagram = subscription.rewrite(packet, segment.offset, segment.timestamp_offset)
                subscription.transport.send_rtp(datagram)
                subscription.count(len(packet.payload))
                self._counters.forwarded += 1

    def _give_up(self, packets: list[Packet]) -> list[Packet]:
        """The socket is full: video is dropped to the end of the frame; audio is kept."""
        kept = []
        for packet in packets:
            if self._outbox.congested or packet.timestamp == self._given_up_timestamp:
                self._given_up_timestamp = packet.timestamp
                self._counters.drop("congested", len(self._forwarding))
            else:
                self._given_up_timestamp = -1
                kept.append(packet)
        return kept

    def _feed_taps(self, packets: list[Packet]) -> None:
        plain = [
            assemble(
                packet,
                payload_type=self.codec.payload_type,
                sequence=packet.extended,
                timestamp=packet.timestamp,
                ssrc=self.ssrc,
            )
            for packet in packets
        ]
        for tap in tuple(self._taps):
            tap.sink.packets(plain, self.last_arrival_s)

    def report_to_taps(self, ntp_s: float, timestamp: int) -> None:
        for tap in tuple(self._taps):
            tap.sink.sender_report(ntp_s, timestamp)

    # --- inside ---------------------------------------------------------------------------------

    def _new_reception(self) -> Reception:
        return Reception(self.codec.clock_rate_hz, repair=self.codec.nack)

    def _source_changed(self, ssrc: int, payload_type: int) -> str | None:
        """Another ssrc or codec than before: numbers begin anew."""
        codec = next((c for c in self.spec.codecs if c.payload_type == payload_type), None)
        if codec is None:
            return "unknown_payload_type"
        first = self.ssrc < 0
        self.forward()
        if ssrc != self.ssrc or codec is not self.codec:
            self.codec = codec
            self._begins_keyframe = keyframe.detector(codec.mime)
            self.ssrc = ssrc
            if not first:
                self._restart_all()
                self.history.clear()
            self.reception = self._new_reception()
            self.clock = SourceClock(codec.clock_rate_hz)
        return None

    def _restart_all(self) -> None:
        """Every subscription begins a new stretch, at a keyframe."""
        self.forward()
        for subscription in tuple(self._forwarding):
            self.suspend(subscription)
            self._waiting[subscription] = None
        self.numbers = object()
        if self.video and self._waiting:
            self.keyframes.want()

    def _start_waiting(self, packet: Packet, now: float) -> None:
        starting = [
            subscription
            for subscription in self._waiting
            if subscription.ready
            and subscription.spec.codec.mime.lower() == self.codec.mime.lower()
        ]
        if not starting:
            return
        self.forward()  # what came before the keyframe is not for them
        for subscription in starting:
            del self._waiting[subscription]
            subscription.begin(self, packet, now)
            self._forwarding[subscription] = None
        self._groups = None

    def _regroup(self) -> None:
        """Make the columns anew, after a change."""
        members = []
        for subscription in tuple(self._forwarding):
            if not subscription.transport.connected:
                del self._forwarding[subscription]
                subscription.end(self)
                self._waiting[subscription] = None
                continue
            members.append((subscription, subscription.member(self.spec)))
        self._groups = fanout.groups([member for _, member in members]) if members else []
        for group in self._groups:
            for subscription, member in members:
                if member.layout == group.layout:
                    subscription.join_group(group)
        self._newest_start = max(
            (
                subscription.numbering.current.first
                for subscription in self._forwarding
                if subscription.numbering.current is not None
            ),
            default=0,
        )
