"""WHEP: a player receives from a room by one HTTP request (draft-ietf-wish-whep).

``?from={identity}`` names whom to play; without it whoever speaks is played. The offer is always
the player's, answered at once; we make no counter-offer. A player is a hidden participant: nobody
sees it come or go, and it takes no place in the room.
"""

import secrets
from typing import Final

from aiohttp import web

from coordinator.errors import PeerError
from coordinator.ids import (
    MAX_IDENTITY_CHARS,
    Identity,
    ParticipantSid,
    RoomName,
    check_identity,
)
from coordinator.model import Permissions
from coordinator.requests import WhepOffer
from signaling.hub import SignalingHub
from signaling.offer_door import MAX_RESOURCES, Guest, OfferDoor
from signaling.tokens import Token, require_room

_SUFFIX_BYTES: Final = 6
"""Eight characters, 48 bits: players of one token do not end one another."""


def door(hub: SignalingHub, *, max_resources: int = MAX_RESOURCES) -> OfferDoor:
    """``/v1/rooms/{room}/whep``."""
    return OfferDoor(hub, "whep", _welcome, max_resources=max_resources)


def routes(hub: SignalingHub) -> list[web.RouteDef]:
    return door(hub).routes()


def _welcome(request: web.Request, token: Token, room: RoomName) -> Guest:
    """Raises PeerError: permission_denied, invalid_name."""
    require_room(token, room, token.grants.roomJoin, "join")
    if not token.grants.permissions().can_subscribe:
        raise PeerError("permission_denied", "The token does not allow to subscribe.")
    named = request.query.get("from")
    source = None if named is None else check_identity(named)

    def ask(room: RoomName, participant: ParticipantSid, sdp: str) -> WhepOffer:
        return WhepOffer(room=room, participant=participant, sdp=sdp, source=source)

    return Guest(
        identity=_player_identity(token.identity),
        display_name=token.shown_name() or "player",
        permissions=Permissions(
            can_publish=False, can_subscribe=True, can_publish_data=False, hidden=True
        ),
        # Who only looks on finds a room, or is told that there is none.
        create_room=False,
        ask=ask,
    )


def _player_identity(subject: Identity | None) -> Identity:
    """One of its own for each player: a token may be used by many at once."""
    suffix = "." + secrets.token_urlsafe(_SUFFIX_BYTES)
    return Identity((subject or "player")[: MAX_IDENTITY_CHARS - len(suffix)] + suffix)
