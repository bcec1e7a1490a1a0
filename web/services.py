"""What the handlers of one web process share."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from coordinator.center import Center
from coordinator.nodes import Nodes
from coordinator.requests import MetricFamily
from coordinator.rooms import Rooms
from signaling.config import SignalingConfig
from web.config import WebConfig
from web.idempotency import IdempotentAnswers
from web.tally import Tally

if TYPE_CHECKING:
    from signaling.hub import SignalingHub
    from web.feeds import Feeds
    from web.live import Live
    from web.metrics import MetricsPage


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
    metrics: "MetricsPage" = field(init=False)
    draining: bool = False
    """The process goes: long answers end, readiness fails."""

    def own_metrics(self) -> tuple[MetricFamily, ...]:
        replayed = Tally("tertulia_idempotent_replays_total", "Creates answered from memory.")
        replayed.add(self.answers.replayed)
        return (self.requests.family(), replayed.family())


SERVICES: web.AppKey[Services] = web.AppKey("services", Services)


def services(request: web.Request) -> Services:
    return request.app[SERVICES]
