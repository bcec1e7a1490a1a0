"""Requests and notices: what processes ask of one another, at most once and with a deadline.

``REPLY`` names the reply of each request. A notice is a request nobody answers. Method names are
the tags.
"""

from typing import Final

from msgspec import Struct

from coordinator.ids import Identity, ParticipantSid, RoomName, TrackSid
from coordinator.model import TrackSource


class Request(Struct, frozen=True, kw_only=True, tag_field="method"):
    """Root of the requests."""


class Reply(Struct, frozen=True, kw_only=True):
    """Root of the replies."""


class Ack(Reply, frozen=True, kw_only=True):
    """Done; nothing more to say."""


class TrackAnnouncement(Struct, frozen=True, kw_only=True):
    """What a participant says about the m-line *mid* of its publisher offer."""

    mid: str
    source: TrackSource = "unknown"
    name: str = ""
    muted: bool = False


class AnsweredTrack(Struct, frozen=True, kw_only=True):
    """The sid that the node gave to the track of m-line *mid*."""

    mid: str
    sid: TrackSid


class OpenRoom(Request, frozen=True, kw_only=True, tag="room.open"):
    """To the owner: a room was placed on you; follow it and prepare."""

    room: RoomName


class PublisherOffer(Request, frozen=True, kw_only=True, tag="publisher.offer"):
    """To the owner: the participant's offer for its publisher transport (first or again).

    Peer errors: invalid_sdp, unsupported_media, wrong_state, permission_denied,
    participant_not_found, room_not_found.
    """

    room: RoomName
    participant: ParticipantSid
    sdp: str
    tracks: tuple[TrackAnnouncement, ...] = ()


class PublisherAnswer(Reply, frozen=True, kw_only=True):
    sdp: str
    tracks: tuple[AnsweredTrack, ...] = ()


class SubscriberAnswer(Request, frozen=True, kw_only=True, tag="subscriber.answer"):
    """To the owner: the participant's answer to the offer *offer_id*. Ack; wrong_state if there is
    no such offer outstanding."""

    room: RoomName
    participant: ParticipantSid
    offer_id: int
    sdp: str


class Candidate(Request, frozen=True, kw_only=True, tag="candidate"):
    """To the owner: a trickled candidate (RFC 8838). Ack; invalid_candidate."""

    room: RoomName
    participant: ParticipantSid
    transport: str
    """``publisher`` or ``subscriber``."""
    candidate: str
    """``candidate:...`` as in SDP; empty: end of candidates."""


class SetTrackMuted(Request, frozen=True, kw_only=True, tag="track.mute"):
    """To the owner: forward a track no longer, or again. Ack; track_not_found. The owner appends
    ``track.muted``. An operator's mute (by ``admin``) is not undone by the participant."""

    room: RoomName
    participant: ParticipantSid
    track: TrackSid
    muted: bool
    by: str


class WhipOffer(Request, frozen=True, kw_only=True, tag="whip.offer"):
    """To the owner: a WHIP client's full offer (RFC 9725 4.2). Camera and microphone are the
    sources of its tracks."""

    room: RoomName
    participant: ParticipantSid
    sdp: str


class WhepOffer(Request, frozen=True, kw_only=True, tag="whep.offer"):
    """To the owner: a WHEP player's offer. *source* is whom to play; None: the active speaker."""

    room: RoomName
    participant: ParticipantSid
    sdp: str
    source: Identity | None = None


class SdpAnswer(Reply, frozen=True, kw_only=True):
    """*etag* names the ICE session (RFC 9725 4.3.1)."""

    sdp: str
    etag: str


class SdpFragment(Request, frozen=True, kw_only=True, tag="sdp.fragment"):
    """To the owner: the body of a WHIP or WHEP PATCH (RFC 8840): candidates, or an ICE restart.

    *etag* is If-Match's; ``*`` or a fragment with new credentials asks for a restart. Peer errors:
    precondition_failed, invalid_sdp, invalid_candidate.
    """

    room: RoomName
    participant: ParticipantSid
    fragment: str
    etag: str | None


class SdpFragmentAnswer(Reply, frozen=True, kw_only=True):
    """*fragment* is empty unless ICE was restarted."""

    fragment: str = ""
    etag: str = ""


class SubscriberOffer(Request, frozen=True, kw_only=True, tag="subscriber.offer"):
    """Notice to the participant's signaling process. At most one offer is outstanding; *tracks*
    maps each sending m-line's mid to the track on it."""

    room: RoomName
    participant: ParticipantSid
    offer_id: int
    sdp: str
    tracks: dict[str, TrackSid]


class SpeakerLevel(Struct, frozen=True, kw_only=True):
    participant: ParticipantSid
    identity: Identity
    level: float
    """0 silent to 1 loudest."""


class ActiveSpeakers(Request, frozen=True, kw_only=True, tag="speakers"):
    """Notice to each signaling process that has participants in the room: who speaks, loudest
    first; sent on change only."""

    room: RoomName
    speakers: tuple[SpeakerLevel, ...]


class CollectMetrics(Request, frozen=True, kw_only=True, tag="metrics.collect"):
    """To any node: its metrics, for the web process's ``/metrics``."""


class Sample(Struct, frozen=True, kw_only=True):
    labels: dict[str, str]
    value: float


class MetricFamily(Struct, frozen=True, kw_only=True):
    name: str
    kind: str
    """``counter`` or ``gauge``."""
    help: str
    samples: tuple[Sample, ...]


class Metrics(Reply, frozen=True, kw_only=True):
    families: tuple[MetricFamily, ...]


AnyRequest = (
    OpenRoom
    | PublisherOffer
    | SubscriberAnswer
    | Candidate
    | SetTrackMuted
    | WhipOffer
    | WhepOffer
    | SdpFragment
    | SubscriberOffer
    | ActiveSpeakers
    | CollectMetrics
)

REPLY: Final[dict[type[Request], type[Reply] | None]] = {
    OpenRoom: Ack,
    PublisherOffer: PublisherAnswer,
    SubscriberAnswer: Ack,
    Candidate: Ack,
    SetTrackMuted: Ack,
    WhipOffer: SdpAnswer,
    WhepOffer: SdpAnswer,
    SdpFragment: SdpFragmentAnswer,
    SubscriberOffer: None,
    ActiveSpeakers: None,
    CollectMetrics: Metrics,
}
"""None: a notice."""
