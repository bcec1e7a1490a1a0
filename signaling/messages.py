"""The WebSocket protocol ``tertulia.v1``: one JSON object per text message, ``type`` is the tag.

Unknown types and unknown fields on the way in are errors; a client must ignore unknown fields and
types on the way out. See PROTOCOL.md for the conversation with examples.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from coordinator.ids import EventId, Identity, ParticipantSid, TrackSid
from coordinator.model import (
    BroadcastInfo,
    LeaveReason,
    ParticipantInfo,
    RoomInfo,
    TrackInfo,
)
from coordinator.requests import AnsweredTrack, SpeakerLevel, TrackAnnouncement
from signaling.config import IceServer

MessageId = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""A client's own number for a request; up to the integers that every JSON reader keeps exact."""


class AnnouncedTrack(TrackAnnouncement, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the tracks of a publisher offer; *name* is shown to people and follows their rule."""


class FromClient(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """Root of what a participant sends."""


class PublisherOfferMessage(FromClient, frozen=True, kw_only=True, tag="publisher_offer"):
    """The client's offer for its publisher transport. Answered by ``publisher_answer`` with the
    same *id*, or by ``error`` with it. A new offer waits for the answer to the last one."""

    id: MessageId
    sdp: str
    tracks: tuple[AnnouncedTrack, ...] = ()


class SubscriberAnswerMessage(FromClient, frozen=True, kw_only=True, tag="subscriber_answer"):
    """The client's answer to ``subscriber_offer`` *offer_id*."""

    offer_id: MessageId
    sdp: str


class CandidateMessage(FromClient, frozen=True, kw_only=True, tag="candidate"):
    """A trickled candidate of the client's (RFC 8838); an empty one ends them. The server is
    ICE-lite and learns addresses from checks, so a client may send none."""

    transport: Literal["publisher", "subscriber"]
    candidate: str


class MuteMessage(FromClient, frozen=True, kw_only=True, tag="mute"):
    """The participant mutes (or unmutes) its own track."""

    id: MessageId
    track: TrackSid
    muted: bool


class LeaveMessage(FromClient, frozen=True, kw_only=True, tag="leave"):
    """The participant goes. The server closes the socket with 1000."""


class PingMessage(FromClient, frozen=True, kw_only=True, tag="ping"):
    """Answered by ``pong`` with the same *id*."""

    id: MessageId


class FromServer(Struct, frozen=True, kw_only=True, tag_field="type"):
    """Root of what the server sends."""


class Joined(FromServer, frozen=True, kw_only=True, tag="joined"):
    """The first message. *participants* are the others (the hidden left out)."""

    room: RoomInfo
    participant: ParticipantInfo
    participants: tuple[ParticipantInfo, ...]
    ice_servers: tuple[IceServer, ...]
    position: EventId


class ParticipantJoinedMessage(FromServer, frozen=True, kw_only=True, tag="participant_joined"):
    participant: ParticipantInfo


class ParticipantLeftMessage(FromServer, frozen=True, kw_only=True, tag="participant_left"):
    sid: ParticipantSid
    identity: Identity
    reason: LeaveReason


class TrackPublishedMessage(FromServer, frozen=True, kw_only=True, tag="track_published"):
    """Also sent to the publisher itself."""

    participant: ParticipantSid
    track: TrackInfo


class TrackUnpublishedMessage(FromServer, frozen=True, kw_only=True, tag="track_unpublished"):
    participant: ParticipantSid
    track: TrackSid


class TrackMutedMessage(FromServer, frozen=True, kw_only=True, tag="track_muted"):
    """*by*: ``participant`` or ``admin``. Also sent to the publisher itself."""

    participant: ParticipantSid
    track: TrackSid
    muted: bool
    by: str


class PublisherAnswerMessage(FromServer, frozen=True, kw_only=True, tag="publisher_answer"):
    id: int
    sdp: str
    tracks: tuple[AnsweredTrack, ...]


class SubscriberOfferMessage(FromServer, frozen=True, kw_only=True, tag="subscriber_offer"):
    """The server's offer for the subscriber transport; *tracks* maps mid to track sid."""

    offer_id: int
    sdp: str
    tracks: dict[str, TrackSid]


class MutedMessage(FromServer, frozen=True, kw_only=True, tag="muted"):
    """The answer to ``mute``."""

    id: int
    track: TrackSid
    muted: bool


class SpeakersMessage(FromServer, frozen=True, kw_only=True, tag="speakers"):
    """Who speaks, loudest first; an empty list: nobody. Sent on change."""

    speakers: tuple[SpeakerLevel, ...]


class BroadcastMessage(FromServer, frozen=True, kw_only=True, tag="broadcast"):
    """The room's broadcast has a new state."""

    broadcast: BroadcastInfo


class Resync(FromServer, frozen=True, kw_only=True, tag="resync"):
    """Events were lost (Redis was restored from a backup, or trimmed): replace what you know."""

    reason: str
    room: RoomInfo
    participants: tuple[ParticipantInfo, ...]
    position: EventId


class Goodbye(FromServer, frozen=True, kw_only=True, tag="goodbye"):
    """The last message; the socket closes with the code's close code right after. *reconnect* is
    ``no``, ``now`` or ``later``."""

    code: str
    detail: str
    reconnect: Literal["no", "now", "later"]


class ErrorMessage(FromServer, frozen=True, kw_only=True, tag="error"):
    """One message was refused; the conversation goes on. *id* is the refused message's, if any."""

    code: str
    detail: str
    id: int | None = None


class Pong(FromServer, frozen=True, kw_only=True, tag="pong"):
    id: int


AnyFromClient = (
    PublisherOfferMessage
    | SubscriberAnswerMessage
    | CandidateMessage
    | MuteMessage
    | LeaveMessage
    | PingMessage
)
AnyFromServer = (
    Joined
    | ParticipantJoinedMessage
    | ParticipantLeftMessage
    | TrackPublishedMessage
    | TrackUnpublishedMessage
    | TrackMutedMessage
    | PublisherAnswerMessage
    | SubscriberOfferMessage
    | MutedMessage
    | SpeakersMessage
    | BroadcastMessage
    | Resync
    | Goodbye
    | ErrorMessage
    | Pong
)
