"""Access tokens: JWTs (HS256) with the claims of LiveKit's. Sans-IO: the time is an argument.

``iss`` is the API key that signs, ``sub`` the identity, ``name`` what others see, ``metadata`` free
text, ``video`` the grants. Unknown claims and grants are ignored (RFC 7519 4), so that a token made
for LiveKit works here; a known one of the wrong type is an error.

Only HS256 is accepted, whatever the token's header says (RFC 8725 3.1), and the key is looked up
by ``iss``: a token cannot choose how it is verified. No error text repeats any part of a token.
"""

import unicodedata
from collections.abc import Mapping
from typing import Final

import jwt
import msgspec
from msgspec import Struct

from coordinator.errors import PeerError
from coordinator.ids import (
    MAX_DISPLAY_NAME_CHARS,
    Identity,
    RoomName,
    check_display_name,
    check_identity,
)
from coordinator.model import Permissions

MAX_TOKEN_BYTES: Final = 8 * 1024
"""A larger one is refused unread; it also fits the 8190 bytes of a header line of aiohttp's."""
LEEWAY_S: Final = 5.0
"""How far the clocks of whoever mints and whoever verifies may differ."""

_JWS: Final = jwt.PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})


class VideoGrants(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token allows, under LiveKit's names and with LiveKit's defaults."""

    # About rooms.
    roomCreate: bool = False
    roomList: bool = False
    roomRecord: bool = False
    # About the room named by ``room``.
    room: str = ""
    roomAdmin: bool = False
    roomJoin: bool = False
    # Within that room. None: not said.
    canPublish: bool | None = None
    canSubscribe: bool | None = None
    canPublishData: bool | None = None
    canPublishSources: tuple[str, ...] = ()
    """``camera``, ``microphone``, ``screen_share``, ``screen_share_audio``; empty: any."""
    canUpdateOwnMetadata: bool | None = None
    hidden: bool = False
    recorder: bool = False

    def permissions(self) -> Permissions:
        """The grants after defaults: publish and subscribe unless refused; data as publish is."""
        can_publish = self.canPublish is not False
        return Permissions(
            can_publish=can_publish,
            can_subscribe=self.canSubscribe is not False,
            can_publish_data=can_publish if self.canPublishData is None else self.canPublishData,
            hidden=self.hidden,
        )


class Token(Struct, frozen=True, kw_only=True):
    """A verified token."""

    api_key: str
    identity: Identity | None
    """None: the token names nobody (an operator's, or a WHEP player's)."""
    name: str
    grants: VideoGrants
    metadata: str
    expires_at: float
    """Unix time."""

    def shown_name(self) -> str:
        """What others see: the name, else the identity cut to a name's length."""
        return self.name or (self.identity or "")[:MAX_DISPLAY_NAME_CHARS]


class _Claims(Struct, frozen=True, kw_only=True, omit_defaults=True):
    iss: str
    exp: float
    sub: str = ""
    nbf: float | None = None
    name: str = ""
    metadata: str = ""
    video: VideoGrants = VideoGrants()


_decode_claims: Final = msgspec.json.Decoder(_Claims).decode
_encode_claims: Final = msgspec.json.Encoder().encode


def mint(
    api_key: str,
    secret: str,
    *,
    identity: str | None,
    grants: VideoGrants,
    name: str = "",
    metadata: str = "",
    ttl_s: float,
    now: float,
) -> str:
    """Return a token that *api_key* signs, valid from *now* (unix time) for *ttl_s*.

    Raises PeerError("invalid_name") for an identity or name that ``verify`` would refuse, and
    PeerError("bad_request") where the token would exceed ``MAX_TOKEN_BYTES``.
    """
    claims = _Claims(
        iss=api_key,
        sub="" if identity is None else check_identity(identity),
        nbf=float(int(now)),
        exp=float(int(now + ttl_s)),
        name=check_display_name(name) if name else "",
        metadata=metadata,
        video=grants,
    )
    token = _JWS.encode(_encode_claims(claims), secret, algorithm="HS256", headers={"typ": "JWT"})
    if len(token) > MAX_TOKEN_BYTES:
        raise PeerError("bad_request", f"The token would be larger than {MAX_TOKEN_BYTES} bytes.")
    return token


def verify(
    token: str, keys: Mapping[str, str], *, now: float, allow_expired: bool = False
) -> Token:
    """Return what *token* says, if one of *keys* (API key -> secret) signed it.

    *allow_expired* is for what a token began and only has to end (a WHIP session's DELETE): an
    expiry bars joining, not leaving.

    Raises PeerError: ``token_expired``, or ``token_invalid`` for everything else.
    """
    claims = _verified_claims(token, keys)
    if claims.nbf is not None and now + LEEWAY_S < claims.nbf:
        raise PeerError("token_invalid", "The token is not valid yet.")
    if now - LEEWAY_S >= claims.exp and not allow_expired:
        raise PeerError("token_expired")
    try:
        identity = check_identity(claims.sub) if claims.sub else None
        name = check_display_name(claims.name) if claims.name else ""
    except PeerError as error:
        raise PeerError("token_invalid", f"The token's sub or name: {error.detail}") from None
    return Token(
        api_key=claims.iss,
        identity=identity,
        name=name,
        grants=claims.video,
        metadata=claims.metadata,
        expires_at=claims.exp,
    )


def _verified_claims(token: str, keys: Mapping[str, str]) -> _Claims:
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise PeerError("token_invalid", "The token is too large or not a JWT.")
    try:
        # The issuer is read first to find the key, and believed only once that key has verified.
        unverified = _JWS.decode_complete(token, options={"verify_signature": False})["payload"]
        secret = keys[_decode_claims(unverified).iss]
        payload = _JWS.decode_complete(token, secret, algorithms=["HS256"])["payload"]
        return _decode_claims(payload)
    except KeyError:
        raise PeerError("token_invalid", "The token's API key is not known here.") from None
    except msgspec.ValidationError:
        raise PeerError("token_invalid", "A claim is missing or wrongly typed.") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        # The library's own errors, and what its base64 and JSON layers let through.
        raise PeerError("token_invalid") from None


def find_token(authorization: str | None, access_token: str | None) -> str:
    """Return the token of a request: the ``Authorization`` header's, else the query's
    ``access_token`` (RFC 6750 2.1, 2.3).

    Raises PeerError: ``token_missing``, or ``token_invalid`` for another scheme than Bearer.
    """
    if authorization is not None:
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise PeerError("token_invalid", "The Authorization scheme is Bearer.")
        access_token = token.strip()
    if not access_token:
        raise PeerError("token_missing")
    return access_token


def require_join(token: Token, room: RoomName) -> Identity:
    """Return the identity that *token* lets join *room*. Raises PeerError."""
    require_room(token, room, token.grants.roomJoin, "join")
    if token.identity is None:
        raise PeerError("token_invalid", "The token has no identity (sub).")
    return token.identity


def require_room(token: Token, room: RoomName, granted: bool, what: str) -> None:
    """Raise PeerError("permission_denied") unless *granted*, and for this *room*.

    A token without a room names none, not all (LiveKit's rule for join and admin).
    """
    if not granted:
        raise PeerError("permission_denied", f"The token does not allow to {what}.")
    if unicodedata.normalize("NFC", token.grants.room) != room:
        raise PeerError("permission_denied", "The token is for another room.")


def require_admin(token: Token, room: RoomName) -> None:
    """Raise PeerError unless *token* may administer *room* (``roomAdmin``)."""
    require_room(token, room, token.grants.roomAdmin, "administer the room")


def require_create(token: Token) -> None:
    """Raise PeerError unless *token* may create and close rooms (``roomCreate``)."""
    if not token.grants.roomCreate:
        raise PeerError("permission_denied", "The token does not allow to create or close rooms.")


def require_list(token: Token) -> None:
    """Raise PeerError unless *token* may list rooms (``roomList``)."""
    if not token.grants.roomList:
        raise PeerError("permission_denied", "The token does not allow to list rooms.")
