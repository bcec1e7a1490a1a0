"""What comes in and goes out as JSON: the Structs, and their strict reading.

Unknown fields and unknown query parameters are errors on the way in (a typo must not be obeyed
half); the way out may grow.
"""

import asyncio
import hashlib
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from coordinator.errors import PeerError
from coordinator.ids import BroadcastSid, EventId, Identity, NodeId, RoomName
from coordinator.model import ParticipantInfo, RoomInfo, RoomSettings
from coordinator.nodes import NodeInfo
from signaling.tokens import VideoGrants

MAX_BODY_BYTES: Final = 64 * 1024
"""The largest legal body is a token request with 4096 characters of metadata."""
BODY_TIMEOUT_S: Final = 20.0
"""64 KiB at 30 kbit/s."""
MAX_METADATA_CHARS: Final = 4096
MAX_PARTICIPANTS_LIMIT: Final = 100_000
MAX_TIMEOUT_S: Final = 7 * 24 * 3600
DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
COMPRESS_FROM_BYTES: Final = 1024
"""Smaller answers fit one packet either way."""

T = TypeVar("T")


class Input(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Root of what clients send."""


class NewRoom(Input, frozen=True, kw_only=True):
    """A room to create."""

    name: str
    settings: RoomSettings = RoomSettings()


class TrackUpdate(Input, frozen=True, kw_only=True):
    """A change of a track by an operator."""

    muted: bool


class NewBroadcast(Input, frozen=True, kw_only=True):
    """A broadcast to start. It has nothing to choose yet; the body may be left out."""


class GrantsInput(VideoGrants, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Grants to put into a token; a mistyped one must not be ignored here."""


class NewToken(Input, frozen=True, kw_only=True):
    """A token to mint.

    Guests of an open-rooms server choose *room*, *name* and *watch*. The room's admin may choose
    all; who administers every room may leave *room* out.
    """

    room: str = ""
    identity: str | None = None
    """Left out: made up, unless *video* is given; then the token names nobody."""
    name: str = ""
    watch: bool = False
    """A token that plays the broadcast and publishes nothing."""
    ttl_s: float | None = None
    metadata: str = ""
    video: GrantsInput | None = None
    """Exactly these grants (LiveKit's names). ``room`` in them must be *room*, or be left out."""


class IssuedToken(Struct, frozen=True, kw_only=True):
    """A token and what is in it."""

    token: str
    room: str
    identity: Identity | None
    name: str
    expires_at: datetime
    video: VideoGrants


class RoomPage(Struct, frozen=True, kw_only=True):
    rooms: list[RoomInfo]
    next_cursor: str | None
    """For ``?cursor=``; null at the end."""


class ParticipantPage(Struct, frozen=True, kw_only=True):
    participants: list[ParticipantInfo]
    next_cursor: str | None


class NodePage(Struct, frozen=True, kw_only=True):
    nodes: list[NodeInfo]
    next_cursor: str | None


class LedgerEvent(Struct, frozen=True, kw_only=True):
    """One event of a room's ledger."""

    id: EventId
    prev: EventId
    """The event before it; ``0-0`` before the first."""
    type: str
    ts: datetime
    src: NodeId
    """The process that said so."""
    data: Any
    """The fields of this type; see the event schemas."""


class EventPage(Struct, frozen=True, kw_only=True):
    events: list[LedgerEvent]
    next_after: EventId
    """For ``?after=``: the last event of this page, or *after* again when there was none."""
    next_cursor: str | None
    """As *next_after*; null for an empty page."""


class LiveState(Struct, frozen=True, kw_only=True):
    """What a watch page needs to know of a room's broadcast."""

    room: RoomName
    state: str
    """``none``, ``requested``, ``live``, ``stopping`` or ``ended``."""
    sid: BroadcastSid | None = None
    url: str = ""
    """The multivariant playlist, while live."""


class Health(Struct, frozen=True, kw_only=True):
    status: str


async def read_body(request: web.Request) -> bytes:
    """Return the body. Raises PeerError: message_too_large, unsupported_media, bad_request (it did
    not arrive in time)."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise PeerError("message_too_large")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    raise PeerError("message_too_large")
    except TimeoutError:
        raise PeerError("bad_request", "The body did not arrive in time.") from None
    if body and request.content_type != "application/json":
        raise PeerError("unsupported_media", "The body is application/json.")
    return bytes(body)


def decode_body(body: bytes, kind: type[T]) -> T:
    """Read *body* as *kind*; an empty body is an empty object.

    Raises PeerError: malformed_json, or invalid_field with the path at fault.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise PeerError("invalid_field", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PeerError("malformed_json") from None


def check_query(request: web.Request, allowed: Collection[str] = ()) -> None:
    """Raise PeerError("invalid_field") for a query parameter that is unknown or given twice."""
    for name in request.query:
        if name not in allowed and name != "access_token":
            raise PeerError("invalid_field", f"Unknown query parameter {name[:64]!r}.")
        if len(request.query.getall(name)) > 1:
            raise PeerError("invalid_field", f"The query parameter {name[:64]!r} appears twice.")


def limit_of(request: web.Request) -> int:
    """The ``limit`` of a list request. Raises PeerError("invalid_field")."""
    text = request.query.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_LIMIT):
        raise PeerError("invalid_field", f"limit is a number from 1 to {MAX_LIMIT}.")
    return int(text)


def check_settings(settings: RoomSettings) -> RoomSettings:
    """Return *settings* if they are within bounds. Raises PeerError("invalid_field")."""
    bounds = (
        ("max_participants", settings.max_participants, MAX_PARTICIPANTS_LIMIT),
        ("empty_timeout_s", settings.empty_timeout_s, MAX_TIMEOUT_S),
        ("departure_timeout_s", settings.departure_timeout_s, MAX_TIMEOUT_S),
    )
    for name, value, most in bounds:
        if not 0 <= value <= most:
            raise PeerError("invalid_field", f"{name} is a number from 0 to {most}.")
    if len(settings.metadata) > MAX_METADATA_CHARS:
        raise PeerError("invalid_field", f"metadata has at most {MAX_METADATA_CHARS} characters.")
    return settings


def answer(data: Struct, *, status: int = 200, **headers: str) -> web.Response:
    """*data* as a JSON answer; underscores in the header names become hyphens."""
    body = msgspec.json.encode(data)
    response = web.Response(body=body, status=status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    for name, value in headers.items():
        response.headers[name.replace("_", "-")] = value
    if len(body) >= COMPRESS_FROM_BYTES:
        response.enable_compression()
    return response


def entity_tag(data: Struct) -> str:
    """A strong ETag of *data* (RFC 9110 8.8.3)."""
    return f'"{hashlib.sha256(msgspec.json.encode(data)).hexdigest()[:20]}"'
