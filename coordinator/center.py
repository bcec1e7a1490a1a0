"""The message center of one process: append, follow, request, serve.

The only door to Redis. Three connections stand behind it: commands, ledger reads, subscriptions;
each comes back by itself when Redis does. See PROTOCOL.md.
"""

import asyncio
import contextlib
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from coordinator import keys, lua
from coordinator.calls import Calls
from coordinator.config import CenterConfig
from coordinator.envelope import MAX_EVENT_BYTES, StoredEvent, data_of, type_of, utc_now
from coordinator.errors import CODES, Fenced, InfrastructureError, PeerError
from coordinator.events import Event
from coordinator.follower import ResyncNeeded
from coordinator.following import Followers, Following, FollowOutput
from coordinator.ids import EventId, NodeId, RoomName, new_node_id
from coordinator.inbox import Inbox
from coordinator.link import Link
from coordinator.lua import Script
from coordinator.requests import MetricFamily, Reply, Request, Sample

__all__ = ["Center", "FollowOutput", "Following", "OwnerUnknown", "ResyncNeeded", "StoredEvent"]

_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,32}")
_CONNECT_WAIT_S: Final = 2.0
_INFRASTRUCTURE_REFUSALS: Final = frozenset({"no_node", "center_unavailable"})


class OwnerUnknown(Exception):
    """A join met an owner that the caller did not list as living."""

    def __init__(self, node: NodeId) -> None:
        super().__init__(node)
        self.node: Final = node


