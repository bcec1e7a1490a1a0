"""The media plane of a node: one UDP port, all transports, publications and subscriptions.

Everything here is synchronous but for opening and closing and the DTLS handshakes. Calls between
batches change the tables that the next batch uses; nothing in the hot path awaits, logs or makes a
task. See media/DESIGN.md for how a packet travels.
"""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Coroutine
from typing import Final

from coordinator.ids import TrackSid
from coordinator.requests import MetricFamily
from media.config import MediaConfig
from media.rtp import rtcp
from media.sfu import reports
from media.sfu.counters import PlaneCounters
from media.sfu.ingress import Ingress
from media.sfu.publication import Publication, Tap, TapSink
from media.sfu.spec import PublicationSpec, SubscriptionSpec
from media.sfu.subscription import Subscription
from media.sfu.transport import Transport, TransportObserver
from media.transport import mmsg
from media.transport.addresses import AddressKey
from media.transport.inbox import Inbox
from media.transport.moderation import POLL_S, Moderation
from media.transport.outbox import Outbox
from media.transport.seams import DtlsCertificate, host_addresses

__all__ = [
    "MediaPlane",
    "Publication",
    "Subscription",
    "Tap",
    "TapSink",
    "Transport",
    "TransportObserver",
]

SOCKET_BUFFER_BYTES: Final = 8 << 20
"""About half a second at 100,000 packets/s of 1100 bytes with the kernel's own share."""
TICK_S: Final = 0.05
"""How often timers of the plane are looked at: reports, timeouts, keyframe requests."""


