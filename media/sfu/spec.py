"""What negotiation tells the media plane: frozen descriptions of codecs, tracks and subscriptions.

Negotiation (SDP) makes them, the plane acts on them; neither knows the other's inside.
"""

from dataclasses import dataclass, field
from typing import NewType

from coordinator.ids import ParticipantSid, TrackSid
from coordinator.model import TrackKind, TrackSource

Ssrc = NewType("Ssrc", int)

# Header extensions that we understand (RFC 8285 ids are per transport).
EXT_MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
EXT_AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"  # RFC 6464
EXT_ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
EXT_TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
EXT_DEPENDENCY_DESCRIPTOR = (
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
)


@dataclass(frozen=True, slots=True)
class CodecSpec:
    """A codec with the payload types it has on one transport."""

    mime: str
    """``audio/opus``, ``video/VP8`` ..., as in SDP, case as registered."""
    payload_type: int
    clock_rate_hz: int
    channels: int | None = None
    fmtp: str = ""
    rtx_payload_type: int | None = None
    """RFC 4588; None: retransmit on the media ssrc."""
    nack: bool = False
    pli: bool = False
    fir: bool = False
    remb: bool = False
    """``goog-remb`` was negotiated: a publisher is told how much it may send."""


@dataclass(frozen=True, slots=True)
class PublicationSpec:
    """One published track on a publisher transport (we receive it).

    A packet belongs to it by ssrc if *ssrc* is known, else by the MID extension with *mid*, else,
    where a payload type occurs in one m-line only, by payload type (RFC 8843 9.2).
    """

    track: TrackSid
    participant: ParticipantSid
    kind: TrackKind
    source: TrackSource
    mid: str
    codecs: tuple[CodecSpec, ...]
    """Those of our answer, most wanted first; the sender may use any. One, as a rule."""
    ssrc: Ssrc | None = None
    rtx_ssrc: Ssrc | None = None
    extensions: dict[str, int] = field(default_factory=dict)
    """URI -> id on this transport."""


@dataclass(frozen=True, slots=True)
class SubscriptionSpec:
    """One track on a subscriber transport (we send it)."""

    track: TrackSid
    mid: str
    codec: CodecSpec
    """As negotiated with the subscriber; its mime is one of the publication's."""
    ssrc: Ssrc
    rtx_ssrc: Ssrc | None
    cname: str
    extensions: dict[str, int] = field(default_factory=dict)
