"""Which processes live: leases, and the choice of a node for a room.

A lease belongs to one incarnation. Once the reaper has claimed it as dead, that incarnation never
comes back: its process begins anew under another id.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct

from coordinator import keys, lua
from coordinator.center import Center
from coordinator.envelope import utc_now
from coordinator.errors import InfrastructureError
from coordinator.ids import NodeId

_log: Final = logging.getLogger(__name__)

NodeKind = Literal["media", "web"]

DEAD: Final = b"dead"
"""The value of a lease that was claimed or given up."""
DEAD_TTL_MS: Final = 24 * 3600 * 1000
"""Longer than any process is paused and then goes on."""
_CACHE_S: Final = 0.2
"""One read of the registry serves all joins of this time."""
_PLACED_LOAD: Final = 0.02
"""What a room placed since the last look counts, until the node tells its load itself."""


class NodeInfo(Struct, frozen=True, kw_only=True):
    """What a process says of itself with each renewal."""

    id: NodeId
    kind: NodeKind
    started_at: datetime
    rooms: int = 0
    load: float = 0.0
    """0 idle, 1 as much as it can carry."""
    draining: bool = False
    """It ends soon: no new rooms."""
    address: str = ""


_infos: Final = msgspec.json.Decoder(NodeInfo)


class NodeLease:
    """Keeps this process's lease. ``lost`` is called when others took it for dead: whatever it
    owned is no longer its own. It then goes on under a new id (``center.node_id``)."""

    def __init__(
        self,
        center: Center,
        *,
        kind: NodeKind,
        address: str = "",
        load: Callable[[], tuple[int, float]] = lambda: (0, 0.0),
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._center: Final = center
        self._kind: Final[NodeKind] = kind
        self._address: Final = address
        self._load: Final = load
        self._lost: Final = lost
        self._started_at = utc_now()
        self._draining = False
        self._task: asyncio.Task[None] | None = None
        self._beat: Final = asyncio.Event()
        self.registered = False
        self.counters: Final[Counter[str]] = Counter()

    async def start(self) -> None:
        """Register, or go on trying in the background while Redis is away."""
        assert self._task is None, "started twice"
        await self._try_renew()
        self._task = asyncio.create_task(self._run(), name=f"lease {self._center.name}")

    async def drain(self) -> None:
        """No new rooms are placed here from now on."""
        self._draining = True
        await self._try_renew()

    async def close(self) -> None:
        """Give the lease up at once. What this process still owns is reaped."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self.registered = False
        node = self._center.node_id
        with contextlib.suppress(InfrastructureError):
            await self._center.command("SET", keys.lease(node), DEAD, "PX", DEAD_TTL_MS)
            await self._center.command("SREM", keys.NODES, node)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._beat.wait(), self._center.config.lease_ttl_s / 3)
            self._beat.clear()
            await self._try_renew()

    async def _try_renew(self) -> None:
        try:
            alive = await self._renew()
        except InfrastructureError as error:
            # Others may judge us; we do not. Media goes on while Redis is away.
            self.counters["renewals_failed"] += 1
            _log.debug("the lease was not renewed: %s", error)
            return
        self.registered = alive
        if not alive:
            self.counters["leases_lost"] += 1
            _log.warning("%s was taken for dead; beginning anew", self._center.node_id)
            self._lost()
            self._center.reincarnate()
            self._started_at = utc_now()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._center.inbox_open(), 1.0)
            self._beat.set()

    async def _renew(self) -> bool:
        node = self._center.node_id
        rooms, load = self._load()
        info = NodeInfo(
            id=node,
            kind=self._kind,
            started_at=self._started_at,
            rooms=rooms,
            load=load,
            draining=self._draining,
            address=self._address,
        )
        ttl_ms = int(self._center.config.lease_ttl_s * 1000)
        alive = await self._center.run(
            lua.RENEW, (keys.lease(node),), msgspec.json.encode(info), ttl_ms
        )
        if alive:
            await self._center.command("SADD", keys.NODES, node)
        return bool(alive)


class Placement(Struct, frozen=True):
    """What a join tells the script: who lives, and where a new room goes (empty: nowhere)."""

    live: frozenset[NodeId]
    choice: NodeId | Literal[""]


def least_loaded(
    nodes: list[NodeInfo], placed: Counter[NodeId], avoid: frozenset[NodeId] = frozenset()
) -> NodeId | Literal[""]:
    """The media node for a new room, counting the rooms *placed* since the nodes told their load.
    Nodes in *avoid* did not answer lately and come last."""
    free = [node for node in nodes if not node.draining]
    if not free:
        return ""
    return min(
        free,
        key=lambda node: (
            node.id in avoid,
            node.load + placed[node.id] * _PLACED_LOAD,
            node.rooms + placed[node.id],
            node.id,
        ),
    ).id


class Nodes:
    """Reads the registry."""

    def __init__(self, center: Center) -> None:
        self._center: Final = center
        self._cache: list[NodeInfo] = []
        self._cached_at = float("-inf")
        self._placed: Counter[NodeId] = Counter()
        self._suspects: dict[NodeId, float] = {}
        self._refreshing: Final = asyncio.Lock()

    async def list(self, kind: NodeKind | None = None) -> list[NodeInfo]:
        """All that live now, of one kind or of both, by id. Raises InfrastructureError."""
        ids = [NodeId(id.decode()) for id in await self._center.command("SMEMBERS", keys.NODES)]
        found = [node for node in (await self.leases(ids)).values() if isinstance(node, NodeInfo)]
        return sorted(
            (node for node in found if kind is None or node.kind == kind), key=lambda node: node.id
        )

    async def leases(
        self, ids: Sequence[NodeId]
    ) -> dict[NodeId, NodeInfo | Literal["dead", "lapsed"]]:
        """What the leases of *ids* say. ``lapsed``: expired, and nobody has judged yet."""
        futures = [self._center.command("GET", keys.lease(id)) for id in ids]
        values = await asyncio.gather(*futures)
        return {id: _read_lease(value) for id, value in zip(ids, values, strict=True)}

    async def placement(self, *, fresh: bool = False) -> Placement:
        """For a join; from a cache of 0.2 s unless *fresh*. Raises InfrastructureError."""
        loop = asyncio.get_running_loop()
        async with self._refreshing:
            if fresh or loop.time() - self._cached_at > _CACHE_S:
                self._cache = await self.list("media")
                self._cached_at = loop.time()
                self._placed.clear()
        now = loop.time()
        self._suspects = {node: until for node, until in self._suspects.items() if until > now}
        return Placement(
            frozenset(node.id for node in self._cache),
            least_loaded(self._cache, self._placed, frozenset(self._suspects)),
        )

    def placed(self, node: NodeId) -> None:
        """A room was placed on *node*: the next goes elsewhere if all else is equal."""
        self._placed[node] += 1

    def forget(self, node: NodeId) -> None:
        """*node* is dead or gives its rooms up: do not place on it until the registry says so."""
        self._cache = [info for info in self._cache if info.id != node]

    def suspect(self, node: NodeId) -> None:
        """*node* did not answer: place elsewhere until its lease must have told."""
        until = asyncio.get_running_loop().time() + self._center.config.lease_ttl_s
        self._suspects[node] = until


def _read_lease(value: bytes | None) -> NodeInfo | Literal["dead", "lapsed"]:
    if value is None:
        return "lapsed"
    if value == DEAD:
        return "dead"
    try:
        return _infos.decode(value)
    except msgspec.DecodeError:
        # Of a version that we do not understand: it lives, and we place nothing there.
        return "lapsed"
