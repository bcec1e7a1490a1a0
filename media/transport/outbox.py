"""Send: packets written into rows, protected in place, and one sendmmsg(2) for all of them.

A caller takes rows with ``room``, writes plain RTP into them (as columns over many rows, or one
row), sets ``lengths``, then ``post``s them; ``flush`` hands everything to the kernel. When the
socket is full what is unsent is kept in a bounded backlog, ``congested`` becomes true and the
owner is told, so that video can be dropped at its source in whole frames.
"""

import ctypes
import errno
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from media.transport import addresses, mmsg, seams

ROWS: Final = 1024
ROW_BYTES: Final = 1600
"""An inbox row, one header extension block more and the longest SRTP trailer in use (16)."""
BACKLOG_MAX_DATAGRAMS: Final = 4096
RUN_MAX_SEGMENTS: Final = 40
"""40 packets of 1500 bytes stay under the 65,507 bytes of one UDP send."""

Sender = Callable[[int, int, int], int]
"""sendmmsg(fd, address of the headers, count) -> how many were sent."""


class OutboxCounters:
    """What became of packets on their way out."""

    __slots__ = (
        "backlog_dropped",
        "kept_unsent",
        "protect_failed",
        "send_failed",
        "sent",
        "stalls",
    )

    def __init__(self) -> None:
        self.sent = 0
        self.protect_failed = 0
        self.send_failed = 0
        self.stalls = 0
        self.kept_unsent = 0
        self.backlog_dropped = 0


