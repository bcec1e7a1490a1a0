"""Socket addresses as the kernel writes them, so that a peer is found without making strings.

A *key* is the leading bytes of a ``sockaddr`` that name family, port and address; for IPv4 the
first 8, for IPv6 the first 24 (flow information included, which the kernel leaves zero) and the
scope.
"""

import ipaddress
import socket
import struct
from typing import Final, NewType

AddressKey = NewType("AddressKey", bytes)

SOCKADDR_MAX_BYTES: Final = 32
"""Room per address; sockaddr_in6 has 28 bytes."""


def key_length(family: int) -> int:
    """How many bytes of a sockaddr of *family* tell addresses apart."""
    return 8 if family == socket.AF_INET else 28


def sockaddr_length(family: int) -> int:
    """What the kernel wants as ``msg_namelen``."""
    return 16 if family == socket.AF_INET else 28


def pack(host: str, port: int) -> AddressKey:
    """The key of a numeric address. Raises ValueError for a name."""
    address = ipaddress.ip_address(host)
    if address.version == 4:
        return AddressKey(struct.pack("=HH", socket.AF_INET, socket.htons(port)) + address.packed)
    return AddressKey(
        struct.pack("=HHI", socket.AF_INET6, socket.htons(port), 0) + address.packed + bytes(4)
    )


def unpack(key: AddressKey) -> tuple[str, int]:
    """The numeric host and port of *key*, as ``sendto`` takes them."""
    family, port = struct.unpack_from("=HH", key)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, key[4:8]), socket.ntohs(port)
    return socket.inet_ntop(socket.AF_INET6, key[8:24]), socket.ntohs(port)
