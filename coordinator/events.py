"""Events: past facts on a room's ledger. One Struct each; ``type`` is the tag.

The ledger order is the order in which the state changed: each event is appended by the script that
made it true.
"""

from msgspec import Struct

from coordinator.ids import BroadcastSid, Identity, NodeId, ParticipantSid, RoomSid, TrackSid
from coordinator.model import (
    LeaveReason,
    ParticipantInfo,
    RoomSettings,
    TrackInfo,
)


class Event(Struct, frozen=True, kw_only=True):
    """Root of the events."""


class RoomCreated(Event, tag_field="type", tag="room.created", frozen=True, kw_only=True):
    sid: RoomSid
    settings: RoomSettings


class RoomPlaced(Event, tag_field="type", tag="room.placed", frozen=True, kw_only=True):
    """The room has a (new) owner. ``fence`` only grows."""

    node: NodeId
    fence: int


class RoomClosed(Event, tag_field="type", tag="room.closed", frozen=True, kw_only=True):
    """The last event of a room. Every participant's ``participant.left`` came before it."""

    sid: RoomSid
    reason: str
    """``closed`` by an operator, ``empty`` after a timeout."""


class ParticipantJoined(
    Event, tag_field="type", tag="participant.joined", frozen=True, kw_only=True
):
    participant: ParticipantInfo


class ParticipantLeft(Event, tag_field="type", tag="participant.left", frozen=True, kw_only=True):
    """Appears once for each ``participant.joined``; the participant's tracks end with it."""

    sid: ParticipantSid
    identity: Identity
    reason: LeaveReason
    hidden: bool = False


class TrackPublished(Event, tag_field="type", tag="track.published", frozen=True, kw_only=True):
    participant: ParticipantSid
    identity: Identity
    track: TrackInfo


class TrackUnpublished(Event, tag_field="type", tag="track.unpublished", frozen=True, kw_only=True):
    participant: ParticipantSid
    identity: Identity
    track: TrackSid


class TrackMuted(Event, tag_field="type", tag="track.muted", frozen=True, kw_only=True):
    """``muted`` false tells that the track is heard or seen again."""

    participant: ParticipantSid
    identity: Identity
    track: TrackSid
    muted: bool
    by: str
    """``participant`` or ``admin``."""


class BroadcastRequested(
    Event, tag_field="type", tag="broadcast.requested", frozen=True, kw_only=True
):
    """The owner node hears it and starts a worker."""

    sid: BroadcastSid


class BroadcastLive(Event, tag_field="type", tag="broadcast.live", frozen=True, kw_only=True):
    """The playlist can be played."""

    sid: BroadcastSid
    url: str


class BroadcastStopping(
    Event, tag_field="type", tag="broadcast.stopping", frozen=True, kw_only=True
):
    """The owner node hears it and ends the worker."""

    sid: BroadcastSid


class BroadcastEnded(Event, tag_field="type", tag="broadcast.ended", frozen=True, kw_only=True):
    sid: BroadcastSid
    reason: str
    """``stopped``, ``room_closed``, ``failed``; ``node_lost`` or ``server_draining`` if the next
    owner goes on under a new sid."""


AnyEvent = (
    RoomCreated
    | RoomPlaced
    | RoomClosed
    | ParticipantJoined
    | ParticipantLeft
    | TrackPublished
    | TrackUnpublished
    | TrackMuted
    | BroadcastRequested
    | BroadcastLive
    | BroadcastStopping
    | BroadcastEnded
)