class Outbox:
    """Rows on their way out of one UDP socket. Arrays outlive every pointer taken from them."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_congested: Callable[[], None],
        send: Sender = mmsg.sendmmsg,
        segmentation: bool = True,
    ) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._send = send
        self._on_congested = on_congested
        self.counters = OutboxCounters()
        self.segmentation = segmentation and _has_segmentation(sock)
        self.congested = False
        self._backlog: deque[tuple[bytes, addresses.AddressKey]] = deque()

        self.rows = np.zeros((ROWS, ROW_BYTES), np.uint8)
        self.sequences = self.rows[:, 2:4].view(">u2")[:, 0]
        self.timestamps = self.rows[:, 4:8].view(">u4")[:, 0]
        self.ssrcs = self.rows[:, 8:12].view(np.uint32)[:, 0]
        """In network byte order: assign values that already are."""
        self.lengths = np.zeros(ROWS, np.int32)
        self._pointers = seams.row_pointers(self.rows)
        self._length_pointers = seams.int_pointers(self.lengths)
        self._data = self.rows.data.cast("B")
        self._starts = tuple(ROW_BYTES * row for row in range(ROWS))
        self._length_view = self.lengths.data
        self._used = 0
        self._messages = 0

        # Message i sends row i, as a rule; runs (below) rewrite their messages and are undone.
        self._iov = np.zeros(ROWS, mmsg.IOVEC)
        self._iov["base"] = self._row_addresses = (
            self.rows.ctypes.data + ROW_BYTES * np.arange(ROWS)
        ).astype(np.uint64)
        self._iov_len = self._iov["len"]
        self._iov_addresses = (self._iov.ctypes.data + mmsg.IOVEC_BYTES * np.arange(ROWS)).astype(
            np.uint64
        )
        self._run_iov = np.zeros(ROWS, mmsg.IOVEC)
        self._run_iov_addresses = (
            self._run_iov.ctypes.data + mmsg.IOVEC_BYTES * np.arange(ROWS)
        ).astype(np.uint64)
        self._control = np.zeros((ROWS, mmsg.CMSG_BYTES), np.uint8)
        self._control[:, 0:8].view(np.uint64)[:] = 18  # CMSG_LEN(2)
        self._control[:, 8:12].view(np.int32)[:] = mmsg.SOL_UDP
        self._control[:, 12:16].view(np.int32)[:] = mmsg.UDP_SEGMENT
        self._segment_bytes = self._control[:, 16:18].view(np.uint16)[:, 0]
        self._control_addresses = (
            self._control.ctypes.data + mmsg.CMSG_BYTES * np.arange(ROWS)
        ).astype(np.uint64)
        self._headers = np.zeros(ROWS, mmsg.MMSGHDR)
        self._headers["namelen"] = addresses.sockaddr_length(sock.family)
        self._names = self._headers["name"]
        self._address = self._headers.ctypes.data
        self._header_words = self._headers.view(np.uint64).data
        self._iov_words = self._iov.view(np.uint64).data
        self._plain = False
        self._reset()

    def room(self, count: int) -> int:
        """The first of *count* (at most ROWS) free rows; flushes if need be."""
        assert count <= ROWS, "a caller cuts larger fan-outs into pieces"
        if self._used + count > ROWS:
            self.flush()
        return self._used

    def write(self, row: int, packet: bytes) -> int:
        """*packet* into *row*; its length."""
        start = self._starts[row]
        self._data[start : start + len(packet)] = packet
        return len(packet)

    def post(
        self, count: int, sessions: Sequence[seams.Pointer], names: npt.NDArray[np.uint64]
    ) -> None:
        """Protect the next *count* rows, row by row with *sessions*, and send each to the sockaddr
        at its address in *names*."""
        start = self._used
        end = self._used = start + count
        if not self._seal(start, end, sessions):
            self._post_sealed(start, end, names)
            return
        message = self._messages
        stop = self._messages = message + count
        self._names[message:stop] = names
        self._iov_len[start:end] = self.lengths[start:end]
        if message != start:
            self._headers["iov"][message:stop] = self._iov_addresses[start:end]

    def post_runs(
        self,
        receivers: int,
        packets: int,
        sessions: Sequence[seams.Pointer],
        names: npt.NDArray[np.uint64],
    ) -> None:
        """Like ``post`` for *packets* times *receivers* rows, packet by packet, where a receiver's
        packets all have one length but for a shorter last: one message per receiver (UDP GSO)."""
        count = receivers * packets
        start = self._used
        end = self._used = start + count
        if not self._seal(start, end, list(sessions) * packets):
            self._post_sealed(start, end, np.tile(names, packets))
            return
        message = self._messages
        stop = self._messages = message + receivers
        self._plain = False
        headers = self._headers
        lengths = self.lengths[start:end].reshape(packets, receivers)
        run = self._run_iov[start:end].reshape(receivers, packets)
        run["base"] = self._row_addresses[start:end].reshape(packets, receivers).T
        run["len"] = lengths.T
        self._names[message:stop] = names
        headers["iov"][message:stop] = self._run_iov_addresses[start:end:packets]
        headers["iovlen"][message:stop] = packets
        headers["control"][message:stop] = self._control_addresses[message:stop]
        headers["controllen"][message:stop] = mmsg.CMSG_BYTES
        self._segment_bytes[message:stop] = lengths[0]

    def add(self, packet: bytes, session: seams.Pointer, name: int) -> None:
        """Protect and post one plain RTP packet to one receiver, whose sockaddr is at *name*."""
        if self._used == ROWS:
            self.flush()
        row, message, lengths = self._used, self._messages, self._length_view
        start = self._starts[row]
        self._data[start : start + len(packet)] = packet
        lengths[row] = len(packet)
        if seams.protect(session, self._pointers[row], self._length_pointers[row]):
            self.counters.protect_failed += 1
            return
        self._header_words[8 * message + mmsg.NAME_WORD] = name
        self._iov_words[2 * row + 1] = lengths[row]
        if message != row:
            self._header_words[8 * message + mmsg.IOV_WORD] = int(self._iov_addresses[row])
        self._used = row + 1
        self._messages = message + 1

    def flush(self) -> None:
        """Hand all posted rows to the kernel and free them."""
        count, done = self._messages, 0
        if self.congested:
            self._keep(0)
            done = count
        while done < count:
            try:
                done += self._send(
                    self._fd, self._address + mmsg.MMSGHDR_BYTES * done, count - done
                )
            except BlockingIOError:
                self.counters.stalls += 1
                self._keep(done)
                break
            except OSError as error:
                self._send_failed(done, error)
                done += 1
        self.counters.sent += self._used
        self._used = self._messages = 0
        if not self._plain:
            self._reset()

    def send_datagram(self, datagram: bytes, to: addresses.AddressKey) -> None:
        """Send one datagram that is no RTP (STUN, DTLS, SRTCP); never blocks."""
        if self.congested:
            self._keep_datagram(datagram, to)
            return
        try:
            self._sock.sendto(datagram, addresses.unpack(to))
        except BlockingIOError:
            self._keep_datagram(datagram, to)
        except OSError:
            self.counters.send_failed += 1

    def drain(self) -> bool:
        """Send from the backlog, when the socket is writable. True when it is empty."""
        while self._backlog:
            datagram, to = self._backlog[0]
            try:
                self._sock.sendto(datagram, addresses.unpack(to))
            except BlockingIOError:
                return False
            except OSError:
                self.counters.send_failed += 1
            self._backlog.popleft()
        self.congested = False
        return True

    # --- inside ---------------------------------------------------------------------------------

    def _seal(self, start: int, end: int, sessions: Sequence[seams.Pointer]) -> bool:
        """Protect rows in place. On failure every row is tried, those that failed get length 0."""
        statuses = list(
            map(
                seams.protect,
                sessions,
                self._pointers[start:end],
                self._length_pointers[start:end],
            )
        )
        if not any(statuses):
            return True
        failed = [start + at for at, status in enumerate(statuses) if status]
        self.lengths[failed] = 0
        self.counters.protect_failed += len(failed)
        return False

    def _post_sealed(self, start: int, end: int, names: npt.NDArray[np.uint64]) -> None:
        """Post rows one by one, but for those of length 0: nothing unprotected ever leaves."""
        for row, name in zip(range(start, end), names.tolist(), strict=True):
            if self.lengths[row] == 0:
                continue
            message = self._messages
            self._messages += 1
            self._plain = False
            self._names[message] = name
            self._iov_len[row] = self.lengths[row]
            self._headers["iov"][message] = self._iov_addresses[row]

    def _reset(self) -> None:
        """Message i sends row i again."""
        headers = self._headers
        headers["iov"] = self._iov_addresses
        headers["iovlen"] = 1
        headers["control"] = 0
        headers["controllen"] = 0
        self._plain = True

    def _segments(self, message: int) -> list[tuple[bytes, addresses.AddressKey]]:
        """The datagrams of one message, copied out, with their receiver."""
        header = self._headers[message]
        key = addresses.AddressKey(
            _copy(int(header["name"]), addresses.key_length(self._sock.family))
        )
        out = []
        for at in range(int(header["iovlen"])):
            base, length = np.frombuffer(
                _copy(int(header["iov"]) + at * mmsg.IOVEC_BYTES, mmsg.IOVEC_BYTES), np.uint64
            ).tolist()
            out.append((_copy(base, length), key))
        return out

    def _keep(self, done: int) -> None:
        for message in range(done, self._messages):
            for datagram, to in self._segments(message):
                self._keep_datagram(datagram, to)

    def _keep_datagram(self, datagram: bytes, to: addresses.AddressKey) -> None:
        if len(self._backlog) >= BACKLOG_MAX_DATAGRAMS:
            self._backlog.popleft()  # the oldest is the least use to its receiver
            self.counters.backlog_dropped += 1
        self._backlog.append((datagram, to))
        self.counters.kept_unsent += 1
        if not self.congested:
            self.congested = True
            self._on_congested()

    def _send_failed(self, message: int, error: OSError) -> None:
        """The kernel refused one message. A device without checksum offload refuses GSO with EIO,
        one whose MTU is smaller than a segment with EINVAL: then never again, and singly."""
        if int(self._headers["iovlen"][message]) == 1 or error.errno not in (
            errno.EIO,
            errno.EINVAL,
            errno.EMSGSIZE,
        ):
            self.counters.send_failed += 1
            return
        self.segmentation = False
        for datagram, to in self._segments(message):
            self.send_datagram(datagram, to)


def _copy(address: int, length: int) -> bytes:
    return ctypes.string_at(address, length)


def _has_segmentation(sock: socket.socket) -> bool:
    """Linux 4.18 and later; asking costs nothing."""
    try:
        sock.getsockopt(mmsg.SOL_UDP, mmsg.UDP_SEGMENT)
    except OSError:
        return False
    return True
