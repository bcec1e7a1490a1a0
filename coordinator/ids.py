"""Identifiers and names: one NewType each, and the rules for what people may type.

Sids are opaque, prefixed like LiveKit's (``RM_``, ``PA_``, ``TR_``, ``BC_``) and never reused.
Names come from people and tokens and are checked once, at the edge, by the ``check_*`` functions.
"""

import secrets
import unicodedata
from typing import NewType

from coordinator.errors import PeerError

RoomName = NewType("RoomName", str)
RoomSid = NewType("RoomSid", str)
Identity = NewType("Identity", str)
ParticipantSid = NewType("ParticipantSid", str)
TrackSid = NewType("TrackSid", str)
BroadcastSid = NewType("BroadcastSid", str)
NodeId = NewType("NodeId", str)
"""One incarnation of a process with an inbox: ``<name>.<random>``; a restart gets a new one."""
EventId = NewType("EventId", str)
"""Ledger entry id ``<ms>-<seq>``; ``0-0`` is the position before the first event."""

START = EventId("0-0")

_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

MAX_ROOM_NAME_CHARS = 64
MAX_IDENTITY_CHARS = 128
MAX_DISPLAY_NAME_CHARS = 64


def _random(prefix: str) -> str:
    # 12 characters of 57: 70 bits, so that two sids of one deployment never meet.
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(12))


def new_room_sid() -> RoomSid:
    return RoomSid(_random("RM_"))


def new_participant_sid() -> ParticipantSid:
    return ParticipantSid(_random("PA_"))


def new_track_sid() -> TrackSid:
    return TrackSid(_random("TR_"))


def new_broadcast_sid() -> BroadcastSid:
    return BroadcastSid(_random("BC_"))


def new_node_id(name: str) -> NodeId:
    """A node id for this incarnation of process *name* (``media-0``, ``web-0``)."""
    return NodeId(_random(name + "."))


def check_room_name(text: str) -> RoomName:
    """Return *text* (NFC) as a room name.

    Letters, marks and digits of any script and ``- _ . ~``, 1 to 64 characters, beginning with a
    letter or digit. The narrow alphabet keeps room names safe in URLs and in Redis hash tags
    (no braces).

    Raises PeerError("invalid_name").
    """
    name = unicodedata.normalize("NFC", text)
    if not 1 <= len(name) <= MAX_ROOM_NAME_CHARS:
        raise PeerError("invalid_name", f"A room name has 1 to {MAX_ROOM_NAME_CHARS} characters.")
    if unicodedata.category(name[0])[0] not in "LN":
        raise PeerError("invalid_name", "A room name begins with a letter or a digit.")
    for char in name:
        if char not in "-_.~" and unicodedata.category(char)[0] not in "LMN":
            raise PeerError(
                "invalid_name", "A room name has letters, digits and the characters - _ . ~ only."
            )
    return RoomName(name)


def check_identity(text: str) -> Identity:
    """Return *text* as an identity: 1 to 128 printable characters. Raises PeerError."""
    return Identity(_printable(text, "An identity", MAX_IDENTITY_CHARS))


def check_display_name(text: str) -> str:
    """Return *text* as a name shown to people: 1 to 64 printable characters. Raises PeerError."""
    return _printable(text, "A name", MAX_DISPLAY_NAME_CHARS)


def _printable(text: str, what: str, limit: int) -> str:
    value = unicodedata.normalize("NFC", text).strip()
    if not 1 <= len(value) <= limit:
        raise PeerError("invalid_name", f"{what} has 1 to {limit} characters.")
    if any(unicodedata.category(char)[0] == "C" for char in value):
        raise PeerError("invalid_name", f"{what} has no control characters.")
    return value
