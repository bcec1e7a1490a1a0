"""One WebRTC transport: ICE by aioice, DTLS by aiortc, on a socket that the packet engine reads.

The only place of the load generator that touches private parts of these two libraries.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import aioice.ice
from aiortc import RTCCertificate
from aiortc.rtcdtlstransport import (
    SRTP_PROFILES,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
)
from aiortc.rtcdtlstransport import SRTPProtectionProfile as SrtpProfile

from tests.bench.descriptions import LocalTransport, parse_answer
from tests.bench.endpoint import SRTP_PROFILES as SRTP_NAMES
from tests.bench.endpoint import Endpoint
from tests.bench.engine import Engine, SocketIndex

HANDSHAKE_TIMEOUT_S = 15.0
FIRST_RESEND_S = 0.05
"""Browsers resend a lost DTLS flight after 50 ms (OpenSSL: 1 s), doubling."""


def use_local_address(address: str) -> None:
    """Let ICE gather this address alone (aioice never gathers loopback by itself)."""

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return [address]

    aioice.ice.get_host_addresses = addresses


def _profiles(name: str) -> list[SrtpProfile]:
    wanted = SRTP_NAMES[name][0]
    profiles = [p for p in SRTP_PROFILES if p.libsrtp_profile == wanted]
    if not profiles:
        raise RuntimeError(f"libsrtp was built without {name}")
    return profiles


class _IceForDtls:
    """All that RTCDtlsTransport asks of an ICE transport."""

    role = "controlling"

    def __init__(self, connection: aioice.Connection) -> None:
        self._connection = connection
        self._flight: list[bytes] = []
        self._handshaking = True
        self._wait_s = FIRST_RESEND_S
        self.resends = 0

    def handshake_over(self) -> None:
        self._handshaking = False
        self._flight.clear()

    async def _send(self, data: bytes) -> None:
        if self._handshaking:
            self._flight.append(data)
        await self._connection.send(data)

    async def _recv(self) -> bytes:
        while self._handshaking:
            try:
                data = await asyncio.wait_for(self._connection.recv(), self._wait_s)
            except TimeoutError:
                self._wait_s = min(2 * self._wait_s, 1.0)
                self.resends += bool(self._flight)
                for datagram in self._flight:
                    await self._connection.send(datagram)
            else:
                self._flight.clear()
                return data
        return await self._connection.recv()


class Association:
    """Gather, offer, connect; the result is an :class:`Endpoint`."""

    def __init__(self, engine: Engine, certificate: RTCCertificate, srtp: str) -> None:
        self._engine = engine
        self._certificate = certificate
        self._began_ns = time.time_ns()
        self._connection = aioice.Connection(ice_controlling=True)
        self._ice = _IceForDtls(self._connection)
        self._dtls = RTCDtlsTransport(cast(Any, self._ice), [certificate])
        self._dtls._srtp_profiles = _profiles(srtp)
        self._index: SocketIndex | None = None
        self._endpoint: Endpoint | None = None
        self._fd = -1
        self.on_rtcp: Callable[[bytes], None] | None = None
        """Called with each decrypted compound; set before :meth:`gather` to have any."""

    async def gather(self, *, min_bytes: int, capture: bool = False) -> LocalTransport:
        """Open the socket and hand it to the engine; RTP from *min_bytes* on is media."""
        await self._connection.gather_candidates()
        protocol = self._connection._protocols[0]
        self._fd = protocol.transport.get_extra_info("socket").fileno()
        cast(Any, asyncio.get_running_loop())._remove_reader(self._fd)
        self._index = self._engine.add_socket(
            self._fd,
            min_bytes=min_bytes,
            capture=capture,
            control=protocol.datagram_received,
            rtcp=self._rtcp if self.on_rtcp is not None else None,
        )
        fingerprints = self._certificate.getFingerprints()
        return LocalTransport(
            ufrag=self._connection.local_username,
            password=self._connection.local_password,
            fingerprint=next(f.value for f in fingerprints if f.algorithm == "sha-256"),
            candidates=[c.to_sdp() for c in self._connection.local_candidates],
        )

    def _rtcp(self, data: bytes) -> None:
        if self._endpoint is not None and self.on_rtcp is not None:
            self.on_rtcp(self._endpoint.unprotect_rtcp(data))

    async def connect(self, answer: str, *, remote_prefix: str = "127.") -> Endpoint:
        """ICE and DTLS with who wrote *answer*, over its first UDP candidate on that prefix.

        RuntimeError or TimeoutError when it does not come up; the caller closes.
        """
        remote = parse_answer(answer)
        parsed = [aioice.Candidate.from_sdp(c) for c in remote.candidates]
        near = [
            c
            for c in parsed
            if c.component == 1
            and c.transport.lower() == "udp"
            and c.host.startswith(remote_prefix)
        ]
        if not near:
            raise RuntimeError(f"no UDP candidate on {remote_prefix}*: {remote.candidates}")
        connection = self._connection
        connection.remote_is_lite = remote.ice_lite
        connection.remote_username, connection.remote_password = remote.ufrag, remote.password
        await connection.add_remote_candidate(near[0])
        await connection.add_remote_candidate(None)
        await asyncio.wait_for(connection.connect(), HANDSHAKE_TIMEOUT_S)
        # RFC 5763 5: who answers active is the DTLS client.
        self._dtls._set_role("server" if remote.setup == "active" else "client")
        fingerprints = [RTCDtlsFingerprint(a, v) for a, v in remote.fingerprints]
        await asyncio.wait_for(
            self._dtls.start(RTCDtlsParameters(fingerprints=fingerprints)), HANDSHAKE_TIMEOUT_S
        )
        if self._dtls.state != "connected":
            raise RuntimeError(f"DTLS is {self._dtls.state}")
        self._ice.handshake_over()
        assert self._index is not None, "gather comes first"
        self._endpoint = Endpoint(
            engine=self._engine,
            index=self._index,
            fd=self._fd,
            remote=(near[0].host, near[0].port),
            send=self._connection._protocols[0].transport.sendto,
            outbound=self._dtls._tx_srtp,
            inbound=self._dtls._rx_srtp,
            began_ns=self._began_ns,
            ended=self.close,
        )
        return self._endpoint

    @property
    def resends(self) -> int:
        """Handshake flights sent again."""
        return self._ice.resends

    async def close(self) -> None:
        with suppress(ConnectionError):
            await self._dtls.stop()
        if self._index is not None:
            self._engine.remove_socket(self._index)
            self._index = None
        await self._connection.close()
