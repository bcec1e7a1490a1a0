"""Driver of ``Idempotency-Key`` (see idempotency.py): one create, however often it is asked."""

import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from signaling.tokens import Token
from web.idempotency import KeptAnswer
from web.services import services

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
_KEPT_HEADERS: Final = ("Content-Type", "Location", "Cache-Control")


async def created_once(
    request: web.Request, token: Token, body: bytes, create: Callable[[], Awaitable[web.Response]]
) -> web.Response:
    """Return what *create* answers; for a repeat under the same key, what it answered.

    Raises what *create* raises, and PeerError: bad_request, idempotency_mismatch, wrong_state.
    """
    value = request.headers.get(HEADER)
    if value is None:
        return await create()
    answers = services(request).answers
    caller = token.identity or ""
    key = (token.api_key, caller, request.method, request.path, value)
    kept = answers.begin(key, hashlib.sha256(body).digest(), time.monotonic())
    if kept is not None:
        headers = {**dict(kept.headers), REPLAYED: "true"}
        return web.Response(body=kept.body, status=kept.status, headers=headers)
    try:
        response = await create()
    except BaseException:
        answers.abandon(key)
        raise
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    content = response.body
    assert isinstance(content, bytes), "answers are built from bytes"
    answers.finish(
        key, KeptAnswer(status=response.status, headers=tuple(headers.items()), body=content)
    )
    return response
