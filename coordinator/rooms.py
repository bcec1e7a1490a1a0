"""Rooms: every change is one script run together with its event. See PROTOCOL.md, life of a room.

A room with participants has an owner, the media node that carries it; ``fence`` proves ownership
and only grows. What follows a room hears of everything that these calls change.
"""

import asyncio
import base64
import contextlib
import hashlib
import logging
import re
from typing import Any, Final

import msgspec
from msgspec import Struct

from coordinator import keys, lua
from coordinator.admission import Admission, new_room_args
from coordinator.center import Center
from coordinator.envelope import StoredEvent, stored_event, utc_now
from coordinator.errors import InfrastructureError, PeerError, TertuliaError
from coordinator.following import parse_page
from coordinator.ids import (
    START,
    EventId,
    Identity,
    NodeId,
    ParticipantSid,
    RoomName,
    new_broadcast_sid,
)
from coordinator.model import (
    LeaveReason,
    ParticipantInfo,
    ParticipantKind,
    Permissions,
    RoomInfo,
    RoomSettings,
    Snapshot,
)
from coordinator.registry import Nodes
from coordinator.requests import OpenRoom
from coordinator.room_media import RoomMedia
from coordinator.room_records import parse_participant, parse_room, parse_snapshot, parse_tracks

_log: Final = logging.getLogger(__name__)

# Names for lists: inside the class ``list`` is the method.
NodeIds = list[NodeId]
EventPage = tuple[list[StoredEvent], EventId]

STEP: Final = 200
"""Participants that one script run removes: some 10 ms of Redis."""
_MAX_PAGE: Final = 1000
_POSITION: Final = re.compile(r"\d{1,15}-\d{1,15}")


class JoinResult(Struct, frozen=True, kw_only=True):
    """What became of a join."""

    participant: ParticipantInfo
    snapshot: Snapshot
    """The room right after, the newcomer in it."""
    owner: NodeId
    event: EventId
    """Position of ``participant.joined``."""
    placed: bool
    """This join placed the room on *owner*."""


