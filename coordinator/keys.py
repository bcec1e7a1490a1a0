"""Names of keys and channels. All of a room's share its hash tag, and so one cluster slot."""

from typing import Final

from coordinator.ids import NodeId, RoomName

ROOMS: Final = "mc:rooms"
"""Sorted set of room names: an index kept beside the rooms' own keys, and healed when read."""
NODES: Final = "mc:nodes"
"""Set of node ids: an index of leases, healed when read."""
REAPER: Final = "mc:reaper"
"""Which process reaps at present."""


def meta(room: RoomName) -> str:
    return f"mc:{{{room}}}:m"


def ledger(room: RoomName) -> str:
    return f"mc:{{{room}}}:s"


def channel(room: RoomName) -> str:
    return f"mc:{{{room}}}:c"


def room_keys(room: RoomName, idem: str) -> tuple[str, ...]:
    """KEYS of every script that changes a room; see scripts/append.lua."""
    base = f"mc:{{{room}}}:"
    return (
        base + "m",
        base + "s",
        base + "i:" + idem,
        base + "o",
        base + "r",
        base + "p",
        base + "u",
        base + "t",
        base + "e",
        base + "b",
    )


def look_keys(room: RoomName) -> tuple[str, ...]:
    """KEYS of scripts/look.lua."""
    base = f"mc:{{{room}}}:"
    return (base + "r", base + "o", base + "e")


def lease(node: NodeId) -> str:
    return f"mc:n:{{{node}}}:lease"


def inbox(node: NodeId) -> str:
    return f"mc:n:{{{node}}}:in"


def room(name: RoomName) -> str:
    return f"mc:{{{name}}}:r"


def edges(name: RoomName) -> str:
    return f"mc:{{{name}}}:e"
