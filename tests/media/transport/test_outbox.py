"""Sending: what a full socket keeps, what it gives up, and that nothing unprotected leaves."""

import errno
import socket
from collections.abc import Iterator

import numpy as np
import pytest

from media.transport import mmsg, seams
from media.transport.addresses import AddressKey, pack
from media.transport.outbox import BACKLOG_MAX_DATAGRAMS, Outbox, Sender

KEY = bytes(range(28))
PLAIN = bytes.fromhex("80600000 00000000 00000001") + bytes(range(100))


class Receiver:
    """A socket, its sockaddr as an array, and the session that opens what comes."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(2)
        self.key: AddressKey = pack(*self.sock.getsockname())
        self.sockaddr = np.zeros(16, np.uint8)
        self.sockaddr[: len(self.key)] = np.frombuffer(self.key, np.uint8)
        self.sealer = seams.srtp_session(KEY, gcm=True, inbound=False)
        self._opener = seams.srtp_session(KEY, gcm=True, inbound=True)

    @property
    def name(self) -> int:
        return int(self.sockaddr.ctypes.data)

    def sequence(self) -> int:
        """The sequence number of the next packet, which must decrypt to PLAIN's payload."""
        data = self.sock.recv(2048)
        rows = np.zeros((1, 2048), np.uint8)
        rows[0, : len(data)] = np.frombuffer(data, np.uint8)
        lengths = np.array([len(data)], np.int32)
        pointers = seams.row_pointers(rows)[0], seams.int_pointers(lengths)[0]
        assert seams.unprotect(self._opener.pointer, *pointers) == 0
        assert bytes(rows[0, 12 : lengths[0]]) == PLAIN[12:]
        return int.from_bytes(bytes(rows[0, 2:4]), "big")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.sock.close()


class Kernel:
    """sendmmsg that is full, or fails, when told so."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.error: int | None = None

    def __call__(self, descriptor: int, address: int, count: int) -> int:
        if self.error is not None:
            error, self.error = self.error, None
            raise OSError(error, "refused")
        if self.room is not None:
            if self.room == 0:
                raise BlockingIOError
            count = min(count, self.room)
            self.room -= count
        return mmsg.sendmmsg(descriptor, address, count)


def outbox(send: Sender, told: list[str]) -> Outbox:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return Outbox(sock, on_congested=lambda: told.append("congested"), send=send)


def post(out: Outbox, receiver: Receiver, sequences: range) -> None:
    first = out.room(len(sequences))
    for row, sequence in enumerate(sequences, first):
        out.rows[row, : len(PLAIN)] = np.frombuffer(PLAIN, np.uint8)
        out.sequences[row] = sequence
        out.lengths[row] = len(PLAIN)
    out.post(
        len(sequences),
        [receiver.sealer.pointer] * len(sequences),
        np.full(len(sequences), receiver.name, np.uint64),
    )


@pytest.fixture
def told() -> list[str]:
    return []


def close(out: Outbox) -> None:
    out._sock.close()


def test_all_that_is_posted_is_sent_at_the_flush_in_order(
    receiver: Receiver, told: list[str]
) -> None:
    out = outbox(mmsg.sendmmsg, told)
    post(out, receiver, range(1, 4))
    post(out, receiver, range(4, 6))
    out.flush()
    assert [receiver.sequence() for _ in range(5)] == [1, 2, 3, 4, 5]
    assert (out.counters.sent, told) == (5, [])
    close(out)


@pytest.mark.parametrize("segmentation", [True, False])
def test_runs_reach_each_receiver_as_single_packets(
    receiver: Receiver, told: list[str], segmentation: bool
) -> None:
    out = outbox(mmsg.sendmmsg, told)
    out.segmentation = out.segmentation and segmentation
    other = Receiver()
    receivers, packets = [receiver, other], 3
    first = out.room(6)
    for row in range(6):
        out.rows[first + row, : len(PLAIN)] = np.frombuffer(PLAIN, np.uint8)
        out.sequences[first + row] = 10 + row // 2
        out.lengths[first + row] = len(PLAIN)
    out.post_runs(
        2,
        packets,
        [each.sealer.pointer for each in receivers],
        np.array([each.name for each in receivers], np.uint64),
    )
    out.flush()
    for each in receivers:
        assert [each.sequence() for _ in range(packets)] == [10, 11, 12]
    other.sock.close()
    close(out)


def test_what_a_full_socket_does_not_take_is_kept_and_sent_later(
    receiver: Receiver, told: list[str]
) -> None:
    kernel = Kernel()
    kernel.room = 2
    out = outbox(kernel, told)
    post(out, receiver, range(1, 6))
    out.flush()
    assert (out.congested, told, out.counters.kept_unsent) == (True, ["congested"], 3)
    assert [receiver.sequence() for _ in range(2)] == [1, 2]
    kernel.room = None
    assert out.drain()
    assert [receiver.sequence() for _ in range(3)] == [3, 4, 5]
    assert not out.congested
    close(out)


def test_the_backlog_is_bounded_and_gives_up_its_oldest(
    receiver: Receiver, told: list[str]
) -> None:
    kernel = Kernel()
    kernel.room = 0
    out = outbox(kernel, told)
    for begin in range(0, BACKLOG_MAX_DATAGRAMS + 128, 128):
        post(out, receiver, range(begin, begin + 128))
        out.flush()
    assert out.counters.backlog_dropped == 128
    assert told == ["congested"]
    kernel.room = None
    out.drain()
    assert receiver.sequence() == 128
    close(out)


def test_a_refused_message_costs_itself_alone(receiver: Receiver, told: list[str]) -> None:
    kernel = Kernel()
    kernel.error = errno.ENETUNREACH
    out = outbox(kernel, told)
    post(out, receiver, range(1, 4))
    out.flush()
    assert out.counters.send_failed == 1
    assert [receiver.sequence() for _ in range(2)] == [2, 3]
    close(out)


def test_a_kernel_that_refuses_segmentation_gets_single_packets_ever_after(
    receiver: Receiver, told: list[str]
) -> None:
    kernel = Kernel()
    kernel.error = errno.EIO
    out = outbox(kernel, told)
    first = out.room(2)
    for row in range(2):
        out.rows[first + row, : len(PLAIN)] = np.frombuffer(PLAIN, np.uint8)
        out.sequences[first + row] = 7 + row
        out.lengths[first + row] = len(PLAIN)
    out.post_runs(1, 2, [receiver.sealer.pointer], np.array([receiver.name], np.uint64))
    out.flush()
    assert [receiver.sequence() for _ in range(2)] == [7, 8]
    assert not out.segmentation
    close(out)


def test_a_packet_that_cannot_be_protected_never_leaves(
    receiver: Receiver, told: list[str]
) -> None:
    out = outbox(mmsg.sendmmsg, told)
    first = out.room(2)
    for row, length in ((first, 4), (first + 1, len(PLAIN))):  # four bytes are no RTP packet
        out.rows[row, : len(PLAIN)] = np.frombuffer(PLAIN, np.uint8)
        out.sequences[row] = 1
        out.lengths[row] = length
    out.post(2, [receiver.sealer.pointer] * 2, np.full(2, receiver.name, np.uint64))
    out.flush()
    assert receiver.sequence() == 1
    receiver.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.sock.recv(1)
    assert out.counters.protect_failed == 1
    close(out)