class Center:
    """See the class methods; make one with ``connect`` and end it with ``close``."""

    def __init__(self, config: CenterConfig, name: str) -> None:
        assert _NAME.fullmatch(name), f"{name!r} cannot be part of a node id"
        self.config: Final = config
        self.name: Final = name
        node_id = new_node_id(name)
        self._calls: Final = Calls(config, f"{node_id}-calls")
        self._reads: Final = Calls(config, f"{node_id}-reads")
        self._link: Final = Link(config, f"{node_id}-link")
        self._followers: Final = Followers(config, self._link, self._reads)
        self._inbox: Final = Inbox(config, self._link, self._calls, node_id)

    @classmethod
    async def connect(cls, config: CenterConfig, *, name: str) -> "Center":
        """Start the message center of process *name* (``web-0``, ``media-1``).

        Returns when the inbox is open, or after two seconds without Redis: it goes on trying.
        """
        center = cls(config, name)
        center._calls.start()
        center._reads.start()
        center._inbox.start()
        center._link.start()
        center._followers.start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(center._inbox.confirmed.wait(), _CONNECT_WAIT_S)
        return center

    async def close(self) -> None:
        await self._inbox.close()
        await self._followers.close()
        await self._link.close()
        await self._reads.close()
        await self._calls.close()

    @property
    def node_id(self) -> NodeId:
        """This incarnation; also the address of its inbox."""
        return self._inbox.node_id

    def reincarnate(self) -> NodeId:
        """Go on as a new incarnation: others took the old one for dead. Returns the new id."""
        self._inbox.reincarnate(new_node_id(self.name))
        return self.node_id

    async def inbox_open(self) -> None:
        """Wait until requests to ``node_id`` are heard."""
        await self._inbox.confirmed.wait()

    def follow(
        self, room: RoomName, position: EventId | None, sink: Callable[[FollowOutput], None]
    ) -> Following:
        """Hand each event of *room* after *position* (None: from now) to *sink*, in order, once.

        *sink* must not block; it may close the returned Following. When the ledger cannot give
        what is missing it gets ResyncNeeded. While Redis is away it gets nothing, and then all.
        """
        return self._followers.follow(room, position, sink)

    async def request(
        self, to: NodeId, request: Request, *, timeout_s: float | None = None
    ) -> Reply:
        """Ask process *to*; return its reply.

        Raises PeerError as the handler there raised it; InfrastructureError: no_responder at once
        if nobody listens, deadline_exceeded (it may have been carried out), center_unavailable, or
        what the handler raised.
        """
        return await self._inbox.request(to, request, timeout_s or self.config.request_timeout_s)

    async def notify(self, to: NodeId, notice: Request) -> None:
        """Tell process *to*, best effort: what is lost is counted."""
        await self._inbox.notify(to, notice)

    def serve(
        self, handlers: Mapping[type[Request], Callable[[Any], Awaitable[Reply | None]]]
    ) -> None:
        """Answer requests. Each runs as a task of its own; order is the handler's business. What
        a handler raises as TertuliaError travels to who asked, anything else as ``internal``."""
        self._inbox.serve(handlers)

    async def ping(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(await self._calls.submit(("PING",)) == b"PONG")
        except InfrastructureError:
            return False

    async def append(
        self, room: RoomName, event: Event, *, fence: int | None = None, idem: str | None = None
    ) -> EventId:
        """Append *event* to the ledger of *room* and change nothing else.

        With the same *idem* again (within ``idem_ttl_s``) the first one's position is returned.
        Raises Fenced if *fence* is given and is not the room's; PeerError("message_too_large").
        """
        reply = await self.change(
            lua.APPEND_EVENT,
            room,
            type_of(event),
            data_of(event),
            "" if fence is None else str(fence),
            idem=idem,
        )
        return EventId(reply[0].decode())

    async def change(
        self, script: Script, room: RoomName, *args: bytes | str | int, idem: str | None = None
    ) -> list[Any]:
        """Run a script that changes *room*; return its reply after the ``+``.

        Raises the script's refusal as PeerError, InfrastructureError, Fenced or OwnerUnknown;
        center_unavailable leaves open whether it ran.
        """
        if sum(len(arg) for arg in args if not isinstance(arg, int)) > MAX_EVENT_BYTES - 2048:
            raise PeerError("message_too_large", f"An event has at most {MAX_EVENT_BYTES} bytes.")
        # A key even where nobody asked for one: a call is repeated when the connection breaks.
        message_id = secrets.token_hex(12)
        members = {"src": self.node_id, "room": room, "ts": utc_now()}
        reply = await self._calls.script(
            script,
            keys.room_keys(room, idem or message_id),
            (
                keys.channel(room),
                message_id,
                msgspec.json.encode(members)[1:-1],
                self.config.ledger_max_events,
                int(self.config.ledger_ttl_s * 1000),
                int(self.config.idem_ttl_s * 1000),
                secrets.token_hex(4),
                *args,
            ),
        )
        if reply[0] != b"+":
            raise _refusal(reply[1].decode(), reply[2].decode())
        return list(reply[1:])

    def command(self, *command: bytes | str | int) -> "asyncio.Future[Any]":
        """Enqueue one Redis command that may be repeated; it runs before what is enqueued later.
        Raises InfrastructureError, at once or when awaited."""
        return self._calls.submit(command)

    async def run(self, script: Script, keys: tuple[str, ...], *args: bytes | str | int) -> Any:
        """Run one of the scripts that are not about the changes of a room."""
        return await self._calls.script(script, keys, args)

    async def read(self, script: Script, keys: tuple[str, ...], *args: bytes | str | int) -> Any:
        """As ``run``, on the connection for large reads."""
        return await self._reads.script(script, keys, args)

    def metrics(self) -> tuple[MetricFamily, ...]:
        """Counters and gauges of this process's message center."""
        counters = {
            "calls": self._calls.counters,
            "reads": self._reads.counters,
            "link": self._link.counters,
            "followers": self._followers.counters,
            "inbox": self._inbox.counters,
        }
        labels: dict[str, str] = {"node": self.node_id}
        return (
            MetricFamily(
                name="tertulia_center_events_total",
                kind="counter",
                help="What happened in the message center, by part and kind.",
                samples=tuple(
                    Sample(labels={**labels, "part": part, "kind": kind}, value=float(value))
                    for part, counter in counters.items()
                    for kind, value in sorted(counter.items())
                ),
            ),
            MetricFamily(
                name="tertulia_center_followers",
                kind="gauge",
                help="Room ledgers followed.",
                samples=(Sample(labels=labels, value=float(self._followers.count)),),
            ),
            MetricFamily(
                name="tertulia_center_connected",
                kind="gauge",
                help="1 while the command connection stands.",
                samples=(Sample(labels=labels, value=float(self._calls.connected)),),
            ),
        )


def _refusal(code: str, detail: str) -> Exception:
    if code == "FENCED":
        return Fenced()
    if code == "OWNER_UNKNOWN":
        return OwnerUnknown(NodeId(detail))
    assert code in CODES, f"a script refused with the unknown code {code}"
    if code in _INFRASTRUCTURE_REFUSALS:
        return InfrastructureError(code, detail)
    return PeerError(code, detail)
