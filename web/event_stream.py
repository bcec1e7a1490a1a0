"""Server-sent events (HTML standard 9.2): the answer that goes on, with heartbeats and an end."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from signaling.tokens import Token
from web.services import Services

HEARTBEAT_S: Final = 15.0
"""Proxies cut connections that are silent for 30 to 60 s."""
TICK_S: Final = 1.0
"""How late an answer notices that its token has expired or that the process goes."""
WRITE_TIMEOUT_S: Final = 30.0
"""A reader whose window stays shut for so long is gone."""

Next = Callable[[float], Awaitable[bytes | None]]
"""(timeout_s) -> the next event as bytes; None: nothing came."""


def encode_event(name: str, data: bytes, *, id: str = "") -> bytes:
    """One event. *data* is JSON on one line; *name* and *id* hold no line ends."""
    head = f"id: {id}\n" if id else ""
    return f"{head}event: {name}\n".encode() + b"data: " + data + b"\n\n"


async def serve_events(
    request: web.Request, services: Services, token: Token | None, next_event: Next
) -> web.StreamResponse:
    """Answer with what *next_event* returns until the reader goes, its token expires, or this
    process does. A browser then asks again by itself, with the id of the last event."""
    response = web.StreamResponse()
    response.content_type = "text/event-stream"
    response.headers["Cache-Control"] = "no-store"
    # A proxy of nginx's kind would hold events back.
    response.headers["X-Accel-Buffering"] = "no"
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    try:
        await _write(response, b"retry: 2000\n\n")
        silent_since_s = time.monotonic()
        while not services.draining and not (token and time.time() >= token.expires_at):
            event = await next_event(TICK_S)
            if event is None and time.monotonic() - silent_since_s < HEARTBEAT_S:
                if request.transport is None or request.transport.is_closing():
                    break
                continue
            await _write(response, b":\n\n" if event is None else event)
            silent_since_s = time.monotonic()
    except (ConnectionError, TimeoutError):
        pass
    return response


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await response.write(data)
