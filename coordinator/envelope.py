"""The envelope: what every message of the message center is wrapped in, as JSON.

Events travel inside it with their type in ``Envelope.type`` and their fields in ``data``; so do
requests and replies. What a newer version adds is kept (``extra``) or passed on (unknown types);
what cannot be read is refused with a typed error.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, get_args

import msgspec
from msgspec import Raw, Struct

from coordinator.errors import PeerError
from coordinator.events import AnyEvent, Event
from coordinator.ids import EventId, RoomName
from coordinator.requests import REPLY, AnyRequest, Reply, Request

VERSION: Final = 1
MAX_EVENT_BYTES: Final = 64 * 1024
"""Every follower of a room gets each event; what is larger belongs elsewhere."""
MAX_REQUEST_BYTES: Final = 1024 * 1024
"""One receiver. The subscriber offer of a room with hundreds of tracks is that large."""


class ClaimCheck(Struct, kw_only=True, frozen=True):
    """Where a payload lies that is too large for an envelope."""

    url: str
    size: int
    """Bytes."""
    sha256: str
    mime: str
    expires: datetime


class Envelope(Struct, kw_only=True, omit_defaults=True, frozen=True):
    """``id`` is the message's own; a ledger position is an ``EventId`` and stands outside."""

    v: int
    id: str
    type: str
    src: str
    """The node id of the process that said it."""
    ts: datetime
    room: RoomName = RoomName("")
    data: Raw
    user: str | None = None
    """Identity on whose behalf."""
    ref: ClaimCheck | None = None
    corr: str | None = None
    """Id of the message that this one answers."""
    reply_to: str | None = None
    exp: datetime | None = None
    """A receiver drops the message after this time."""
    idem: str | None = None
    trace: str | None = None


class StoredEvent(Struct, frozen=True):
    """One ledger entry as a follower sees it."""

    id: EventId
    prev: EventId
    envelope: Envelope
    event: AnyEvent | None
    """None: a type that this version does not know."""
    extra: dict[str, Raw] = {}
    """Members of the envelope that this version does not know."""


EVENT_TYPES: Final[dict[str, type[Event]]] = {
    kind.__struct_config__.tag: kind for kind in get_args(AnyEvent)
}
REQUEST_TYPES: Final[dict[str, type[Request]]] = {
    kind.__struct_config__.tag: kind for kind in get_args(AnyRequest)
}

_FIELDS: Final = frozenset(Envelope.__struct_fields__)
_encoder: Final = msgspec.json.Encoder()
_envelopes: Final = msgspec.json.Decoder(Envelope)
_members: Final = msgspec.json.Decoder(dict[str, Raw])
_events: Final = {name: msgspec.json.Decoder(kind) for name, kind in EVENT_TYPES.items()}
_requests: Final = {name: msgspec.json.Decoder(kind) for name, kind in REQUEST_TYPES.items()}
_replies: Final = {kind: msgspec.json.Decoder(kind) for kind in REPLY.values() if kind is not None}


def utc_now() -> datetime:
    return datetime.now(UTC)


def encode(envelope: Envelope, extra: Mapping[str, Raw] | None = None, *, limit: int) -> bytes:
    """Return *envelope* as JSON, with the unknown members that came with it.

    Raises PeerError("message_too_large") above *limit* bytes.
    """
    body = _encoder.encode(envelope)
    if extra:
        body = body[:-1] + b"," + _encoder.encode(extra)[1:]
    if len(body) > limit:
        raise PeerError("message_too_large", f"A message of {len(body)} bytes; {limit} at most.")
    return body


def decode(body: bytes, *, limit: int = MAX_REQUEST_BYTES) -> Envelope:
    """Return the envelope in *body*.

    Raises PeerError: message_too_large, malformed_json, invalid_field (a member is missing or
    wrongly typed, or the version is not ours).
    """
    if len(body) > limit:
        raise PeerError("message_too_large", f"A message of {len(body)} bytes; {limit} at most.")
    try:
        envelope = _envelopes.decode(body)
    except msgspec.ValidationError as error:
        raise PeerError("invalid_field", f"Envelope: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerError("malformed_json", f"Envelope: {error}") from None
    if envelope.v != VERSION:
        raise PeerError("invalid_field", f"Envelope: version {envelope.v} is not {VERSION}.")
    return envelope


def unknown_members(body: bytes) -> dict[str, Raw]:
    """The members of the envelope *body* (one that ``decode`` took) that we do not know."""
    members = _members.decode(body)
    if len(members) <= len(_FIELDS) and _FIELDS.issuperset(members):
        return {}
    # Copied: a Raw otherwise keeps the whole message alive.
    return {name: raw.copy() for name, raw in members.items() if name not in _FIELDS}


def type_of(message: Event | Request) -> str:
    """The envelope type of an event or request."""
    tag = message.__struct_config__.tag
    assert isinstance(tag, str), f"{type(message).__name__} has no tag"
    return tag


def data_of(message: Event | Request | Reply) -> bytes:
    """The envelope data of *message*: its fields as JSON, without the tag (that is the type)."""
    body = _encoder.encode(message)
    config = message.__struct_config__
    if config.tag is None:
        return body
    head = _encoder.encode({config.tag_field: config.tag})[:-1]
    assert body.startswith(head), "msgspec writes the tag first"
    rest = body[len(head) :].removeprefix(b",")
    return b"{" + rest


def event_in(envelope: Envelope) -> AnyEvent | None:
    """The event in *envelope*; None for a type that we do not know.

    Raises PeerError("invalid_field") when the data does not fit its type.
    """
    decoder = _events.get(envelope.type)
    if decoder is None:
        return None
    event = _data(decoder, envelope)
    assert isinstance(event, Event)
    return event  # type: ignore[return-value]


def request_in(envelope: Envelope) -> Request | None:
    """The request in *envelope*; None for an unknown method. Raises PeerError("invalid_field")."""
    decoder = _requests.get(envelope.type)
    if decoder is None:
        return None
    request = _data(decoder, envelope)
    assert isinstance(request, Request)
    return request


def reply_in(envelope: Envelope, kind: type[Reply]) -> Reply:
    """The reply in *envelope*. Raises PeerError("invalid_field")."""
    reply = _data(_replies[kind], envelope)
    assert isinstance(reply, Reply)
    return reply


def _data(decoder: "msgspec.json.Decoder[Any]", envelope: Envelope) -> object:
    try:
        return decoder.decode(envelope.data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PeerError("invalid_field", f"Data of {envelope.type}: {error}") from None


def stored_event(id: EventId, prev: EventId, body: bytes) -> StoredEvent:
    """Read the ledger entry *id*. Raises PeerError as ``decode`` and ``event_in`` do."""
    envelope = decode(body, limit=MAX_EVENT_BYTES)
    return StoredEvent(id, prev, envelope, event_in(envelope), unknown_members(body))
