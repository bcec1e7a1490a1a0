"""The HTTP application: which routes there are, and what stands around every one of them."""

import logging
import time
from collections.abc import Iterable
from typing import Final

from aiohttp import web

from coordinator.center import Center
from coordinator.nodes import Nodes
from coordinator.rooms import Rooms
from signaling.config import SignalingConfig
from signaling.doors import routes as signaling_routes
from signaling.hub import SignalingHub
from signaling.problem import problem_middleware
from web import broadcast_api, event_api, operation_api, participant_api, room_api, token_api
from web.config import WebConfig
from web.feeds import Feeds
from web.idempotency import IdempotentAnswers
from web.live import Live, allow_any_origin, live_routes
from web.metrics import MetricsPage, Source
from web.openapi import OPENAPI, serve_document
from web.operations import Handler, Operation
from web.pages_door import PagesDoor
from web.services import SERVICES, Services, services

access_log: Final = logging.getLogger("web.access")

OPERATIONS: Final[tuple[Operation, ...]] = (
    *room_api.OPERATIONS,
    *participant_api.OPERATIONS,
    *broadcast_api.OPERATIONS,
    *event_api.OPERATIONS,
    *token_api.OPERATIONS,
    *operation_api.OPERATIONS,
)
_MAX_LOGGED_PATH: Final = 200
_FREQUENT: Final = ("/live/", "/healthz", "/readyz", "/metrics")
_CLIENT_GONE: Final = 499
"""As nginx logs it."""


def make_app(
    *,
    center: Center,
    rooms: Rooms,
    nodes: Nodes,
    hub: SignalingHub,
    config: WebConfig,
    signaling_config: SignalingConfig,
    sources: Iterable[Source] = (),
) -> web.Application:
    """The whole of the outer doors. *sources* are further metrics of the process."""
    feeds, live, answers = Feeds(center, rooms), Live(rooms, signaling_config), IdempotentAnswers()
    here = Services(
        center=center,
        rooms=rooms,
        nodes=nodes,
        hub=hub,
        config=config,
        signaling=signaling_config,
        feeds=feeds,
        live=live,
        answers=answers,
    )
    own = (center.metrics, hub.metrics, feeds.metrics, live.metrics, here.own_metrics, *sources)
    here.metrics = MetricsPage(center, nodes, own)
    app = web.Application(middlewares=[_around, problem_middleware])
    app[SERVICES] = here
    app.add_routes(api_routes())
    app.add_routes(signaling_routes(hub))
    app.add_routes(live_routes(live))
    app.add_routes(PagesDoor().routes())
    app.on_startup.append(_start)
    # Before the server waits for answers under way: those of viewers wait for parts.
    app.on_shutdown.append(_close)
    return app


def api_routes() -> list[web.AbstractRouteDef]:
    rows: list[web.AbstractRouteDef] = [web.get(OPENAPI, serve_document(OPERATIONS))]
    for operation in OPERATIONS:
        assert operation.handler is not None, f"{operation.name} has no handler"
        if operation.method == "GET":
            rows.append(web.get(operation.path, operation.handler))
        else:
            rows.append(web.route(operation.method, operation.path, operation.handler))
    return rows


async def _start(app: web.Application) -> None:
    app[SERVICES].live.start()


async def _close(app: web.Application) -> None:
    await app[SERVICES].live.close()


@web.middleware
async def _around(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Headers that every answer has, one line in the access log, one count."""
    begun_s = time.monotonic()
    status = 0
    try:
        response = await handler(request)
        status = response.status
        if not response.prepared:
            set_headers(request, response)
        return response
    except ConnectionError:
        # The client went away while it was being answered; nobody reads this.
        status = _CLIENT_GONE
        return web.Response(status=status)
    finally:
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "none"
        services(request).requests.add(
            method=request.method if resource is not None else "other",
            route=route,
            status=f"{status // 100}xx" if status else "broken",
        )
        # The path stays encoded (no line ends in it), and the query out: tokens travel there.
        access_log.log(
            # Viewers and probes ask several times a second each, and are counted above.
            logging.DEBUG if route.startswith(_FREQUENT) else logging.INFO,
            "%s %s %s %d %.1f ms",
            request.remote,
            request.method,
            request.rel_url.raw_path[:_MAX_LOGGED_PATH],
            status,
            (time.monotonic() - begun_s) * 1000,
        )


def set_headers(request: web.Request, response: web.StreamResponse) -> None:
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Server"] = "tertulia"
    # Addresses may carry tokens.
    headers["Referrer-Policy"] = "no-referrer"
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    if request.path.startswith("/live/"):
        allow_any_origin(response)
