"""Receive: one recvmmsg(2) into a preallocated array, and what RFC 7983 makes of a first byte."""

import socket
from enum import IntEnum
from typing import Final

import numpy as np

from media.transport import addresses, mmsg, seams

ROWS: Final = 128
"""Datagrams per wake-up; what is left wakes us again."""
DATAGRAM_MAX_BYTES: Final = 1536
"""An Ethernet frame's worth; whatever is longer was cut by the kernel and is dropped."""


class Kind(IntEnum):
    """What a datagram is, by its first byte (RFC 7983 7)."""

    NOISE = 0
    STUN = 1
    DTLS = 2
    MEDIA = 3
    """RTP or RTCP; their second byte tells which: 192 to 223 is RTCP (RFC 5761 4)."""


def _kind(first: int) -> Kind:
    if first <= 3:
        return Kind.STUN
    if 20 <= first <= 63:
        return Kind.DTLS
    if 128 <= first <= 191:
        return Kind.MEDIA
    return Kind.NOISE


KIND_OF: Final = tuple(_kind(first) for first in range(256))


class Inbox:
    """The last batch of datagrams. Row *i* is valid until the next ``receive``.

    ``data`` is one flat view of all rows; row *i*'s datagram begins at ``starts[i]``. ``lengths``
    is what the SRTP library writes back to. Arrays outlive every pointer taken from them.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._fd = sock.fileno()
        stride = DATAGRAM_MAX_BYTES
        self._rows = np.zeros((ROWS, stride), np.uint8)
        self.data = self._rows.data.cast("B")
        self.starts = tuple(row * stride for row in range(ROWS))
        self.pointers = seams.row_pointers(self._rows)
        self._lengths = np.zeros(ROWS, np.int32)
        self.lengths = self._lengths.data
        self.length_pointers = seams.int_pointers(self._lengths)

        self._names = np.zeros((ROWS, addresses.SOCKADDR_MAX_BYTES), np.uint8)
        self._name_bytes = self._names.data.cast("B")
        key_bytes = addresses.key_length(sock.family)
        self._name_slices = tuple(
            slice(
                row * addresses.SOCKADDR_MAX_BYTES, row * addresses.SOCKADDR_MAX_BYTES + key_bytes
            )
            for row in range(ROWS)
        )
        self._iov = np.zeros(ROWS, mmsg.IOVEC)
        self._iov["base"] = self._rows.ctypes.data + stride * np.arange(ROWS)
        self._iov["len"] = DATAGRAM_MAX_BYTES
        self._headers = np.zeros(ROWS, mmsg.MMSGHDR)
        self._headers["name"] = self._names.ctypes.data + addresses.SOCKADDR_MAX_BYTES * np.arange(
            ROWS
        )
        self._headers["namelen"] = addresses.SOCKADDR_MAX_BYTES
        self._headers["iov"] = self._iov.ctypes.data + mmsg.IOVEC_BYTES * np.arange(ROWS)
        self._headers["iovlen"] = 1
        self._address = self._headers.ctypes.data
        words = mmsg.MMSGHDR_BYTES // 4
        self._words = self._headers.view(np.int32).data
        self._flag_words = tuple(words * row + mmsg.FLAGS_WORD for row in range(ROWS))
        self._length_words = tuple(words * row + mmsg.LENGTH_WORD for row in range(ROWS))

    def receive(self) -> list[int]:
        """Read what is there: one length per datagram, -1 for one that was too long. Empty if
        nothing was there (or an ICMP error of an earlier send was reported here)."""
        count = mmsg.recvmmsg(self._fd, self._address, ROWS)
        if count <= 0:
            return []
        # Without numpy: most batches are one or two, and a column's code would be cold by then.
        lengths, words = self.lengths, self._words
        received = []
        for row in range(count):
            lengths[row] = length = words[self._length_words[row]]
            received.append(-1 if words[self._flag_words[row]] & mmsg.MSG_TRUNC else length)
        return received

    def source(self, row: int) -> addresses.AddressKey:
        """Who sent datagram *row*."""
        return addresses.AddressKey(bytes(self._name_bytes[self._name_slices[row]]))

    def datagram(self, row: int, length: int) -> bytes:
        """A copy of datagram *row*."""
        start = self.starts[row]
        return bytes(self.data[start : start + length])
