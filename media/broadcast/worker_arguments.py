"""What a feed gives its worker: one argument, in JSON."""

from msgspec import Struct

from coordinator.ids import BroadcastSid, RoomName


class WorkerArguments(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Apart from ``worker``, so that the node does not load the codecs."""

    room: RoomName
    sid: BroadcastSid
    base: str
    """Directory for broadcasts; empty: this user's, in memory."""
    part_target_ms: int
    segment_target_ms: int
    socket_fd: int
    parent_pid: int
