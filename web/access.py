"""Who may do what at the HTTP door: LiveKit's grants, and one rule more.

``roomAdmin`` with ``room`` = ``*`` administers every room. LiveKit has no
such token (its consoles mint one per room with the secret); ours is for the admin page and the
command line. No room can be called ``*``.
"""

import secrets
import time
import unicodedata
from typing import Final

from aiohttp import web

from coordinator.errors import PeerError
from coordinator.ids import Identity, RoomName, check_room_name
from signaling.config import SignalingConfig
from signaling.tokens import (
    Token,
    VideoGrants,
    find_token,
    mint,
    require_admin,
    require_create,
    require_list,
    require_room,
    verify,
)

EVERY_ROOM: Final = "*"
ADMIN_TOKEN_TTL_S: Final = 12 * 3600.0
GUEST_PREFIX: Final = "guest-"


def room_of(request: web.Request) -> RoomName:
    """The room in the path. Raises PeerError("invalid_name")."""
    return check_room_name(request.match_info["room"])


def caller(request: web.Request, config: SignalingConfig) -> Token:
    """The verified token of *request*. Raises PeerError: token_missing, _invalid, _expired."""
    text = find_token(request.headers.get("Authorization"), request.query.get("access_token"))
    return verify(text, config.api_keys, now=time.time())


def administers_all(token: Token) -> bool:
    return token.grants.roomAdmin and token.grants.room == EVERY_ROOM


def may_administer(token: Token, room: RoomName) -> bool:
    if administers_all(token):
        return True
    return token.grants.roomAdmin and unicodedata.normalize("NFC", token.grants.room) == room


def check_admin(token: Token, room: RoomName) -> None:
    """Raise PeerError("permission_denied") unless *token* may administer *room*."""
    if not may_administer(token, room):
        require_admin(token, room)


def check_create(token: Token) -> None:
    require_create(token)


def check_close(token: Token, room: RoomName) -> None:
    """``roomCreate`` closes rooms (LiveKit's rule), and so does the room's admin."""
    if not token.grants.roomCreate:
        check_admin(token, room)


def check_read(token: Token, room: RoomName) -> None:
    """``roomList`` reads every room, ``roomAdmin`` its own."""
    if not token.grants.roomList:
        check_admin(token, room)


def check_list(token: Token) -> None:
    require_list(token)


def check_watch(request: web.Request, config: SignalingConfig, room: RoomName) -> Token | None:
    """Raise PeerError unless *request* may watch the room's broadcast.

    While rooms are open anybody may, and a token that comes along is not looked at: a stale one in
    a shared link must not keep people out. Otherwise the room's join token does, if it may
    subscribe, and the room's admin.
    """
    if config.open_rooms:
        return None
    token = caller(request, config)
    if may_administer(token, room):
        return token
    grants = token.grants
    require_room(token, room, grants.roomJoin and grants.canSubscribe is not False, "watch")
    return token


def admin_token(config: SignalingConfig, *, now: float, ttl_s: float = ADMIN_TOKEN_TTL_S) -> str:
    """A token that may do everything, signed by the first API key."""
    return sign(config, identity=None, grants=admin_grants(), ttl_s=ttl_s, now=now)


def admin_grants() -> VideoGrants:
    return VideoGrants(roomCreate=True, roomList=True, roomAdmin=True, room=EVERY_ROOM)


def sign(
    config: SignalingConfig,
    *,
    identity: str | None,
    grants: VideoGrants,
    ttl_s: float,
    now: float,
    name: str = "",
    metadata: str = "",
) -> str:
    """Mint with the first API key. Raises PeerError("permission_denied") without one."""
    if not config.api_keys:
        raise PeerError("permission_denied", "This server has no API key to sign with.")
    api_key, secret = next(iter(config.api_keys.items()))
    return mint(
        api_key,
        secret,
        identity=identity,
        grants=grants,
        name=name,
        metadata=metadata,
        ttl_s=ttl_s,
        now=now,
    )


def new_guest_identity() -> Identity:
    # 80 bits: nobody guesses another guest's identity to take their place.
    return Identity(GUEST_PREFIX + secrets.token_hex(10))
