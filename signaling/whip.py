"""WHIP: an encoder publishes into a room by one HTTP request (RFC 9725).

The participant's identity is the token's ``sub``: an encoder that begins anew takes the place of
its older session.
"""

from functools import partial

from aiohttp import web

from coordinator.errors import PeerError
from coordinator.ids import ParticipantSid, RoomName
from coordinator.requests import WhipOffer
from signaling.hub import SignalingHub
from signaling.offer_door import MAX_RESOURCES, Guest, OfferDoor
from signaling.sources import check_encoder
from signaling.tokens import Token, require_join


def door(hub: SignalingHub, *, max_resources: int = MAX_RESOURCES) -> OfferDoor:
    """``/v1/rooms/{room}/whip``."""
    return OfferDoor(hub, "whip", _welcome, max_resources=max_resources)


def routes(hub: SignalingHub) -> list[web.RouteDef]:
    return door(hub).routes()


def _welcome(_: web.Request, token: Token, room: RoomName) -> Guest:
    """Raises PeerError: permission_denied, token_invalid."""
    identity = require_join(token, room)
    permissions = token.grants.permissions()
    if not permissions.can_publish:
        raise PeerError("permission_denied", "The token does not allow to publish.")
    return Guest(
        identity=identity,
        display_name=token.shown_name(),
        permissions=permissions,
        create_room=True,
        ask=_ask,
        check=partial(check_encoder, sources=frozenset(token.grants.canPublishSources)),
    )


def _ask(room: RoomName, participant: ParticipantSid, sdp: str) -> WhipOffer:
    return WhipOffer(room=room, participant=participant, sdp=sdp)
