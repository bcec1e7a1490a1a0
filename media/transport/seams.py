"""The private parts of aiortc, aioice, pylibsrtp and pyOpenSSL that we use, and nothing else.

Versions are pinned in pyproject.toml; tests/media/transport/test_seams.py names every attribute
touched here and fails loudly on an upgrade. What is needed, and why it cannot be had otherwise:

* ``RTCDtlsTransport`` takes any object with ``role``, ``_recv`` and ``_send``; its role and order
  of SRTP profiles are set before ``start``; its SRTP sessions, keyed from its TLS connection
  (RFC 5764 4.2), are taken out afterwards. Media never enters it.
* pylibsrtp's ``Session`` copies each packet twice; the library underneath works in place on a
  pointer, so packets stay where the kernel put them.
* ``aioice.stun`` is the STUN codec (RFC 8489).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
from aioice import stun
from aioice.ice import get_host_addresses
from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AES128_CM_SHA1_80,
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
)
from OpenSSL import SSL
from pylibsrtp import Error as PylibsrtpError
from pylibsrtp import Policy, Session, _binding

PINNED: Final = {
    "aioice": "0.13.0",
    "aiortc": "1.16.0",
    "pylibsrtp": "1.0.0",
    "pyOpenSSL": "26.4.0",
}

# --- SRTP in place ------------------------------------------------------------------------------

Pointer = Any
"""A cffi pointer; it does not keep alive what it points to."""

protect: Final[Callable[[Pointer, Pointer, Pointer], int]] = _binding.lib.srtp_protect
"""protect(session, packet, length) -> status. In place; *length* grows by the session's tag."""
unprotect: Final[Callable[[Pointer, Pointer, Pointer], int]] = _binding.lib.srtp_unprotect
protect_rtcp: Final[Callable[[Pointer, Pointer, Pointer], int]] = _binding.lib.srtp_protect_rtcp
unprotect_rtcp: Final[Callable[[Pointer, Pointer, Pointer], int]] = _binding.lib.srtp_unprotect_rtcp

# srtp_err_status_t of libsrtp 2 (srtp.h); the binding exports ``ok`` alone.
AUTH_FAILED: Final = 7
REPLAYED: Final = 9
TOO_OLD: Final = 10

TRAILER_MAX_BYTES: Final = 4 + 16 + 128
"""SRTP_MAX_SRTCP_TRAILER_LEN: SRTCP index, tag and MKI."""


class SrtpSession:
    """One direction of SRTP. Keep it alive longer than its ``pointer``."""

    __slots__ = ("_session", "pointer")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.pointer: Pointer = session._srtp[0]

    def seal_rtcp(self, packet: bytes) -> bytes | None:
        """*packet* as SRTCP; None if the library refuses."""
        try:
            sealed: bytes = self._session.protect_rtcp(packet)
        except (PylibsrtpError, ValueError):
            return None
        return sealed

    def forget(self, ssrc: int) -> None:
        """Free the state of *ssrc*, which is never used again: its packet index starts anew, and a
        nonce of AES-GCM must not (RFC 7714 8.1)."""
        _binding.lib.srtp_remove_stream(self.pointer, _swap32(ssrc))


def srtp_session(key: bytes, *, gcm: bool, inbound: bool) -> SrtpSession:
    """A session from master key and salt, as the DTLS handshake would make it (tests, load)."""
    policy = Policy(
        key=key,
        ssrc_type=Policy.SSRC_ANY_INBOUND if inbound else Policy.SSRC_ANY_OUTBOUND,
        srtp_profile=(
            Policy.SRTP_PROFILE_AEAD_AES_128_GCM if gcm else Policy.SRTP_PROFILE_AES128_CM_SHA1_80
        ),
    )
    policy.allow_repeat_tx = True  # a NACK is answered with the very same packet
    policy.window_size = 1024
    return SrtpSession(Session(policy))


def _swap32(value: int) -> int:
    return int.from_bytes(value.to_bytes(4, "big"), "little")


def row_pointers(rows: npt.NDArray[np.uint8]) -> list[Pointer]:
    """A ``void *`` to each row of the C-contiguous 2-D array *rows*."""
    cast, base, stride = _binding.ffi.cast, rows.ctypes.data, rows.strides[0]
    return [cast("void *", base + stride * row) for row in range(rows.shape[0])]


