"""What happens to a room's media: tracks told by the owner, and the broadcast.

The half of ``rooms.Rooms`` that the room's media node writes.
"""

from typing import Any, Final

from coordinator import lua
from coordinator.center import Center
from coordinator.envelope import utc_now
from coordinator.ids import (
    BroadcastSid,
    EventId,
    ParticipantSid,
    RoomName,
    TrackSid,
    new_broadcast_sid,
)
from coordinator.model import BroadcastInfo, TrackInfo
from coordinator.room_records import parse_broadcast, track_record


class RoomMedia:
    """Base of ``Rooms``."""

    def __init__(self, center: Center) -> None:
        self.center: Final = center

    # -- Tracks, told by the owner

    async def publish(
        self, name: RoomName, *, fence: int, participant: ParticipantSid, track: TrackInfo
    ) -> EventId:
        """Raises Fenced; PeerError: room_not_found, participant_not_found."""
        reply = await self.center.change(
            lua.PUBLISH, name, fence, participant, *track_record(track)
        )
        return EventId(reply[0].decode())

    async def unpublish(
        self, name: RoomName, *, fence: int, participant: ParticipantSid, track: TrackSid
    ) -> bool:
        """False: there was no such track. Raises Fenced, PeerError("room_not_found")."""
        reply = await self.center.change(lua.UNPUBLISH, name, fence, participant, track)
        return bool(reply[0] == b"1")

    async def set_muted(
        self,
        name: RoomName,
        *,
        fence: int,
        participant: ParticipantSid,
        track: TrackSid,
        muted: bool,
        by: str,
    ) -> bool:
        """False: it was so already, and nothing was told. *by* is ``participant`` or ``admin``.
        Raises Fenced; PeerError: room_not_found, participant_not_found, track_not_found."""
        assert by in ("participant", "admin"), f"muted by {by!r}"
        reply = await self.center.change(
            lua.SET_MUTED, name, fence, participant, track, "1" if muted else "0", by
        )
        return bool(reply[0] == b"1")

    # -- The broadcast

    async def request_broadcast(self, name: RoomName) -> BroadcastInfo:
        """Raises PeerError: room_not_found, broadcast_exists."""
        return _broadcast(
            await self.center.change(
                lua.BROADCAST, name, "request", new_broadcast_sid(), utc_now().isoformat()
            )
        )

    async def broadcast_live(
        self, name: RoomName, *, fence: int, sid: BroadcastSid, url: str, directory: str
    ) -> bool:
        """The owner tells that the playlist can be played; its files lie in *directory*. False: it
        is not wanted any more. Raises Fenced, PeerError("room_not_found")."""
        reply = await self.center.change(lua.BROADCAST, name, "live", sid, fence, url, directory)
        return bool(reply[0] == b"1")

    async def stop_broadcast(self, name: RoomName) -> BroadcastInfo:
        """The state is then ``stopping``, or ``ended`` if no node owns the room. Raises PeerError:
        room_not_found, broadcast_not_found."""
        return _broadcast(await self.center.change(lua.BROADCAST, name, "stop"))

    async def broadcast_ended(
        self, name: RoomName, *, fence: int, sid: BroadcastSid, reason: str
    ) -> bool:
        """The owner tells that its worker ended; *reason* is ``stopped`` or ``failed``. False: it
        was over. Raises Fenced, PeerError("room_not_found")."""
        reply = await self.center.change(lua.BROADCAST, name, "ended", sid, fence, reason)
        return bool(reply[0] == b"1")


def _broadcast(reply: list[Any]) -> BroadcastInfo:
    info = parse_broadcast(reply[1])
    assert info is not None, "the script answers with the broadcast it changed"
    return info
