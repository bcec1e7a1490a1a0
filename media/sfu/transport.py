"""One participant's transport: ICE-lite, DTLS and SRTP over the plane's one UDP port."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from media.rtp.clock import PublisherClock
from media.sfu.counters import PlaneCounters
from media.sfu.routes import Routes
from media.transport import addresses
from media.transport.addresses import AddressKey
from media.transport.ice import Check, IceSession
from media.transport.outbox import Outbox
from media.transport.seams import DtlsCertificate, DtlsError, DtlsServer, Keyed, SrtpSession

if TYPE_CHECKING:
    from media.sfu.publication import Publication
    from media.sfu.subscription import Subscription

DTLS_QUEUE_MAX: Final = 32
"""Datagrams of a handshake not yet read: several flights, none of which has ten."""


class TransportObserver(Protocol):
    """Who is told how a transport fares. Each is called at most once, outside the hot path."""

    def connected(self, transport: "Transport") -> None:
        """ICE and DTLS are up."""

    def failed(self, transport: "Transport", why: str) -> None:
        """It never came up, its peer closed it, or its consent expired. It is closed by now."""


class Link(Protocol):
    """What a transport needs of the plane."""

    @property
    def certificate(self) -> DtlsCertificate: ...

    @property
    def outbox(self) -> Outbox: ...

    @property
    def counters(self) -> PlaneCounters: ...

    def credentials_changed(self, transport: "Transport") -> None: ...

    def transport_connected(self, transport: "Transport") -> None: ...

    def transport_closed(self, transport: "Transport") -> None: ...

    def spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]": ...

    def now(self) -> float: ...


class Transport:
    """Made by ``MediaPlane.create_transport``."""

    role: Final = "controlled"
    """Read by the DTLS seam."""

    def __init__(self, link: Link, observer: TransportObserver, timeout_s: float) -> None:
        self._link = link
        self._observer: TransportObserver | None = observer
        self._timeout_s = timeout_s
        self.ice: Final = IceSession()
        self.connected = False
        """ICE and DTLS are up: media flows."""
        self.closed = False
        self.deadline_s: float | None = None
        """When ICE and DTLS must be up; set by ``set_remote``."""
        self.profile = ""
        self.inbound: SrtpSession | None = None
        self.outbound: SrtpSession | None = None
        self.routes: Final[Routes[Publication]] = Routes()
        self.clock: Final = PublisherClock()
        self.senders: Final[dict[int, Subscription]] = {}
        """Subscriptions by media and RTX ssrc."""
        self._used_ssrcs: set[int] = set()
        self.report_due_s = 0.0
        self.reports_sent = 0
        self.sender_reports: Final[dict[int, tuple[int, float]]] = {}
        """Of this publisher, by ssrc: middle 32 bits of the NTP time, and when it was heard."""
        self._sockaddr = np.zeros(addresses.SOCKADDR_MAX_BYTES, np.uint8)
        self.name_address: Final = int(self._sockaddr.ctypes.data)
        """Where our columns find its sockaddr; written in place when the address changes."""
        self._datagrams: asyncio.Queue[bytes | None] = asyncio.Queue(DTLS_QUEUE_MAX)
        self._dtls: DtlsServer | None = None
        self._fingerprints: tuple[tuple[str, str], ...] = ()
        self._handshake: asyncio.Task[None] | None = None

    # --- for callers ----------------------------------------------------------------------------

    @property
    def ufrag(self) -> str:
        return self.ice.credentials.ufrag

    @property
    def pwd(self) -> str:
        return self.ice.credentials.pwd

    @property
    def fingerprint(self) -> str:
        """Sha-256 of our certificate, ``AA:BB:...``."""
        return self._link.certificate.fingerprint

    def set_remote(
        self,
        fingerprints: Sequence[tuple[str, str]],
        *,
        remote_ufrag: str,
        remote_pwd: str,
    ) -> None:
        """What the peer's description says. The DTLS handshake begins as soon as ICE has proven an
        address; ``failed`` is called if both are not up within the transport timeout.

        *fingerprints* are (algorithm, value); at least one. Calling it again (an ICE restart, a
        renegotiation) changes the ICE part alone. *remote_pwd* is not needed by an ICE-lite agent,
        which sends no checks.
        """
        del remote_pwd
        self.ice.remote_ufrag = remote_ufrag
        if not self._fingerprints:
            self._fingerprints = tuple(fingerprints)
            self.deadline_s = self._link.now() + self._timeout_s
        self._advance()

    def restart_ice(self) -> tuple[str, str]:
        """New (ufrag, pwd) for an ICE restart; media flows on meanwhile."""
        credentials = self.ice.restart()
        self._link.credentials_changed(self)
        return credentials.ufrag, credentials.pwd

    def close(self) -> None:
        """End it without a word to the observer. Its publications and subscriptions end too."""
        if self.closed:
            return
        self.closed = True
        self.connected = False
        self._observer = None
        self._put(None)
        if self._handshake is not None:
            self._handshake.cancel()
        self._link.transport_closed(self)
        if self._dtls is not None:
            self._link.spawn(self._dtls.stop())

    # --- for the plane --------------------------------------------------------------------------

    def handle_check(self, check: Check, source: AddressKey) -> None:
        """Answer a connectivity check. Raises BadCheck."""
        response = self.ice.handle_check(check, source, self._link.now())
        self._link.outbox.send_datagram(response, source)
        self.address_selected()
        self._advance()

    def address_selected(self) -> None:
        """Let the columns send to the selected address."""
        selected = self.ice.selected
        if selected is not None:
            self._sockaddr[: len(selected)] = np.frombuffer(selected, np.uint8)

    def handle_dtls(self, datagram: bytes) -> str | None:
        """A DTLS datagram from a proven address. A drop reason, or None."""
        return self._put(datagram)

    def expired(self, now: float) -> str | None:
        """Why it has failed by *now*, or None."""
        if self.connected:
            heard_s = self.ice.checked_at_s
            if heard_s is not None and now - heard_s > self._timeout_s:
                return "consent_expired"
        elif self.deadline_s is not None and now > self.deadline_s:
            return "ice_timeout" if self.ice.selected is None else "dtls_timeout"
        return None

    def fail(self, why: str) -> None:
        """Close, and tell the observer."""
        observer = self._observer
        self.close()
        if observer is not None:
            self._link.counters.transports_failed += 1
            observer.failed(self, why)

    def use_ssrc(self, ssrc: int) -> None:
        """Take *ssrc* for sending. Raises ValueError if this transport ever sent by it: its packet
        numbers would begin anew under the same key (RFC 3711 9.1)."""
        if ssrc in self._used_ssrcs:
            raise ValueError(f"ssrc {ssrc} was used on this transport before")
        self._used_ssrcs.add(ssrc)

    def send_rtcp(self, compound: bytes) -> None:
        """Encrypt and send *compound*; nothing happens before the transport is up."""
        selected = self.ice.selected
        if self.outbound is None or selected is None or self.closed:
            return
        sealed = self.outbound.seal_rtcp(compound)
        if sealed is None:
            self._link.outbox.counters.protect_failed += 1
        else:
            self._link.outbox.send_datagram(sealed, selected)

    def send_rtp(self, packet: bytes) -> None:
        """Encrypt and post one plain packet, outside the columns."""
        if self.outbound is not None and self.connected:
            self._link.outbox.add(packet, self.outbound.pointer, self.name_address)

    # --- the DTLS seam --------------------------------------------------------------------------

    async def _recv(self) -> bytes:
        datagram = await self._datagrams.get()
        if datagram is None:
            raise ConnectionError("the transport is closed")
        return datagram

    async def _send(self, data: bytes) -> None:
        selected = self.ice.selected
        if selected is not None:
            self._link.outbox.send_datagram(data, selected)

    # --- inside ---------------------------------------------------------------------------------

    def _put(self, datagram: bytes | None) -> str | None:
        try:
            self._datagrams.put_nowait(datagram)
        except asyncio.QueueFull:
            return "dtls_queue_full"
        return None

    def _advance(self) -> None:
        if (
            self._handshake is None
            and not self.closed
            and self._fingerprints
            and self.ice.selected is not None
        ):
            self._handshake = self._link.spawn(self._run_handshake())

    async def _run_handshake(self) -> None:
        self._dtls = DtlsServer(self, self._link.certificate)
        try:
            keyed = await self._dtls.handshake(self._fingerprints)
        except DtlsError as error:
            self.fail(str(error))
            return
        if self.closed:
            return
        self._dtls.on_ended(lambda: self.fail("closed_by_peer"))
        self.adopt(keyed)

    def adopt(self, keyed: Keyed) -> None:
        """Take the outcome of a handshake: media flows from now on."""
        self.inbound, self.outbound, self.profile = keyed
        self.connected = True
        self._link.transport_connected(self)
        observer = self._observer
        if observer is not None:
            observer.connected(self)
