"""What a room says to its driver: one frozen dataclass each (sans-IO)."""

from dataclasses import dataclass

from coordinator.ids import Identity, NodeId, ParticipantSid, TrackSid
from coordinator.model import LeaveReason, TrackInfo
from coordinator.requests import SpeakerLevel


@dataclass(frozen=True, slots=True)
class TrackBegan:
    """For the ledger: a participant publishes a track."""

    participant: ParticipantSid
    track: TrackInfo


@dataclass(frozen=True, slots=True)
class TrackEnded:
    """For the ledger: a track is published no longer, but its participant stays."""

    participant: ParticipantSid
    track: TrackSid


@dataclass(frozen=True, slots=True)
class TrackMuteChanged:
    """For the ledger: a track is forwarded no longer, or again."""

    participant: ParticipantSid
    track: TrackSid
    muted: bool
    by: str


@dataclass(frozen=True, slots=True)
class PeerLost:
    """For the ledger: the participant's media is gone, so it leaves."""

    participant: ParticipantSid
    reason: LeaveReason
    why: str
    """The transport's word, for the log."""


@dataclass(frozen=True, slots=True)
class OfferReady:
    """For the participant's signaling process."""

    participant: ParticipantSid
    edge: NodeId | None
    """None: not known; tell all of the room."""
    offer_id: int
    sdp: str
    tracks: dict[str, TrackSid]


@dataclass(frozen=True, slots=True)
class SpeakersChanged:
    """For all signaling processes of the room."""

    speakers: tuple[SpeakerLevel, ...]
    dominant: Identity | None
    """Whom pictures follow: the first of *speakers*, or the last one there was."""


RoomOutput = TrackBegan | TrackEnded | TrackMuteChanged | PeerLost | OfferReady | SpeakersChanged
