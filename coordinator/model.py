"""What a room is made of, as others see it. The same Structs stand in snapshots, events, the API
and signaling, so that one thing has one shape everywhere.

Times are RFC 3339 UTC strings in JSON (msgspec's datetime), durations carry their unit.
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from coordinator.ids import (
    BroadcastSid,
    EventId,
    Identity,
    NodeId,
    ParticipantSid,
    RoomName,
    RoomSid,
    TrackSid,
)

TrackKind = Literal["audio", "video"]
TrackSource = Literal["camera", "microphone", "screen_share", "screen_share_audio", "unknown"]
ParticipantKind = Literal["standard", "whip", "whep"]
BroadcastState = Literal["requested", "live", "stopping", "ended"]
LeaveReason = Literal[
    "left",  # the participant said so, or closed its connection
    "removed",  # by an operator
    "room_closed",
    "duplicate_identity",  # the same identity joined anew
    "node_lost",  # the media node's lease ran out
    "signaling_lost",  # the signaling process's lease ran out
    "transport_failed",  # ICE or DTLS never came up, or went away
    "join_failed",  # admitted, but the node could not prepare
    "server_draining",
]


class TrackInfo(Struct, frozen=True, kw_only=True):
    """One published track."""

    sid: TrackSid
    kind: TrackKind
    source: TrackSource
    mime: str
    """``video/VP8``, ``audio/opus`` ..."""
    muted: bool = False
    name: str = ""


class Permissions(Struct, frozen=True, kw_only=True):
    """What a participant may do: the token's grants, after defaults."""

    can_publish: bool = True
    can_subscribe: bool = True
    can_publish_data: bool = True
    hidden: bool = False
    """Not shown to the others (and no join or leave is told to them)."""


class ParticipantInfo(Struct, frozen=True, kw_only=True):
    """One participant. ``sid`` is this stay of theirs, ``identity`` the person."""

    sid: ParticipantSid
    identity: Identity
    name: str
    joined_at: datetime
    kind: ParticipantKind = "standard"
    permissions: Permissions = Permissions()
    metadata: str = ""
    tracks: tuple[TrackInfo, ...] = ()


class BroadcastInfo(Struct, frozen=True, kw_only=True):
    """A room's output as HLS."""

    sid: BroadcastSid
    state: BroadcastState
    started_at: datetime
    url: str = ""
    """Path of the multivariant playlist, once live: ``/live/{room}/index.m3u8``."""


class RoomSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be chosen when a room is created."""

    max_participants: int = 0
    """0: no limit."""
    empty_timeout_s: int = 300
    """A room in which nobody has been closes after this time."""
    departure_timeout_s: int = 20
    """A room that everybody left closes after this time."""
    metadata: str = ""


class RoomInfo(Struct, frozen=True, kw_only=True):
    """A room, without its participants."""

    sid: RoomSid
    name: RoomName
    created_at: datetime
    settings: RoomSettings
    num_participants: int = 0
    """Without the hidden ones."""
    node: NodeId | None = None
    broadcast: BroadcastInfo | None = None


class Snapshot(Struct, frozen=True, kw_only=True):
    """A room and the ledger position at which this was true, read atomically."""

    position: EventId
    epoch: str
    room: RoomInfo
    participants: tuple[ParticipantInfo, ...]
    """All, the hidden ones included; whoever shows them to peers leaves those out."""
    fence: int = 0
    """The owner's fence; 0 without an owner."""
    broadcast_dir: str = ""
    """Where the broadcast worker leaves its files; empty when not live. Never shown outside."""
