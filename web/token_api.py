"""Tokens over HTTP: guests' while rooms are open, any that an operator wants."""

import time
from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import web

from coordinator.errors import PeerError
from coordinator.ids import Identity, check_display_name, check_identity, check_room_name
from signaling.tokens import Token, VideoGrants
from web.access import (
    EVERY_ROOM,
    administers_all,
    caller,
    check_admin,
    new_guest_identity,
    sign,
)
from web.bodies import (
    MAX_METADATA_CHARS,
    IssuedToken,
    NewToken,
    answer,
    check_query,
    decode_body,
    read_body,
)
from web.operations import Operation
from web.services import services

MAX_TTL_S: Final = 366 * 24 * 3600.0
DEFAULT_TTL_S: Final = 6 * 3600.0


async def create_token(request: web.Request) -> web.StreamResponse:
    here = services(request)
    check_query(request)
    with_token = "Authorization" in request.headers or "access_token" in request.query
    token = caller(request, here.signaling) if with_token or not open_rooms(request) else None
    wanted = decode_body(await read_body(request), NewToken)
    if token is None or not token.grants.roomAdmin:
        if not here.signaling.open_rooms:
            raise PeerError("permission_denied", "Rooms are not open to guests on this server.")
        granted = _for_guest(wanted, here.signaling.guest_token_ttl_s)
    else:
        granted = _for_admin(wanted, token)
    now = time.time()
    text = sign(
        here.signaling,
        identity=granted.identity,
        grants=granted.grants,
        ttl_s=granted.ttl_s,
        now=now,
        name=granted.name,
        metadata=wanted.metadata,
    )
    return answer(
        IssuedToken(
            token=text,
            room=granted.grants.room,
            identity=granted.identity,
            name=granted.name,
            expires_at=datetime.fromtimestamp(int(now + granted.ttl_s), UTC),
            video=granted.grants,
        ),
        status=201,
    )


def open_rooms(request: web.Request) -> bool:
    return services(request).signaling.open_rooms


class _Granted(msgspec.Struct, frozen=True, kw_only=True):
    identity: Identity | None
    name: str
    grants: VideoGrants
    ttl_s: float


def _for_guest(wanted: NewToken, ttl_s: float) -> _Granted:
    # An identity of a guest's own choice would throw out whoever has it.
    if (wanted.identity, wanted.ttl_s, wanted.video, wanted.metadata) != (None, None, None, ""):
        raise PeerError("permission_denied", "A guest chooses room, name and watch only.")
    room = check_room_name(wanted.room)
    return _Granted(
        identity=new_guest_identity(),
        name=check_display_name(wanted.name) if wanted.name else "",
        grants=_join_grants(room, watch=wanted.watch),
        ttl_s=ttl_s,
    )


def _join_grants(room: str, *, watch: bool) -> VideoGrants:
    if watch:
        return VideoGrants(roomJoin=True, room=room, canPublish=False)
    return VideoGrants(roomJoin=True, room=room)


def _for_admin(wanted: NewToken, token: Token) -> _Granted:
    """What an operator asked for, if their own token reaches so far."""
    every = administers_all(token)
    room = wanted.room
    if not (every and room in ("", EVERY_ROOM)):
        room = check_room_name(room)
        check_admin(token, room)
    ttl_s = DEFAULT_TTL_S if wanted.ttl_s is None else wanted.ttl_s
    if not 1 <= ttl_s <= MAX_TTL_S:
        raise PeerError("invalid_field", f"ttl_s is a number from 1 to {MAX_TTL_S:.0f}.")
    if len(wanted.metadata) > MAX_METADATA_CHARS:
        raise PeerError("invalid_field", f"metadata has at most {MAX_METADATA_CHARS} characters.")
    identity = None if wanted.identity is None else check_identity(wanted.identity)
    if wanted.video is None:
        if room in ("", EVERY_ROOM):
            raise PeerError("invalid_field", "A token to join names a room.")
        grants = _join_grants(room, watch=wanted.watch)
        identity = identity or new_guest_identity()
    else:
        grants = _given_grants(wanted, room, every=every)
    name = check_display_name(wanted.name) if wanted.name else ""
    return _Granted(identity=identity, name=name, grants=grants, ttl_s=ttl_s)


def _given_grants(wanted: NewToken, room: str, *, every: bool) -> VideoGrants:
    given = wanted.video
    assert given is not None
    if given.room not in ("", room):
        raise PeerError("invalid_field", "video.room is the token's room, or is left out.")
    if (given.roomCreate or given.roomList or given.roomRecord) and not every:
        raise PeerError("permission_denied", "A room's admin grants nothing beyond the room.")
    fields = msgspec.structs.asdict(given)
    return VideoGrants(**{**fields, "room": room})


OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/tokens",
        handler=create_token,
        name="createToken",
        summary="Mint a token.",
        tag="tokens",
        grant="none while rooms are open (guests choose room, name and watch); else roomAdmin",
        body=NewToken,
        answers=((201, IssuedToken),),
        codes=("invalid_name",),
    ),
)
