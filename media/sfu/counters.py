"""What the plane counts. Plain attributes, because the hot path adds to them."""

from collections import Counter
from typing import Final

from coordinator.requests import MetricFamily, Sample
from media.transport.outbox import OutboxCounters

PREFIX: Final = "tertulia_media_"

DROPS: Final = (
    "noise",  # no protocol of ours by its first byte (RFC 7983)
    "too_long",
    "too_short",
    "stun_malformed",
    "stun_not_a_request",
    "stun_bad_integrity",
    "stun_wrong_username",
    "unverified_address",  # DTLS or media from an address that no check has proven
    "dtls_queue_full",
    "not_keyed",  # media before the handshake is over
    "srtp_auth_failed",
    "srtp_replayed",
    "srtp_failed",
    "srtcp_failed",
    "rtcp_malformed",
    "rtp_malformed",
    "unknown_ssrc",
    "ssrc_limit",
    "unknown_payload_type",
    "duplicate",
    "too_old",
    "muted",
    "congested",  # video given up to the end of its frame because the socket was full
    "cache_miss",  # a NACK for a packet no longer kept, or never sent
    "nack_budget",
    "rtx_padding",
)
"""Every reason for which something received, or about to be sent, is dropped."""


class PlaneCounters:
    """Counters of one plane's life."""

    def __init__(self) -> None:
        self.drops: Counter[str] = Counter(dict.fromkeys(DROPS, 0))
        self.wakeups = 0
        self.received = 0
        self.forwarded = 0
        self.retransmitted = 0
        self.recovered = 0
        self.nacks_received = 0
        self.nacked_packets = 0
        self.keyframes_asked = 0
        self.keyframes_requested = 0
        self.transports_failed = 0

    def drop(self, reason: str, count: int = 1) -> None:
        """Count *count* dropped for *reason*, one of DROPS."""
        assert reason in self.drops, f"an undocumented drop reason {reason}"
        self.drops[reason] += count

    def families(
        self, outbox: OutboxCounters, gauges: dict[str, float]
    ) -> tuple[MetricFamily, ...]:
        """All of it as metrics; *gauges* by name without prefix."""
        counters = {
            "wakeups": ("Times the socket was read.", self.wakeups),
            "received_packets": ("RTP packets accepted.", self.received),
            "forwarded_packets": ("RTP packets forwarded, retransmissions aside.", self.forwarded),
            "retransmitted_packets": ("Packets sent again on NACK.", self.retransmitted),
            "recovered_packets": ("Packets a publisher sent again for us.", self.recovered),
            "nacks_received": ("Packets subscribers asked for again.", self.nacks_received),
            "nacks_sent": ("Packets asked for again from publishers.", self.nacked_packets),
            "keyframes_asked": ("Keyframe requests from subscribers.", self.keyframes_asked),
            "keyframes_requested": (
                "Keyframe requests sent to publishers.",
                self.keyframes_requested,
            ),
            "transports_failed": ("Transports that failed.", self.transports_failed),
            "sent_datagrams": ("RTP datagrams given to the kernel.", outbox.sent),
            "send_stalls": ("Times the socket was full.", outbox.stalls),
            "kept_unsent": ("Datagrams kept because the socket was full.", outbox.kept_unsent),
            "backlog_dropped": ("Kept datagrams given up.", outbox.backlog_dropped),
            "send_failed": ("Datagrams the kernel refused.", outbox.send_failed),
            "protect_failed": ("Packets that could not be encrypted.", outbox.protect_failed),
        }
        families = [
            MetricFamily(
                name=f"{PREFIX}{name}_total",
                kind="counter",
                help=text,
                samples=(Sample(labels={}, value=float(value)),),
            )
            for name, (text, value) in counters.items()
        ]
        families.append(
            MetricFamily(
                name=f"{PREFIX}dropped_total",
                kind="counter",
                help="Datagrams and packets dropped, by reason.",
                samples=tuple(
                    Sample(labels={"reason": reason}, value=float(count))
                    for reason, count in self.drops.items()
                ),
            )
        )
        families.extend(
            MetricFamily(
                name=PREFIX + name,
                kind="gauge",
                help=f"Present {name}.",
                samples=(Sample(labels={}, value=value),),
            )
            for name, value in gauges.items()
        )
        return tuple(families)
