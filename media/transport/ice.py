"""ICE-lite (RFC 8445 2.5): we answer connectivity checks and learn addresses from nothing else.
A sans-IO core.

One ``IceSession`` per transport decides, on bytes and an address, what to answer and
whether the peer's address is now proven. The controlling peer does the rest.
"""

import secrets
import string
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from media.transport import addresses
from media.transport.addresses import AddressKey
from media.transport.seams import StunClass, StunMessage, StunMethod, parse_stun

ADDRESSES_MAX: Final = 8
"""Proven addresses kept per transport; the least recently checked goes first."""

_ALPHABET: Final = string.ascii_letters + string.digits


class BadCheck(Exception):
    """A STUN message that is dropped; ``reason`` is its counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason


class Check(NamedTuple):
    """A well-formed binding request, not yet authenticated."""

    message: StunMessage
    local_ufrag: str
    remote_ufrag: str


def parse_check(datagram: bytes) -> Check:
    """A connectivity check (RFC 8445 7.3). Raises BadCheck for all that is none."""
    try:
        message = parse_stun(datagram)
    except ValueError:
        raise BadCheck("malformed") from None
    if message.message_method != StunMethod.BINDING or message.message_class != StunClass.REQUEST:
        # We send no checks, so nothing is an answer; indications keep NAT bindings open.
        raise BadCheck("not_a_request")
    local, colon, remote = message.attributes.get("USERNAME", "").partition(":")
    if not colon or "FINGERPRINT" not in message.attributes:  # both are due: RFC 8445 7.1.2, 7.2.2
        raise BadCheck("malformed")
    return Check(message, local, remote)


@dataclass(slots=True)
class IceCredentials:
    """RFC 8839 5.4: at least 24 bits of ufrag and 128 bits of password."""

    ufrag: str
    pwd: str


def new_credentials() -> IceCredentials:
    """Credentials for one ICE session: 47 bits of ufrag, 142 of password."""
    return IceCredentials(
        "".join(secrets.choice(_ALPHABET) for _ in range(8)),
        "".join(secrets.choice(_ALPHABET) for _ in range(24)),
    )


class IceSession:
    """What one transport knows of its peer's addresses."""

    def __init__(self) -> None:
        self.credentials: IceCredentials = new_credentials()
        self.previous: IceCredentials | None = None
        """During a restart the old ones are good until the new ones are used (RFC 8445 9)."""
        self.remote_ufrag: str | None = None
        self.selected: AddressKey | None = None
        """Where we send: the first address proven, then the one last nominated."""
        self.checked_at_s: float | None = None
        """When the last authenticated check came (consent, RFC 7675)."""
        self.addresses: OrderedDict[AddressKey, None] = OrderedDict()
        self.forgotten: list[AddressKey] = []
        """Addresses no longer proven, for the owner of the address table to take."""

    def restart(self) -> IceCredentials:
        """New credentials (RFC 8445 9); media goes on to the selected address meanwhile."""
        self.previous = self.credentials
        self.credentials = new_credentials()
        self.remote_ufrag = None
        return self.credentials

    def handle_check(self, check: Check, source: AddressKey, now: float) -> bytes:
        """Authenticate *check* from *source* and return the response.

        Afterwards *source* is proven, and selected if it is the first or was nominated. Raises
        BadCheck without having changed anything if the integrity or the peer's ufrag is wrong.
        """
        credentials = self._credentials_for(check.local_ufrag)
        if not check.message.check_message_integrity(credentials.pwd.encode()):
            raise BadCheck("bad_integrity")
        current = credentials is self.credentials
        if current and self.remote_ufrag is not None and check.remote_ufrag != self.remote_ufrag:
            raise BadCheck("wrong_username")
        attributes = check.message.attributes
        if "ICE-CONTROLLED" in attributes:
            # RFC 8445 7.3.1.1: we are lite and never control, so the peer must.
            return _response(check.message, credentials, error=(487, "Role Conflict"))
        self.checked_at_s = now
        restarted = current and self.previous is not None
        if restarted:
            self.previous = None
        self.addresses[source] = None
        self.addresses.move_to_end(source)
        if self.selected is None or restarted or "USE-CANDIDATE" in attributes:
            self.selected = source
        while len(self.addresses) > ADDRESSES_MAX:
            oldest = next(key for key in self.addresses if key != self.selected)
            del self.addresses[oldest]
            self.forgotten.append(oldest)
        return _response(check.message, credentials, mapped=addresses.unpack(source))

    def _credentials_for(self, ufrag: str) -> IceCredentials:
        if ufrag == self.credentials.ufrag:
            return self.credentials
        if self.previous is not None and ufrag == self.previous.ufrag:
            return self.previous
        raise BadCheck("wrong_username")


def _response(
    request: StunMessage,
    credentials: IceCredentials,
    *,
    mapped: tuple[str, int] | None = None,
    error: tuple[int, str] | None = None,
) -> bytes:
    response = StunMessage(
        message_method=StunMethod.BINDING,
        message_class=StunClass.RESPONSE if error is None else StunClass.ERROR,
        transaction_id=request.transaction_id,
    )
    if error is not None:
        response.attributes["ERROR-CODE"] = error
    if mapped is not None:
        response.attributes["XOR-MAPPED-ADDRESS"] = mapped
    response.add_message_integrity(credentials.pwd.encode())
    return bytes(response)
