"""A connected transport as a measurement sees it: a socket on the engine, two SRTP sessions."""

import time
from collections.abc import Awaitable, Callable

from pylibsrtp import Policy, Session

from tests.bench.engine import Address, Engine, SocketIndex

SRTP_PROFILES = {
    "gcm128": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
    "sha1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
}
"""Name on the command line -> libsrtp's profile, length of key and salt in bytes."""


def srtp_session(profile: str, key: bytes, *, outbound: bool) -> Session:
    """A session for every ssrc of one direction under one key."""
    kind = Policy.SSRC_ANY_OUTBOUND if outbound else Policy.SSRC_ANY_INBOUND
    return Session(Policy(key=key, ssrc_type=kind, srtp_profile=SRTP_PROFILES[profile][0]))


class Endpoint:
    """Send by :attr:`remote`, read by the engine's counters of :attr:`index`."""

    def __init__(
        self,
        *,
        engine: Engine,
        index: SocketIndex,
        fd: int,
        remote: Address,
        send: Callable[[bytes, Address], None],
        outbound: Session,
        inbound: Session,
        began_ns: int,
        ended: Callable[[], Awaitable[None]],
    ) -> None:
        self.engine = engine
        self.index = index
        self.fd = fd
        self.remote = remote
        self.began_ns = began_ns
        """Wallclock, when the join began: the first byte of signaling comes after it."""
        self.connected_ns = time.time_ns()
        self.captured = False
        self._send = send
        self._outbound = outbound
        self._inbound = inbound
        self._ended = ended
        self._open = True

    def protect(self, rtp: bytes) -> bytes:
        return self._outbound.protect(rtp)

    def unprotect(self, srtp: bytes) -> bytes:
        """pylibsrtp.Error for what was not sent to us."""
        return self._inbound.unprotect(srtp)

    def unprotect_rtcp(self, srtcp: bytes) -> bytes:
        return self._inbound.unprotect_rtcp(srtcp)

    def send_rtcp(self, compound: bytes) -> None:
        """From the event loop's thread; nothing once closed."""
        if self._open:
            self._send(self._outbound.protect_rtcp(compound), self.remote)

    async def close(self) -> None:
        if self._open:
            self._open = False
            await self._ended()