class Rooms(RoomMedia):
    """All rooms, through *center*. Call ``drop_doubts`` before the center closes."""

    def __init__(self, center: Center) -> None:
        super().__init__(center)
        self.nodes: Final = Nodes(center)
        self._admission: Final = Admission(center, self.nodes, self._owner_died)

    # -- The room itself

    async def create(
        self, name: RoomName, settings: RoomSettings, *, idem: str | None = None
    ) -> tuple[RoomInfo, bool]:
        """Make room *name* unless it is there; True: made now. Raises PeerError("room_closed")
        while it is being closed, message_too_large."""
        self._index(name)
        reply = await self.center.change(
            lua.CREATE, name, *new_room_args(settings), idem=_outer_idem(idem)
        )
        await self._index(name)
        return parse_room(name, reply[1]), reply[0] == b"1"

    async def get(self, name: RoomName) -> RoomInfo:
        """Raises PeerError("room_not_found")."""
        return parse_room(name, (await self.center.change(lua.SNAPSHOT, name, "0"))[0])

    async def snapshot(self, name: RoomName) -> Snapshot:
        """The room with all in it and the ledger position of that moment. Raises PeerError
        ("room_not_found")."""
        return parse_snapshot(name, (await self.center.change(lua.SNAPSHOT, name, "1"))[0])

    async def list(self, *, limit: int, cursor: str | None) -> tuple[list[RoomInfo], str | None]:
        """Rooms by name, and the cursor of the next page (None: this was the last). A page may
        hold fewer than *limit*. Raises PeerError("invalid_cursor")."""
        limit = max(1, min(limit, _MAX_PAGE))
        after = b"-" if cursor is None else b"(" + _read_cursor(cursor)
        found: list[bytes] = await self.center.command(
            "ZRANGEBYLEX", keys.ROOMS, after, "+", "LIMIT", 0, limit + 1
        )
        names = [RoomName(name.decode()) for name in found[:limit]]
        rooms = await asyncio.gather(*(self._get_listed(name) for name in names))
        more = len(found) > limit
        return (
            [room for room in rooms if room is not None],
            base64.urlsafe_b64encode(found[limit - 1]).decode().rstrip("=") if more else None,
        )

    async def close(
        self, name: RoomName, *, reason: str = "closed", only_if_empty_for_s: float | None = None
    ) -> bool:
        """Close the room: everybody leaves, the broadcast ends, ``room.closed`` is its last event.
        False: there was none, or it was not empty for so long."""
        empty_ms = "" if only_if_empty_for_s is None else str(int(only_if_empty_for_s * 1000))
        closed = False
        while True:
            found, more = await self.center.change(lua.CLOSE, name, reason, STEP, empty_ms, "")
            closed = closed or found == b"1"
            if more == b"0":
                break
        if closed:
            await self.unindex(name)
        return closed

    async def edges(self, name: RoomName) -> NodeIds:
        """The signaling processes that have participants in the room."""
        found = await self.center.command("HKEYS", keys.edges(name))
        return sorted(NodeId(node.decode()) for node in found)

    async def events(self, name: RoomName, *, after: EventId, limit: int) -> EventPage:
        """The ledger after *after* (``0-0``: from the oldest that is kept) and the position to go
        on from. Raises PeerError: invalid_cursor, room_not_found, position_trimmed."""
        if not _POSITION.fullmatch(after):
            raise PeerError("invalid_cursor", "A position looks like 1700000000000-1, or 0-0.")
        limit = max(1, min(limit, _MAX_PAGE))
        reply = await self.center.read(lua.READ, (keys.meta(name), keys.ledger(name)), after, limit)
        page = parse_page(reply, limit)
        if page.head == START:
            raise PeerError("room_not_found")
        next_prev = page.events[0].prev if page.events else page.head
        if after not in (START, next_prev):
            raise PeerError("position_trimmed")
        events = []
        for event in page.events:
            try:
                events.append(stored_event(event.id, event.prev, event.body))
            except PeerError as error:
                _log.error("event %s of room %s is malformed: %s", event.id, name, error.code)
        return events, page.events[-1].id if page.events else after

    async def head(self, name: RoomName) -> EventId:
        """The position of the last event; ``0-0`` without a ledger. Who reads it before a snapshot
        and follows from it misses nothing, even if the room is not there yet."""
        reply = await self.center.read(lua.READ, (keys.meta(name), keys.ledger(name)), START, 0)
        return parse_page(reply, 0).head

    # -- Participants

    async def join(
        self,
        name: RoomName,
        *,
        sid: ParticipantSid,
        identity: Identity,
        display_name: str,
        kind: ParticipantKind = "standard",
        permissions: Permissions | None = None,
        metadata: str = "",
        create: bool = True,
        settings: RoomSettings | None = None,
    ) -> JoinResult:
        """Admit a participant whose signaling process is this one; one script run.

        The room is made if it is not there (with *settings*) and *create*; it is placed if nobody
        owns it, and then its owner is asked to prepare. The same identity's older stay ends with
        ``duplicate_identity``. Hidden participants take no place.

        Raises PeerError: room_not_found, room_full, room_closed, message_too_large;
        InfrastructureError: no_node, no_responder or deadline_exceeded (the owner did not prepare;
        the participant has left again), center_unavailable (then the participant is not in the
        room, or will be out again as soon as Redis is back).
        """
        participant = ParticipantInfo(
            sid=sid,
            identity=identity,
            name=display_name,
            joined_at=utc_now(),
            kind=kind,
            permissions=permissions or Permissions(),
            metadata=metadata,
        )
        reply = await self._admission.admit(
            name, participant, settings or RoomSettings(), create=create
        )
        snapshot = parse_snapshot(name, reply[2])
        owner, placed = snapshot.room.node, reply[1] == b"1"
        if owner is None:
            # The owner died between the join and a repetition of it: that stay is over.
            await self.leave(name, sid, "join_failed")
            raise InfrastructureError("node_lost")
        result = JoinResult(
            participant=participant,
            snapshot=snapshot,
            owner=owner,
            event=EventId(reply[0].decode()),
            placed=placed,
        )
        if placed:
            self.nodes.placed(owner)
            await self._open(name, result)
        return result

    async def leave(self, name: RoomName, sid: ParticipantSid, reason: LeaveReason) -> bool:
        """True: this call made it leave, and its event was appended. False: it was not there."""
        reply = await self.center.change(lua.LEAVE, name, sid, "", reason)
        return bool(reply[0] == b"1")

    async def remove(self, name: RoomName, identity: Identity) -> ParticipantInfo:
        """An operator makes *identity* leave. Raises PeerError("participant_not_found")."""
        reply = await self.center.change(
            lua.LEAVE, name, "", msgspec.json.encode(identity), "removed"
        )
        if reply[0] != b"1":
            raise PeerError("participant_not_found")
        return msgspec.json.decode(reply[1], type=ParticipantInfo)

    async def participant(self, name: RoomName, identity: Identity) -> ParticipantInfo:
        """Raises PeerError: room_not_found, participant_not_found."""
        reply = await self.center.change(lua.PARTICIPANT, name, msgspec.json.encode(identity))
        sid = ParticipantSid(reply[0].decode())
        return parse_participant(reply[1], sid, parse_tracks(reply[2]))

    async def vacate(
        self, name: RoomName, node: NodeId, *, fence: int | None, reason: LeaveReason
    ) -> int:
        """*node* owns the room no longer: everybody leaves with *reason*, a live broadcast waits
        for the next owner. Nothing happens if another owns it. Returns how many left."""
        self.nodes.forget(node)
        left = 0
        while True:
            count, more = await self.center.change(
                lua.VACATE,
                name,
                node,
                "" if fence is None else fence,
                reason,
                STEP,
                new_broadcast_sid(),
            )
            left += int(count)
            if more == b"0":
                return left

    async def release(
        self, name: RoomName, *, fence: int, reason: LeaveReason = "server_draining"
    ) -> int:
        """This process, the owner, gives the room up. See ``vacate``."""
        return await self.vacate(name, self.center.node_id, fence=fence, reason=reason)

    async def edge_lost(self, name: RoomName, node: NodeId) -> int:
        """All participants of signaling process *node* leave. Returns how many."""
        left = 0
        while True:
            count, more = await self.center.change(
                lua.EDGE_LOST, name, node, "signaling_lost", STEP
            )
            left += int(count)
            if more == b"0":
                return left

    # -- Behind the calls

    @property
    def doubtful(self) -> int:
        """Joins of which it is not known whether they happened, and that are being undone."""
        return self._admission.doubtful

    async def drop_doubts(self) -> None:
        """Give up undoing joins of which nobody knows whether they happened."""
        await self._admission.drop_doubts()

    async def _open(self, name: RoomName, joined: JoinResult) -> None:
        """Ask the new owner to prepare. If it does not, nobody stays in a room without media."""
        sid = joined.participant.sid
        try:
            await self.center.request(joined.owner, OpenRoom(room=name))
            # Said again: whoever healed the index meanwhile may not have seen the room.
            await self._index(name)
        except asyncio.CancelledError:
            self._admission.doubt(name, sid)
            raise
        except TertuliaError:
            self.nodes.suspect(joined.owner)
            with contextlib.suppress(TertuliaError):
                await self.leave(name, sid, "join_failed")
                await self.vacate(
                    name, joined.owner, fence=joined.snapshot.fence, reason="node_lost"
                )
            raise

    async def _owner_died(self, name: RoomName, node: NodeId) -> int:
        return await self.vacate(name, node, fence=None, reason="node_lost")

    def _index(self, name: RoomName) -> "asyncio.Future[Any]":
        # Before the room itself: a name too many is healed when listed, one too few never would.
        return self.center.command("ZADD", keys.ROOMS, 0, name)

    async def unindex(self, name: RoomName) -> None:
        """Remove *name* from the index unless the room is there (again)."""
        await self.center.command("ZREM", keys.ROOMS, name)
        if await self.center.command("EXISTS", keys.room(name)):
            await self._index(name)

    async def _get_listed(self, name: RoomName) -> RoomInfo | None:
        try:
            return await self.get(name)
        except PeerError:
            await self.unindex(name)
            return None


def _outer_idem(idem: str | None) -> str | None:
    """A key that people chose: of any length and alphabet, and apart from our own."""
    return None if idem is None else "x" + hashlib.sha256(idem.encode()).hexdigest()


def _read_cursor(cursor: str) -> bytes:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise PeerError("invalid_cursor") from None
