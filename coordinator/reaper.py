"""The reaper: clears up after processes that died, and closes rooms that everybody left.

Every web process runs one; one at a time is on duty, and as all that it does is idempotent, two of
them do no harm. An owner or a signaling process without a lease is dead, whoever it is: every
process that serves rooms holds a ``NodeLease``. The reaper judges only after it has itself seen
Redis steadily for a whole lease: when Redis was away, leases lapsed that nobody could renew.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from coordinator import keys, lua
from coordinator.center import Center
from coordinator.errors import InfrastructureError, TertuliaError
from coordinator.ids import NodeId, RoomName
from coordinator.model import RoomSettings
from coordinator.registry import DEAD, DEAD_TTL_MS
from coordinator.room_records import parse_settings
from coordinator.rooms import Rooms
from coordinator.vigil import Vigil

_log: Final = logging.getLogger(__name__)

_PAGE: Final = 200
"""Rooms per step: one round trip of some milliseconds."""
_SWEEP_S: Final = 10.0
"""All rooms are looked at in this time, whatever their number."""


@dataclass(frozen=True, slots=True)
class RoomLook:
    """What the reaper sees of a room."""

    name: RoomName
    settings: RoomSettings
    empty_for_s: float | None
    """None: somebody is there."""
    visited: bool
    """Somebody has been there."""
    closing: bool
    owner: NodeId | None
    edges: tuple[NodeId, ...]

    @property
    def timeout_s(self) -> int:
        """How long it may stay empty."""
        if self.visited:
            return self.settings.departure_timeout_s
        return self.settings.empty_timeout_s


def parse_look(name: RoomName, reply: list[Any]) -> RoomLook | None:
    """From scripts/look.lua; None: there is no such room."""
    if not reply:
        return None
    _, settings, empty_ms, visited, closing, owner, edges = reply
    return RoomLook(
        name=name,
        settings=parse_settings(settings),
        empty_for_s=int(empty_ms) / 1000 if empty_ms else None,
        visited=visited == b"1",
        closing=closing != b"",
        owner=NodeId(owner.decode()) if owner else None,
        edges=tuple(NodeId(edge.decode()) for edge in edges),
    )


class Reaper:
    """Runs in every web process. Call ``start`` once, ``close`` at the end."""

    def __init__(self, center: Center, rooms: Rooms) -> None:
        self._center: Final = center
        self._rooms: Final = rooms
        self._vigil: Final = Vigil(center.config.lease_ttl_s)
        self._known: set[NodeId] = set()
        self._cursor = b"-"
        self._task: asyncio.Task[None] | None = None
        self.counters: Final[Counter[str]] = Counter()

    def start(self) -> None:
        assert self._task is None, "started twice"
        self._task = asyncio.create_task(self._run(), name="reaper")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def may_judge(self) -> bool:
        """Whether Redis has been seen for long enough to call anybody dead."""
        return self._vigil.steady(asyncio.get_running_loop().time())

    async def _run(self) -> None:
        while True:
            try:
                await self.step()
            except TertuliaError as error:
                self._vigil.missed()
                self.counters["steps_failed"] += 1
                _log.debug("the reaper waits: %s", error)
            except Exception:
                # A room that cannot be read must not keep the dead among the living.
                self.counters["faults"] += 1
                _log.exception("a step of the reaper failed")
            await asyncio.sleep(self._center.config.reap_interval_s)

    async def step(self) -> None:
        """Look once: judge nodes, then walk some rooms, or all if a node has gone."""
        loop = asyncio.get_running_loop()
        self._vigil.saw(await self._server_run(), loop.time())
        if not await self._on_duty():
            self._known.clear()
            return
        self.counters["steps"] += 1
        gone = await self._judge_nodes()
        if gone:
            self.counters["walks"] += 1
            self._cursor = b"-"
            while await self._walk_page(_PAGE):
                pass
        else:
            await self._walk_page(await self._page_size())

    async def _server_run(self) -> str:
        info: bytes = await self._center.command("INFO", "server")
        for line in info.splitlines():
            if line.startswith(b"run_id:"):
                return line.decode()
        raise InfrastructureError("center_unavailable", "INFO has no run_id")

    async def _on_duty(self) -> bool:
        ttl_ms = int(self._center.config.reap_interval_s * 3000) + 1000
        held = await self._center.run(lua.TAKE, (keys.REAPER,), self._center.node_id, ttl_ms)
        return bool(held)

    async def _judge_nodes(self) -> set[NodeId]:
        """The nodes that have died or deregistered since the last look."""
        members = await self._center.command("SMEMBERS", keys.NODES)
        ids = {NodeId(id.decode()) for id in members}
        gone = self._known - ids
        gone |= await self._dead_among(ids)
        for node in gone & ids:
            await self._center.command("SREM", keys.NODES, node)
        self._known = ids - gone
        return gone

    async def _dead_among(self, ids: set[NodeId]) -> set[NodeId]:
        """Which of *ids* are dead; lapsed leases are claimed if we may judge."""
        dead: set[NodeId] = set()
        leases = await self._rooms.nodes.leases(sorted(ids))
        for node, lease in leases.items():
            if lease == "dead" or (lease == "lapsed" and await self._claim(node)):
                dead.add(node)
        return dead

    async def _claim(self, node: NodeId) -> bool:
        """Declare *node* dead. It cannot renew after this; False: it lives, or we may not judge."""
        if not self.may_judge:
            return False
        claimed = await self._center.command("SET", keys.lease(node), DEAD, "NX", "PX", DEAD_TTL_MS)
        if claimed is not None:
            self.counters["nodes_lost"] += 1
            _log.warning("%s is dead: its lease ran out", node)
        return claimed is not None

    async def _page_size(self) -> int:
        steps = max(1.0, _SWEEP_S / self._center.config.reap_interval_s)
        return max(_PAGE, int(await self._center.command("ZCARD", keys.ROOMS) / steps) + 1)

    async def _walk_page(self, size: int) -> bool:
        """Look at the next *size* rooms. False: that was the end; the next call begins anew."""
        found: list[bytes] = await self._center.command(
            "ZRANGEBYLEX", keys.ROOMS, self._cursor, "+", "LIMIT", 0, size
        )
        self._cursor = b"(" + found[-1] if len(found) >= size else b"-"
        names = [RoomName(name.decode()) for name in found]
        replies = await asyncio.gather(
            *(self._center.run(lua.LOOK, keys.look_keys(name)) for name in names)
        )
        looks = []
        for name, reply in zip(names, replies, strict=True):
            look = parse_look(name, reply)
            if look is None:
                await self._rooms.unindex(name)
            else:
                looks.append(look)
        concerned = {look.owner for look in looks if look.owner is not None}
        concerned.update(edge for look in looks for edge in look.edges)
        dead = await self._dead_among(concerned)
        for look in looks:
            await self._attend(look, dead)
        return self._cursor != b"-"

    async def _attend(self, look: RoomLook, dead: set[NodeId]) -> None:
        if look.closing:
            self.counters["closings_finished"] += 1
            await self._rooms.close(look.name)
            return
        if look.owner is not None and look.owner in dead:
            left = await self._rooms.vacate(look.name, look.owner, fence=None, reason="node_lost")
            self.counters["rooms_vacated"] += 1
            self.counters["participants_reaped"] += left
        for edge in look.edges:
            if edge in dead:
                left = await self._rooms.edge_lost(look.name, edge)
                self.counters["participants_reaped"] += left
        if look.empty_for_s is not None and look.empty_for_s >= look.timeout_s:
            closed = await self._rooms.close(
                look.name, reason="empty", only_if_empty_for_s=look.timeout_s
            )
            self.counters["rooms_closed"] += closed
