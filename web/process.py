"""A web and signaling process."""

import asyncio
import contextlib
import logging
import signal
import ssl
from collections import Counter
from collections.abc import Coroutine, Iterable
from typing import Final

from aiohttp import web

from coordinator.center import Center
from coordinator.config import CenterConfig
from coordinator.nodes import NodeLease, Nodes, Reaper
from coordinator.requests import MetricFamily, Sample
from coordinator.rooms import Rooms
from signaling.config import SignalingConfig
from signaling.hub import SignalingHub
from web.app import make_app
from web.config import WebConfig
from web.services import SERVICES

_log: Final = logging.getLogger(__name__)

_KEEPALIVE_S: Final = 75.0
_BACKLOG: Final = 1024


async def run_web(
    center_config: CenterConfig, web_config: WebConfig, signaling_config: SignalingConfig
) -> None:
    """Be a web and signaling process until SIGTERM or SIGINT, then drain and end.

    A second signal ends it without draining. Run it on uvloop. Raises OSError if the port is taken
    or a certificate cannot be read.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    pressed = asyncio.Event()

    def signalled() -> None:
        (pressed if asked.is_set() else asked).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    # Before anything else: a certificate that cannot be read must not leave a lease behind.
    tls = server_tls(web_config)
    center = await Center.connect(center_config, name=web_config.name)
    server = WebServer(center, web_config, signaling_config, tls)
    try:
        await server.start()
        _log.info("%s serves %s", center.node_id, server.url)
        await asked.wait()
        await _until_either(server.drain(), pressed)
    finally:
        await server.close()
        await center.close()


def server_tls(config: WebConfig) -> ssl.SSLContext | None:
    """None without a certificate. Raises OSError, ssl.SSLError."""
    if not config.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(config.tls_cert, config.tls_key or None)
    return context


class WebServer:
    """Everything of one web process on *center*; its parts start and end in the order that keeps
    promises: the lease before the first join, the last leave before the lease ends."""

    def __init__(
        self,
        center: Center,
        config: WebConfig,
        signaling_config: SignalingConfig,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._config: Final = config
        self._tls: Final = tls
        self.rooms: Final = Rooms(center)
        self.hub: Final = SignalingHub(center, self.rooms, signaling_config)
        self.lease: Final = NodeLease(center, kind="web", lost=self.hub.lost)
        self.reaper: Final = Reaper(center, self.rooms)
        self.app: Final = make_app(
            center=center,
            rooms=self.rooms,
            nodes=Nodes(center),
            hub=self.hub,
            config=config,
            signaling_config=signaling_config,
            sources=(self._metrics,),
        )
        self._node: Final = center
        self._runner: Final = web.AppRunner(
            self.app,
            access_log=None,
            keepalive_timeout=_KEEPALIVE_S,
            shutdown_timeout=2.0,
        )
        self._sites: list[web.TCPSite] = []
        self.port = config.port

    @property
    def url(self) -> str:
        scheme, host = "https" if self._tls else "http", self._config.host or "127.0.0.1"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Serve. Raises OSError if the port is taken."""
        await self._runner.setup()
        site = web.TCPSite(
            self._runner,
            self._config.host or None,
            self._config.port,
            ssl_context=self._tls,
            backlog=_BACKLOG,
        )
        await self.hub.start()
        await self.lease.start()
        self.reaper.start()
        await site.start()
        self._sites.append(site)
        self.port = self._runner.addresses[0][1]

    async def drain(self) -> None:
        """Take nobody new, tell everybody here to join elsewhere, and wait for them."""
        self.app[SERVICES].draining = True
        await self.lease.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain_timeout_s):
                for site in self._sites:
                    await site.stop()
                await self.hub.drain()

    async def close(self) -> None:
        self.app[SERVICES].draining = True
        await self.hub.close()
        await self._runner.cleanup()
        await self.reaper.close()
        await self.lease.close()
        await self.rooms.drop_doubts()

    def _metrics(self) -> Iterable[MetricFamily]:
        labels = {"node": str(self._node.node_id)}
        yield _counters("tertulia_reaper_total", "What the reaper did.", self.reaper.counters)
        yield _counters("tertulia_lease_total", "Fates of this lease.", self.lease.counters)
        for name, text, value in (
            ("tertulia_lease_registered", "1 while the lease stands.", self.lease.registered),
            ("tertulia_doubtful_joins", "Joins that are being undone.", self.rooms.doubtful),
        ):
            yield MetricFamily(
                name=name,
                kind="gauge",
                help=text,
                samples=(Sample(labels=labels, value=float(value)),),
            )


def _counters(name: str, text: str, counters: Counter[str]) -> MetricFamily:
    samples = tuple(
        Sample(labels={"kind": kind}, value=float(count)) for kind, count in counters.items()
    )
    return MetricFamily(name=name, kind="counter", help=text, samples=samples)


async def _until_either(work: Coroutine[None, None, None], event: asyncio.Event) -> None:
    tasks = (asyncio.ensure_future(work), asyncio.ensure_future(event.wait()))
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