def int_pointers(values: npt.NDArray[np.int32]) -> list[Pointer]:
    """An ``int *`` to each element of the C-contiguous 1-D array *values*."""
    cast, base = _binding.ffi.cast, values.ctypes.data
    return [cast("int *", base + 4 * index) for index in range(values.shape[0])]


# --- addresses ----------------------------------------------------------------------------------


def host_addresses(*, six: bool) -> list[str]:
    """The machine's own addresses, loopback and link-local left out."""
    found: list[str] = get_host_addresses(use_ipv4=not six, use_ipv6=six)
    return found


# --- STUN ---------------------------------------------------------------------------------------

StunMessage = stun.Message
StunClass = stun.Class
StunMethod = stun.Method


def parse_stun(datagram: bytes) -> StunMessage:
    """Parse, and check FINGERPRINT where there is one. Raises ValueError for anything malformed."""
    try:
        return stun.parse_message(datagram)
    except ValueError:
        raise
    except Exception as error:  # struct.error, UnicodeDecodeError (a ValueError), IndexError ...
        raise ValueError(f"malformed STUN message: {error}") from error


# --- DTLS ---------------------------------------------------------------------------------------


class DatagramFace(Protocol):
    """What ``RTCDtlsTransport`` needs of an ICE transport."""

    @property
    def role(self) -> str: ...

    async def _recv(self) -> bytes: ...

    async def _send(self, data: bytes) -> None: ...


class Keyed(NamedTuple):
    """The outcome of a handshake."""

    inbound: SrtpSession
    outbound: SrtpSession
    profile: str
    """As in the DTLS registry: ``SRTP_AEAD_AES_128_GCM`` ..."""


class DtlsError(Exception):
    """The handshake failed; the text says where."""


# As DTLS server our order decides. AES-128-GCM costs 0.8 us per packet less than AES-CM with SHA-1.
_PROFILES: Final = [SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80]


class DtlsCertificate:
    """The node's certificate, one for all transports of its life."""

    def __init__(self) -> None:
        self.certificate = RTCCertificate.generateCertificate()
        self.fingerprint: str = next(
            f.value for f in self.certificate.getFingerprints() if f.algorithm == "sha-256"
        )


class DtlsServer:
    """One DTLS association with us as server (``setup:passive``)."""

    def __init__(self, face: DatagramFace, certificate: DtlsCertificate) -> None:
        self._dtls = RTCDtlsTransport(cast(Any, face), [certificate.certificate])
        self._dtls._srtp_profiles = _PROFILES
        self._dtls._set_role("server")
        self._ended: Callable[[], None] | None = None
        self._dtls.on("statechange", self._state_changed)

    async def handshake(self, fingerprints: Sequence[tuple[str, str]]) -> Keyed:
        """Answer the peer's handshake; its certificate must match all *fingerprints* whose hash is
        known (RFC 8122 6.2). Raises DtlsError. Has no time limit of its own."""
        try:
            await self._dtls.start(
                RTCDtlsParameters(
                    fingerprints=[RTCDtlsFingerprint(name, value) for name, value in fingerprints]
                )
            )
        except SSL.Error as error:
            raise DtlsError(f"the DTLS handshake failed: {error}") from error
        if self._dtls.state != "connected":
            raise DtlsError(f"the DTLS handshake ended {self._dtls.state}")
        assert self._dtls._ssl is not None
        return Keyed(
            SrtpSession(self._dtls._rx_srtp),
            SrtpSession(self._dtls._tx_srtp),
            self._dtls._ssl.get_selected_srtp_profile().decode(),
        )

    def on_ended(self, callback: Callable[[], None]) -> None:
        """Call *callback* when the peer closes the association."""
        self._ended = callback

    async def stop(self) -> None:
        """Send close_notify and end the pump."""
        self._ended = None
        task: asyncio.Future[None] | None = self._dtls._task
        await self._dtls.stop()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    def _state_changed(self) -> None:
        if self._dtls.state == "closed" and self._ended is not None:
            self._ended()
