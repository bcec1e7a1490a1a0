"""The inner loop of a forwarder and nothing else: the figure that a whole server is held against.

Receive a batch, decrypt, copy each packet once per receiver, rewrite ssrc, sequence number and
timestamp as columns, encrypt on pointers, send. No ICE, no RTCP, no cache, no statistics, no
switching; numpy, libsrtp through pylibsrtp's binding, recvmmsg and sendmmsg by ctypes.

Runs as a process of its own: ``python -m tests.bench.bare_loop gcm128 gso``, commands on stdin as
:mod:`tests.bench.bare` says, one JSON line each way.
"""

import ctypes
import os
import resource
import select
import socket
import struct
import sys
import time
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pylibsrtp import Session, _binding

from tests.bench.bare import AddPublisher, AddSubscriber, Command, Done, Hot, HotFigure, Ready
from tests.bench.endpoint import srtp_session

ROW_BYTES = 1536
RECEIVE_ROWS = 32
"""At most this many packets of one receiver in a GSO run: 32 x 1200 bytes stay under 64 KiB."""
SEND_ROWS = 1024
"""The kernel's bound on one sendmmsg (UIO_MAXIOV)."""
BUFFER_BYTES = 8 << 20
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
SOL_UDP, UDP_SEGMENT = 17, 103
HOT_REST_EVERY = 3000
HOT_REST_S = 0.003
"""After so many packets the receivers get time to drain their sockets."""

MMSGHDR = np.dtype(
    [
        ("name", "u8"),
        ("name_bytes", "u4"),
        ("_0", "u4"),
        ("iov", "u8"),
        ("iov_count", "u8"),
        ("control", "u8"),
        ("control_bytes", "u8"),
        ("flags", "i4"),
        ("_1", "u4"),
        ("bytes", "u4"),
        ("_2", "u4"),
    ]
)
"""struct mmsghdr on 64-bit Linux."""
IOVEC = np.dtype([("base", "u8"), ("bytes", "u8")])

_lib, _ffi = _binding.lib, _binding.ffi
_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg, _sendmmsg = _libc.recvmmsg, _libc.sendmmsg
_recvmmsg.argtypes = [
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_uint,
    ctypes.c_int,
    ctypes.c_void_p,
]
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]

Array = NDArray[Any]


def _address_key(port: int) -> int:
    """A loopback sockaddr_in's first eight bytes as an integer."""
    packed = struct.pack("=HH4s", socket.AF_INET, socket.htons(port), bytes((127, 0, 0, 1)))
    return int.from_bytes(packed, sys.byteorder)


class Rows:
    """A block of packets, its header columns, and the pointers that libsrtp and the kernel take."""

    def __init__(self, count: int) -> None:
        self.data = np.zeros((count, ROW_BYTES), np.uint8)
        self.lengths = np.zeros(count, np.int32)
        base, lengths = self.data.ctypes.data, self.lengths.ctypes.data
        self.sequence = self.data[:, 2:4].view(">u2")[:, 0]
        self.ticks = self.data[:, 4:8].view(">u4")[:, 0]
        self.ssrc = self.data[:, 8:12].view(">u4")[:, 0]
        self.packet_pointers = [_ffi.cast("void *", base + ROW_BYTES * i) for i in range(count)]
        self.length_pointers = [_ffi.cast("int *", lengths + 4 * i) for i in range(count)]
        self.names = np.zeros((count, 16), np.uint8)
        self.name_keys = self.names.view("u8")[:, 0]
        self.iov = np.zeros(count, IOVEC)
        self.iov["base"] = base + ROW_BYTES * np.arange(count)
        self.iov["bytes"] = ROW_BYTES
        self.messages = np.zeros(count, MMSGHDR)
        self.messages["name"] = self.names.ctypes.data + 16 * np.arange(count)
        self.messages["name_bytes"] = 16
        self.messages["iov"] = self.iov.ctypes.data + 16 * np.arange(count)
        self.messages["iov_count"] = 1
        self.message_pointer = self.messages.ctypes.data


