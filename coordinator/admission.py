"""Joining: one script run when all is well, and what to do when it is not.

What can be amiss: the owner is not among the nodes that we know to live, the new owner does not
prepare, or nobody knows whether the join happened because Redis went away under it.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from coordinator import keys, lua
from coordinator.center import Center, OwnerUnknown
from coordinator.envelope import utc_now
from coordinator.errors import InfrastructureError
from coordinator.ids import NodeId, ParticipantSid, RoomName, new_room_sid
from coordinator.model import ParticipantInfo, RoomSettings
from coordinator.registry import Nodes, Placement

_log: Final = logging.getLogger(__name__)

_ATTEMPTS: Final = 4
_OWNER_POLL_S: Final = 0.1
_MAX_DOUBTS: Final = 1000
_DOUBT_RETRY_S: Final = 0.5
_DOUBT_TRIES: Final = 240
"""Two minutes: after that the joins' idempotency keys are gone too."""

ScriptArgs = tuple[bytes | str | int, ...]


def new_room_args(settings: RoomSettings) -> ScriptArgs:
    """The script arguments for a room that is to be made."""
    return (
        new_room_sid(),
        utc_now().isoformat(),
        msgspec.json.encode(settings),
        settings.max_participants,
    )


class Admission:
    """Runs the join script for ``Rooms``. *vacate* empties the room of a dead owner."""

    def __init__(
        self,
        center: Center,
        nodes: Nodes,
        vacate: Callable[[RoomName, NodeId], Awaitable[int]],
    ) -> None:
        self._center: Final = center
        self._nodes: Final = nodes
        self._vacate: Final = vacate
        self._doubts: Final[set[asyncio.Task[None]]] = set()

    async def admit(
        self, name: RoomName, participant: ParticipantInfo, settings: RoomSettings, *, create: bool
    ) -> list[Any]:
        """The reply of scripts/join.lua without its ``+``. Raises as ``Rooms.join`` says."""
        args: ScriptArgs = (
            participant.sid,
            msgspec.json.encode(participant.identity),
            "1" if participant.permissions.hidden else "0",
            self._center.node_id,
            msgspec.json.encode(participant),
            "1" if create else "0",
            *new_room_args(settings),
        )
        idem = secrets.token_hex(12)
        placement = await self._nodes.placement()
        if not placement.choice:
            placement = await self._nodes.placement(fresh=True)
        for _ in range(_ATTEMPTS):
            try:
                return await self._run(name, (*args, *_placement_args(placement)), idem, create)
            except OwnerUnknown as unknown:
                await self._wait_for_verdict(name, unknown.node)
                placement = await self._nodes.placement(fresh=True)
            except (InfrastructureError, asyncio.CancelledError) as error:
                if not isinstance(error, InfrastructureError) or error.code != "no_node":
                    self.doubt(name, participant.sid, idem)
                raise
        raise InfrastructureError("no_node", "The room's media node could not be settled.")

    async def _run(self, name: RoomName, args: ScriptArgs, idem: str, create: bool) -> list[Any]:
        if create:
            # Before the room itself: a name too many in the index is healed when it is read, one
            # too few never would be.
            self._center.command("ZADD", keys.ROOMS, 0, name)
        return await self._center.change(lua.JOIN, name, *args, idem=idem)

    async def _wait_for_verdict(self, name: RoomName, owner: NodeId) -> None:
        """The room's owner was not among the living. It may be new, or its lease may have lapsed
        while Redis was away; only the reaper judges. Returns when the join may try again."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 2 * self._center.config.lease_ttl_s
        while True:
            lease = (await self._nodes.leases([owner]))[owner]
            if lease == "dead":
                await self._vacate(name, owner)
                return
            if lease != "lapsed":
                return
            if loop.time() > deadline:
                raise InfrastructureError("no_responder", "The room's media node is away.")
            await asyncio.sleep(_OWNER_POLL_S)

    def doubt(self, name: RoomName, sid: ParticipantSid, idem: str | None = None) -> None:
        """A join may have been carried out for nobody: make sure that it does not last. *idem* is
        the join's key; None if it was carried out for certain."""
        if len(self._doubts) >= _MAX_DOUBTS:
            _log.error("too many joins in doubt; one is left to the reaper")
            return
        task = asyncio.create_task(
            self._undo(name, sid, idem or secrets.token_hex(12)), name=f"undo join {sid}"
        )
        self._doubts.add(task)
        task.add_done_callback(self._doubts.discard)

    async def _undo(self, name: RoomName, sid: ParticipantSid, idem: str) -> None:
        for _ in range(_DOUBT_TRIES):
            try:
                await self._center.change(lua.CANCEL, name, sid, idem=idem)
                return
            except InfrastructureError:
                await asyncio.sleep(_DOUBT_RETRY_S)

    @property
    def doubtful(self) -> int:
        """Joins that are being undone."""
        return len(self._doubts)

    async def drop_doubts(self) -> None:
        """Give up undoing joins of which nobody knows whether they happened."""
        doubts = tuple(self._doubts)
        for task in doubts:
            task.cancel()
        await asyncio.gather(*doubts, return_exceptions=True)


def _placement_args(placement: Placement) -> tuple[str, str]:
    return f" {' '.join(sorted(placement.live))} ", placement.choice