class MediaPlane:
    """Made by ``open``; ``close`` ends all of it."""

    def __init__(self, sock: socket.socket, config: MediaConfig) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._config = config
        self.port: Final[int] = sock.getsockname()[1]
        self.certificate: Final = DtlsCertificate()
        self.counters: Final = PlaneCounters()
        self.outbox: Final = Outbox(sock, on_congested=self._congested)
        self._inbox = Inbox(sock)
        self._ingress = Ingress(self._inbox, self.counters, wallclock=time.time)
        self._transports: dict[Transport, None] = {}
        self._ufrags: dict[Transport, list[str]] = {}
        self._publications: dict[Publication, None] = {}
        self._subscriptions: dict[Subscription, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop.add_reader(sock.fileno(), self._readable)
        self._timer = self._loop.call_later(TICK_S, self._tick)
        self._feedback_timer: asyncio.TimerHandle | None = None
        self._moderation = Moderation()
        self._poll_timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, config: MediaConfig) -> "MediaPlane":
        """Bind the port and begin. Raises OSError if it is taken, ValueError if the host is no
        numeric address."""
        family = (
            socket.AF_INET6 if ipaddress.ip_address(config.host).version == 6 else socket.AF_INET
        )
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            for forced, plain in (
                (mmsg.SO_RCVBUFFORCE, socket.SO_RCVBUF),
                (mmsg.SO_SNDBUFFORCE, socket.SO_SNDBUF),
            ):
                try:
                    sock.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER_BYTES)
                except PermissionError:  # only root goes beyond net.core's limits
                    sock.setsockopt(socket.SOL_SOCKET, plain, SOCKET_BUFFER_BYTES)
            if family == socket.AF_INET6:
                # An IPv4 peer would be told a mapped address that it never had.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((config.host, config.port))
        except BaseException:
            sock.close()
            raise
        return cls(sock, config)

    async def close(self) -> None:
        """End every transport (the peers hear a DTLS close_notify), then the socket."""
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        if self._feedback_timer is not None:
            self._feedback_timer.cancel()
        for transport in tuple(self._transports):
            transport.close()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()

    # --- for negotiation ------------------------------------------------------------------------

    @property
    def candidates(self) -> list[str]:
        """``candidate:...`` lines (RFC 8839 5.1): the bound address or, bound to all, each of the
        machine's, then the announced ones."""
        hosts = [self._config.host]
        if ipaddress.ip_address(self._config.host).is_unspecified:
            six = self._sock.family == socket.AF_INET6
            hosts = host_addresses(six=six)
        hosts.extend(host for host in self._config.announced_hosts if host not in hosts)
        # RFC 8445 5.1.2.1: type preference 126 for host candidates; earlier ones are preferred.
        return [
            f"candidate:{index + 1} 1 udp {(126 << 24) + ((65535 - index) << 8) + 255} "
            f"{host} {self.port} typ host"
            for index, host in enumerate(hosts)
        ]

    def create_transport(self, observer: TransportObserver) -> Transport:
        """A transport with fresh ICE credentials. Nothing times out before ``set_remote``."""
        assert not self._closed, "the plane is closed"
        transport = Transport(self, observer, self._config.transport_timeout_s)
        self._transports[transport] = None
        self._ufrags[transport] = []
        self.credentials_changed(transport)
        return transport

    # --- publications and subscriptions ---------------------------------------------------------

    def publish(self, transport: Transport, spec: PublicationSpec) -> Publication:
        """Receive *spec* on *transport*, which need not be up yet."""
        publication = Publication(transport, spec, self.outbox, self.counters)
        transport.routes.add(publication)
        self._publications[publication] = None
        return publication

    def unpublish(self, publication: Publication) -> None:
        """Receive it no longer. Its subscriptions go silent; unsubscribe or switch them."""
        publication.close()
        publication.transport.routes.remove(publication)
        self._publications.pop(publication, None)

    def subscribe(
        self, publication: Publication, transport: Transport, spec: SubscriptionSpec
    ) -> Subscription:
        """Send *publication* on *transport*, from the next keyframe on; one is asked for at once.

        Raises ValueError if *spec*'s codec is not the publication's, or one of its ssrcs was ever
        used on this transport.
        """
        if not publication.offers(spec.codec.mime):
            raise ValueError(f"the publication has no {spec.codec.mime}")
        transport.use_ssrc(spec.ssrc)
        if spec.rtx_ssrc is not None:
            transport.use_ssrc(spec.rtx_ssrc)
        subscription = Subscription(publication, transport, spec)
        self._subscriptions[subscription] = None
        transport.senders[spec.ssrc] = subscription
        if spec.rtx_ssrc is not None:
            transport.senders[spec.rtx_ssrc] = subscription
        publication.await_start(subscription)
        self._feedback_soon()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Send it no longer."""
        subscription.close()
        self._subscriptions.pop(subscription, None)

    def request_keyframe(self, publication: Publication) -> None:
        """Ask the publisher for a keyframe; merged with other wishes and throttled."""
        if publication.video:
            publication.keyframes.want()
            self._feedback_soon()

    def tap(self, publication: Publication, sink: TapSink) -> Tap:
        """Give *sink* every packet of *publication* from now on; a keyframe is asked for."""
        tap = publication.tap(sink)
        self._feedback_soon()
        return tap

    def speakers(self) -> dict[TrackSid, float]:
        """How loud each audio publication was since the last call, 0 to 1 (RFC 6464); a muted one
        is silent."""
        return {
            publication.spec.track: 0.0 if publication.muted else level
            for publication in self._publications
            if not publication.video
            for level in (publication.levels.poll(),)
        }

    def metrics(self) -> tuple[MetricFamily, ...]:
        return self.counters.families(
            self.outbox.counters,
            {
                "transports": len(self._transports),
                "publications": len(self._publications),
                "subscriptions": len(self._subscriptions),
            },
        )

    # --- for transports -------------------------------------------------------------------------

    def now(self) -> float:
        return time.monotonic()

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """A task that ``close`` waits for."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def adopt_address(self, transport: Transport, source: AddressKey) -> None:
        """Take *source* for *transport* as if a check had proven it (load tests)."""
        transport.ice.addresses[source] = None
        transport.ice.selected = source
        transport.address_selected()
        self._ingress.by_address[source] = transport

    def credentials_changed(self, transport: Transport) -> None:
        """Its ufrag is new; the one before stays good until the new one is used."""
        ufrags = self._ufrags[transport]
        ufrags.append(transport.ufrag)
        self._ingress.by_ufrag[transport.ufrag] = transport
        for stale in ufrags[:-2]:
            self._ingress.by_ufrag.pop(stale, None)
        del ufrags[:-2]

    def transport_connected(self, transport: Transport) -> None:
        """Whoever waited for it can start."""
        for subscription in set(transport.senders.values()):
            for publication in (subscription.publication, subscription.target):
                if publication is not None and publication.video:
                    publication.keyframes.want()
        self._feedback_soon()

    def transport_closed(self, transport: Transport) -> None:
        """Its publications and subscriptions end with it."""
        for subscription in set(transport.senders.values()):
            self.unsubscribe(subscription)
        for publication in transport.routes.publications:
            self.unpublish(publication)
        self.outbox.flush()  # what is posted points at the transport's address
        for ufrag in self._ufrags.pop(transport, ()):
            self._ingress.by_ufrag.pop(ufrag, None)
        self._transports.pop(transport, None)
        self._ingress.forget_addresses(transport)

    # --- the loop -------------------------------------------------------------------------------

    def _readable(self) -> None:
        """The socket woke us."""
        now = time.monotonic()
        self._batch(now)
        if self._moderation.woken(now):
            self._loop.remove_reader(self._sock.fileno())
            self._poll_timer = self._loop.call_later(POLL_S, self._poll)

    def _poll(self) -> None:
        """Busy times: look at the socket without being woken by it."""
        # Armed first, so that the work is part of the interval.
        self._poll_timer = timer = self._loop.call_later(POLL_S, self._poll)
        if not self._moderation.polled(self._batch(time.monotonic())):
            timer.cancel()
            self._poll_timer = None
            self._loop.add_reader(self._sock.fileno(), self._readable)

    def _batch(self, now: float) -> int:
        """Read once and forward all of it; how many datagrams there were."""
        lengths = self._inbox.receive()
        if not lengths:
            return 0
        self.counters.wakeups += 1
        touched = self._ingress.handle(lengths, now)
        for publication in touched:
            publication.forward()
        self.outbox.flush()
        for publication in touched:
            if publication.reception.missing or publication.keyframes.wanted:
                self._feedback_soon()
                break
        return len(lengths)

    def _congested(self) -> None:
        self._loop.add_writer(self._sock.fileno(), self._writable)

    def _writable(self) -> None:
        if self.outbox.drain():
            self._loop.remove_writer(self._sock.fileno())

    def _feedback_soon(self) -> None:
        """Look at NACKs and keyframe requests before the next tick."""
        if self._feedback_timer is None and not self._closed:
            self._feedback_timer = self._loop.call_later(0.01, self._give_feedback)

    def _give_feedback(self) -> None:
        self._feedback_timer = None
        now = time.monotonic()
        for publication in self._publications:
            if publication.reception.missing or publication.keyframes.wanted:
                reports.feedback(publication, self.counters, now)
        self.outbox.flush()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick)
        now, wallclock_s = time.monotonic(), time.time()
        self._give_feedback()
        for transport in tuple(self._transports):
            why = transport.expired(now)
            if why is not None:
                transport.fail(why)
                continue
            reports.receiver_report(transport, now)
        compounds: dict[Transport, bytes] = {}
        for subscription in self._subscriptions:
            report = reports.sender_report(subscription, now, wallclock_s)
            if report:
                transport = subscription.transport
                compounds[transport] = compound = compounds.get(transport, b"") + report
                if len(compound) > rtcp.COMPOUND_MAX_BYTES:
                    transport.send_rtcp(compounds.pop(transport))
        for transport, compound in compounds.items():
            transport.send_rtcp(compound)
