"""What the handlers of one web process share."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from coordinator.center import Center
from coordinator.nodes import Nodes
from coordinator.rooms import Rooms
from signaling.config import SignalingConfig
from web.config import WebConfig
from web.idempotency import IdempotentAnswers
from web.tally import Tally

if TYPE_CHECKING:
    from signaling.hub import SignalingHub
    from web.feeds import Feeds
    from web.live import Live


@dataclass(kw_only=True)
class Services:
    """One per process, made by ``make_app`` and found by ``services(request)``."""

    center: Center
    rooms: Rooms
    nodes: Nodes
    hub: "SignalingHub"
    config: WebConfig
    signaling: SignalingConfig
    feeds: "Feeds"
    live: "Live"
    answers: IdempotentAnswers
    requests: Tally = field(
        default_factory=lambda: Tally(
            "tertulia_http_requests_total", "HTTP requests answered, by route and status class."
        )
    )
    draining: bool = False
    """The process goes: long answers end, readiness fails."""


SERVICES: web.AppKey[Services] = web.AppKey("services", Services)


def services(request: web.Request) -> Services:
    return request.app[SERVICES]