class BareLoop:
    """One socket; publishers and their receivers by address."""

    def __init__(self, srtp: str, *, gso: bool) -> None:
        self._srtp, self._gso = srtp, gso
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            self.socket.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        self.socket.bind(("127.0.0.1", 0))
        self._fd = self.socket.fileno()
        self._in, self._out = Rows(RECEIVE_ROWS), Rows(SEND_ROWS)
        self._keep: list[Session] = []  # sessions outlive the pointers taken from them
        self._by_name: dict[str, int] = {}
        self._publisher_of: dict[int, int] = {}  # address key -> publisher
        self._inbound: list[Any] = []
        self._targets: list[list[int]] = []  # publisher -> receivers
        self._target_columns: list[Array] = []
        self._target_sessions: list[list[Any]] = []
        self._outbound: list[Any] = []
        self._receiver_keys: Array = np.zeros(0, np.uint64)
        self._offsets: Array = np.zeros((3, 0), np.int64)  # sequence, ticks, ssrc
        # One cmsghdr {UDP_SEGMENT: u16}: all runs of one send have the same segment size.
        self._segment = np.zeros(24, np.uint8)
        self._segment[:16] = np.frombuffer(struct.pack("=Qii", 18, SOL_UDP, UDP_SEGMENT), np.uint8)
        self._segment_bytes = self._segment[16:18].view("u2")

    # -- control -----------------------------------------------------------------------------
    def _session(self, key: str, *, outbound: bool) -> Any:
        session = srtp_session(self._srtp, bytes.fromhex(key), outbound=outbound)
        self._keep.append(session)
        return session._srtp[0]

    def add_publisher(self, command: AddPublisher) -> None:
        publisher = len(self._inbound)
        self._by_name[command.name] = publisher
        self._publisher_of[_address_key(command.port)] = publisher
        self._inbound.append(self._session(command.key, outbound=False))
        self._targets.append([])
        self._target_columns.append(np.zeros(0, np.int64))
        self._target_sessions.append([])

    def add_subscriber(self, command: AddSubscriber) -> None:
        publisher, receiver = self._by_name[command.publisher], len(self._outbound)
        self._outbound.append(self._session(command.key, outbound=True))
        self._targets[publisher].append(receiver)
        targets = self._targets[publisher]
        self._target_columns[publisher] = np.array(targets)
        self._target_sessions[publisher] = [self._outbound[t] for t in targets]
        key = np.array([_address_key(command.port)], np.uint64)
        self._receiver_keys = np.concatenate((self._receiver_keys, key))
        offsets = np.array([[receiver * 7], [receiver * 90_001], [receiver + 0x1000]])
        self._offsets = np.concatenate((self._offsets, offsets), axis=1)

    # -- packets -----------------------------------------------------------------------------
    def receive(self) -> list[int]:
        """One batch into the rows, decrypted; the publisher of each."""
        rows = self._in
        count = _recvmmsg(self._fd, rows.message_pointer, RECEIVE_ROWS, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return []
        rows.lengths[:count] = rows.messages["bytes"][:count]
        publishers = [self._publisher_of[key] for key in rows.name_keys[:count].tolist()]
        sessions = [self._inbound[publisher] for publisher in publishers]
        if any(map(_lib.srtp_unprotect, sessions, rows.packet_pointers, rows.length_pointers)):
            raise RuntimeError("a packet did not decrypt")
        return publishers

    def forward(self, publishers: list[int]) -> int:
        """Fan out the received rows; the number of packets sent."""
        sent = first = 0
        while first < len(publishers):
            rows, end = len(self._targets[publishers[first]]), first + 1
            while end < len(publishers):
                more = len(self._targets[publishers[end]])
                if rows + more > SEND_ROWS:
                    break
                rows, end = rows + more, end + 1
            if rows:
                self._fan_out(first, publishers[first:end], rows)
            sent, first = sent + rows, end
        return sent

    def _fan_out(self, first: int, publishers: list[int], count: int) -> None:
        source, out = self._in, self._out
        if len(publishers) == 1:
            receivers = self._target_columns[publishers[0]]
            sessions = self._target_sessions[publishers[0]]
            origin: Any = first
            out.data[:count] = source.data[first]
        else:
            columns = [self._target_columns[publisher] for publisher in publishers]
            receivers = np.concatenate(columns)
            origin = np.repeat(np.arange(first, first + len(columns)), [len(c) for c in columns])
            order = np.argsort(receivers, kind="stable")  # one receiver's packets stand together
            receivers, origin = receivers[order], origin[order]
            sessions = [self._outbound[receiver] for receiver in receivers.tolist()]
            np.take(source.data, origin, axis=0, out=out.data[:count], mode="clip")
        sequence, ticks, ssrc = self._offsets[:, receivers]
        out.lengths[:count] = source.lengths[origin]
        out.sequence[:count] = source.sequence[origin].astype(np.int64) + sequence
        out.ticks[:count] = source.ticks[origin].astype(np.int64) + ticks
        out.ssrc[:count] = ssrc
        if any(map(_lib.srtp_protect, sessions, out.packet_pointers, out.length_pointers)):
            raise RuntimeError("a packet did not encrypt")
        out.iov["bytes"][:count] = out.lengths[:count]
        self._send(receivers, count)

    def _send(self, receivers: Array, count: int) -> None:
        out, messages = self._out, self._out.messages
        lengths = out.lengths[:count]
        if self._gso and (lengths == lengths[0]).all():
            starts = np.flatnonzero(np.diff(receivers, prepend=-1))
            runs = len(starts)
            messages["iov"][:runs] = out.iov.ctypes.data + 16 * starts
            messages["iov_count"][:runs] = np.diff(starts, append=count)
            self._segment_bytes[0] = lengths[0]
            messages["control"][:runs] = self._segment.ctypes.data
            messages["control_bytes"][:runs] = len(self._segment)
            out.name_keys[:runs] = self._receiver_keys[receivers[starts]]
        else:
            runs = count
            messages["iov"][:runs] = out.iov.ctypes.data + 16 * np.arange(runs)
            messages["iov_count"][:runs] = 1
            messages["control_bytes"][:runs] = 0
            out.name_keys[:runs] = self._receiver_keys[receivers]
        done = 0
        while done < runs:
            pointer = out.message_pointer + MMSGHDR.itemsize * done
            sent = _sendmmsg(self._fd, pointer, runs - done, 0)
            if sent < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            done += sent

    def hot(self, command: Hot) -> HotFigure:
        """The sending half alone, back to back: what is left when no wake-up is waited for."""
        rows, count = self._in, min(command.packets, RECEIVE_ROWS)
        publishers = [k % len(self._inbound) for k in range(count)]
        publishers.sort()
        self._gso = command.gso
        self._offsets[2] += 0x10000  # fresh sources: their sequence numbers begin anywhere
        rows.data[:count, 0], rows.data[:count, 1] = 0x80, 96
        rows.lengths[:count] = command.packet_bytes
        sequence = np.arange(count)
        before, packets, since_rest = resource.getrusage(resource.RUSAGE_SELF), 0, 0
        end_s = time.monotonic() + command.seconds
        while time.monotonic() < end_s:
            rows.sequence[:count] = sequence & 0xFFFF
            sequence += count
            sent = self.forward(publishers)
            packets, since_rest = packets + sent, since_rest + sent
            if since_rest >= HOT_REST_EVERY:
                since_rest = 0
                time.sleep(HOT_REST_S)
        after = resource.getrusage(resource.RUSAGE_SELF)
        return HotFigure(
            packets=packets,
            user_s=after.ru_utime - before.ru_utime,
            system_s=after.ru_stime - before.ru_stime,
        )


def main() -> None:
    srtp, gso = sys.argv[1], "gso" in sys.argv[2:]
    loop, poll = BareLoop(srtp, gso=gso), select.epoll()
    decode = msgspec.json.Decoder(Command).decode
    poll.register(loop.socket, select.EPOLLIN)
    poll.register(sys.stdin.fileno(), select.EPOLLIN)

    def say(message: Ready | Done | HotFigure) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
        sys.stdout.buffer.flush()

    say(Ready(port=loop.socket.getsockname()[1]))
    while True:
        for fd, _ in poll.poll():
            if fd == loop.socket.fileno():
                loop.forward(loop.receive())
                continue
            line = sys.stdin.buffer.readline()
            if not line:
                return
            match decode(line):
                case AddPublisher() as command:
                    loop.add_publisher(command)
                    say(Done())
                case AddSubscriber() as command:
                    loop.add_subscriber(command)
                    say(Done())
                case Hot() as command:
                    say(loop.hot(command))


if __name__ == "__main__":
    main()
