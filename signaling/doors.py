"""All HTTP routes of signaling, for the web process to serve."""

from aiohttp import web

from signaling import websocket, whep, whip
from signaling.hub import SignalingHub


def routes(hub: SignalingHub) -> list[web.RouteDef]:
    """WebSocket, WHIP and WHEP under ``/v1/rooms/{room}/``."""
    return [*websocket.routes(hub), *whip.routes(hub), *whep.routes(hub)]
