"""recvmmsg(2) and sendmmsg(2) by ctypes on numpy arrays laid out like the kernel's structs.

The layouts are those of 64-bit Linux (x86-64 and AArch64): ``struct mmsghdr`` is 64 bytes,
``struct iovec`` 16.
"""

import ctypes
import os
from typing import Final

import numpy as np

MMSGHDR: Final = np.dtype(
    [
        ("name", "u8"),
        ("namelen", "u4"),
        ("_pad0", "u4"),
        ("iov", "u8"),
        ("iovlen", "u8"),
        ("control", "u8"),
        ("controllen", "u8"),
        ("flags", "i4"),
        ("_pad1", "u4"),
        ("len", "u4"),
        ("_pad2", "u4"),
    ]
)
IOVEC: Final = np.dtype([("base", "u8"), ("len", "u8")])
MMSGHDR_BYTES: Final = 64
IOVEC_BYTES: Final = 16
FLAGS_WORD: Final = 12
LENGTH_WORD: Final = 14
"""Where ``flags`` and ``len`` are in a header seen as 32-bit words."""
NAME_WORD: Final = 0
IOV_WORD: Final = 2
"""Where ``name`` and ``iov`` are in a header seen as 64-bit words."""
assert MMSGHDR.itemsize == MMSGHDR_BYTES
assert IOVEC.itemsize == IOVEC_BYTES

MSG_DONTWAIT: Final = 0x40
MSG_TRUNC: Final = 0x20
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
"""Generic segmentation offload: one message becomes many datagrams of one size (linux/udp.h)."""
CMSG_BYTES: Final = 24
"""cmsghdr (16 bytes) with a u16 segment size, padded to 8."""

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = [
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_uint,
    ctypes.c_int,
    ctypes.c_void_p,
]
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]


def recvmmsg(fd: int, headers: int, count: int) -> int:
    """Fill up to *count* mmsghdr at address *headers* without blocking; how many were filled, or
    -1 when there was nothing (or an error that the next call would not repeat)."""
    received: int = _recvmmsg(fd, headers, count, MSG_DONTWAIT, None)
    return received


def sendmmsg(fd: int, headers: int, count: int) -> int:
    """Send up to *count* mmsghdr at address *headers* without blocking; how many were sent (at
    least one). Raises OSError if the first cannot be sent (BlockingIOError: no room)."""
    sent: int = _sendmmsg(fd, headers, count, MSG_DONTWAIT)
    if sent < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return sent
