"""RTP packets (RFC 3550 5.1) and their header extensions (RFC 8285), apart and together: sans-IO.

A ``Packet`` is what is forwarded: CSRCs and the extension block are
gone from it, the understood elements stand beside the payload, padding stays inside it.
"""

import struct
from typing import Final

HEADER_BYTES: Final = 12
ONE_BYTE_PROFILE: Final = 0xBEDE
TWO_BYTE_PROFILE: Final = 0x1000
PADDING_BIT: Final = 0x20
EXTENSION_BIT: Final = 0x10
MARKER_BIT: Final = 0x80

read_header: Final = struct.Struct("!BBHII").unpack_from
"""(first byte, marker and payload type, sequence, timestamp, ssrc)."""
write_header: Final = struct.Struct("!BBHII").pack
"""The same, written."""
_read_profile: Final = struct.Struct("!HH").unpack_from
_write_profile: Final = struct.Struct("!HH").pack

Header = tuple[int, int, int, int, int]
"""As ``read_header`` reads it."""
Element = tuple[int, bytes]
"""One header extension element: (id, value)."""


class Packet:
    """A received packet, as it is forwarded. Written once, and gone with its wake-up."""

    __slots__ = ("elements", "extended", "marker", "padding", "payload", "timestamp")

    def __init__(
        self,
        extended: int,
        timestamp: int,
        marker: int,
        padding: int,
        elements: tuple[Element, ...],
        payload: bytes,
    ) -> None:
        self.extended = extended
        """The publisher's sequence number, unwrapped."""
        self.timestamp = timestamp
        self.marker = marker
        """0x80 or 0."""
        self.padding = padding
        """0x20 if the payload ends with padding (RFC 3550 5.1), or 0."""
        self.elements = elements
        self.payload = payload

    def first(self, block: bytes) -> int:
        """The first byte of the packet with extension *block*."""
        return 0x90 | self.padding if block else 0x80 | self.padding


NO_ELEMENTS: Final[tuple[Element, ...]] = ()


def split(datagram: bytes, first: int) -> tuple[int, tuple[Element, ...]] | None:
    """Where the payload of *datagram* begins, and its extension elements.

    None if the header does not fit the packet.
    """
    end = len(datagram)
    at = HEADER_BYTES + 4 * (first & 0x0F)
    if at > end:
        return None
    if not first & EXTENSION_BIT:
        return at, NO_ELEMENTS
    if at + 4 > end:
        return None
    profile, words = _read_profile(datagram, at)
    at += 4
    block_end = at + 4 * words
    if block_end > end:
        return None
    if profile == ONE_BYTE_PROFILE:
        return block_end, _one_byte_elements(datagram, at, block_end)
    if profile & 0xFFF0 == TWO_BYTE_PROFILE:
        return block_end, _two_byte_elements(datagram, at, block_end)
    return block_end, NO_ELEMENTS


def parse(datagram: bytes, extended: int) -> Packet | None:
    """Plain RTP *datagram* as a packet with the number *extended*; None if it is malformed."""
    if len(datagram) < HEADER_BYTES:
        return None
    first, second, _, timestamp, _ = read_header(datagram)
    parts = split(datagram, first)
    if parts is None:
        return None
    return Packet(extended, timestamp, second & 0x80, first & 0x20, parts[1], datagram[parts[0] :])


def _one_byte_elements(data: bytes, at: int, end: int) -> tuple[Element, ...]:
    """RFC 8285 4.2. An element that overruns its block ends the reading."""
    elements = []
    while at < end:
        head = data[at]
        if head == 0:  # padding
            at += 1
            continue
        if head >= 0xF0:  # id 15: reserved, stop
            break
        after = at + 2 + (head & 0x0F)
        if after > end:
            break
        elements.append((head >> 4, data[at + 1 : after]))
        at = after
    return tuple(elements)


def _two_byte_elements(data: bytes, at: int, end: int) -> tuple[Element, ...]:
    """RFC 8285 4.3."""
    elements = []
    while at < end:
        identifier = data[at]
        if identifier == 0:
            at += 1
            continue
        if at + 2 > end:
            break
        after = at + 2 + data[at + 1]
        if after > end:
            break
        elements.append((identifier, data[at + 2 : after]))
        at = after
    return tuple(elements)


def extension_block(elements: list[Element]) -> bytes:
    """The extension block with *elements* in their order, or nothing at all for none.

    The one-byte form where it can hold them, else the two-byte form (RFC 8285 4.1.2; both ends
    agreed to it if an id above 14 or a value above 16 bytes was negotiated)."""
    if not elements:
        return b""
    if all(identifier <= 14 and 1 <= len(value) <= 16 for identifier, value in elements):
        profile = ONE_BYTE_PROFILE
        body = b"".join(
            bytes((identifier << 4 | len(value) - 1,)) + value for identifier, value in elements
        )
    else:
        profile = TWO_BYTE_PROFILE
        body = b"".join(bytes((identifier, len(value))) + value for identifier, value in elements)
    body += bytes(-len(body) % 4)
    return _write_profile(profile, len(body) // 4) + body


def assemble(
    packet: Packet,
    *,
    payload_type: int,
    sequence: int,
    timestamp: int,
    ssrc: int,
    block: bytes = b"",
    prefix: bytes = b"",
) -> bytes:
    """*packet* as plain RTP with another header; *prefix* goes before the payload (RFC 4588)."""
    return (
        write_header(
            packet.first(block),
            packet.marker | payload_type,
            sequence & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            ssrc,
        )
        + block
        + prefix
        + packet.payload
    )
