"""``python -m tests.bench.plane``: the media plane alone beside the bare loop, in one run.

No signaling, ICE or DTLS: packets encrypted beforehand go to a process that holds the keys, the
packet engine sends them at their due times and counts what comes back. Says what the plane adds to
its inner loop, and is quick enough to work by.
"""

import argparse
import asyncio
import os
import secrets
import socket
import struct
import sys
import time
from asyncio.subprocess import PIPE

import msgspec

from coordinator.supervisor import dying_with_parent
from tests.bench.bare import AddPublisher, AddSubscriber, Done, Ready
from tests.bench.endpoint import srtp_session
from tests.bench.engine import Engine, SocketIndex, TransmitterIndex
from tests.bench.measure import RECEIVE_NAP_US
from tests.bench.shapes import parse_shape
from tests.fakes.running_server import ROOT

FRAME_S = 1 / 30
TICKS_PER_S = 90_000
SHAPES = "1x5,1x30,1x100,room6,10xroom6"


class Sender:
    """One publisher: a socket, a session, packets to come."""

    def __init__(self, engine: Engine, server_port: int, size: int) -> None:
        self.sock = _socket()
        self.key = secrets.token_bytes(28)
        self._session = srtp_session("gcm128", self.key, outbound=True)
        self._by: TransmitterIndex = engine.add_transmitter(
            self.sock.fileno(), ("127.0.0.1", server_port)
        )
        self._engine = engine
        self._filler = secrets.token_bytes(size)
        self._ssrc = secrets.randbelow(1 << 32)
        self.sequence = 1000

    def send(self, due_s: float, media_s: float, *, key: bool) -> None:
        head = struct.pack(
            "!BBHII", 0x80, 96, self.sequence & 0xFFFF, int(media_s * TICKS_PER_S), self._ssrc
        )
        # A VP8 payload descriptor and frame header: keyframe or not.
        body = (b"\x10\x00" if key else b"\x10\x01") + self._filler[2:]
        packet = self._session.protect(head + body)
        queued = self._engine.transmit(self._by, int(due_s * 1e9), self.sequence & 0x3FFFFF, packet)
        assert queued, "the transmit queue is full"
        self.sequence += 1


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)
    sock.bind(("127.0.0.1", 0))
    return sock


def _cpu_s(pid: int) -> tuple[float, float]:
    """(user and system time by the scheduler's nanosecond counters, user time by ticks)."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    with open(f"/proc/{pid}/stat") as file:
        user_ticks = int(file.read().rsplit(")", 1)[1].split()[11])
    return total / 1e9, user_ticks / os.sysconf("SC_CLK_TCK")


def _socket_drops(port: int) -> int:
    """Datagrams that found the server's socket full."""
    with open("/proc/net/udp") as file:
        for line in file.readlines()[1:]:
            fields = line.split()
            if int(fields[1].split(":")[1], 16) == port:
                return int(fields[-1])
    return 0


async def measure(
    module: list[str], shape_text: str, *, seconds: float, rate: float, size: int, bursts: bool
) -> str:
    shape = parse_shape(shape_text)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *module,
        stdin=PIPE,
        stdout=PIPE,
        cwd=ROOT,
        preexec_fn=dying_with_parent(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, {0})
    port = msgspec.json.decode(await process.stdout.readline(), type=Ready).port

    async def tell(command: AddPublisher | AddSubscriber) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(command) + b"\n")
        msgspec.json.decode(await process.stdout.readline(), type=Done)

    engine = Engine(capture_bytes=1 << 20)
    engine.start(asyncio.get_running_loop())
    senders: dict[tuple[int, int], Sender] = {}
    receivers: list[SocketIndex] = []
    keep = []
    for feed in shape.feeds():
        sender = senders[feed] = Sender(engine, port, size)
        await tell(AddPublisher(str(feed), sender.key.hex(), sender.sock.getsockname()[1]))
    for viewing in shape.viewings():
        sock = _socket()
        keep.append(sock)
        receivers.append(
            engine.add_socket(sock.fileno(), min_bytes=size // 2, control=lambda data, to: None)
        )
        await tell(
            AddSubscriber(str(viewing.feed), secrets.token_bytes(28).hex(), sock.getsockname()[1])
        )

    async def run(duration_s: float, *, key: bool) -> int:
        """Send for *duration_s*, evenly between the publishers; how many packets."""
        begin_s = time.monotonic() + 0.1
        total = 0
        count = int(duration_s * rate)
        for index in range(count):
            at_s = index / rate
            media_s = int(at_s / FRAME_S) * FRAME_S
            for turn, sender in enumerate(senders.values()):
                offset_s = turn / len(senders) / rate
                due_s = begin_s + (
                    media_s + turn / len(senders) * FRAME_S if bursts else at_s + offset_s
                )
                sender.send(due_s, media_s, key=key and index == 0)
                total += 1
            if begin_s + at_s > time.monotonic() + 0.2:
                await asyncio.sleep(0.1)
        await asyncio.sleep(max(0.0, begin_s + duration_s - time.monotonic()) + 0.3)
        return total

    await run(0.5, key=True)
    before = sum(engine.counters(index).media for index in receivers)
    engine.lateness(reset=True)
    engine.nap(RECEIVE_NAP_US)
    cpu_before_s, user_before_s = _cpu_s(process.pid)
    sent = await run(seconds, key=False)
    cpu_after_s, user_after_s = _cpu_s(process.pid)
    cpu_s, user_s = cpu_after_s - cpu_before_s, user_after_s - user_before_s
    engine.nap(0)
    await asyncio.sleep(0.1)
    got = sum(engine.counters(index).media for index in receivers) - before
    expected = sent * shape.fan_out
    late = engine.lateness()
    drops = _socket_drops(port)
    process.stdin.close()
    await process.wait()
    engine.close()
    return (
        f"{1e6 * cpu_s / max(1, got):6.2f} us/packet (user {1e6 * user_s / max(1, got):5.2f})  "
        f"loss {100 * (1 - got / expected):.3f} %  socket drops {drops}  "
        f"cpu {100 * cpu_s / seconds:.0f} %  late p99 {late.p99_us_at_most} us"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plane", description=__doc__)
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--payload-bytes", type=int, default=1100)
    parser.add_argument("--pacing", default="even")
    parser.add_argument("--only", default="plane,bare")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:  # in a process of its own: an engine is for one process's life
        which, shape = args.one
        module = (
            ["tests.bench.plane_loop"]
            if which == "plane"
            else ["tests.bench.bare_loop", "gcm128", "gso"]
        )
        os.sched_setaffinity(0, {1})
        print(
            f"{shape:9} {args.pacing:6} {which:5} "
            + asyncio.run(
                measure(
                    module,
                    shape,
                    seconds=args.seconds,
                    rate=args.rate,
                    size=args.payload_bytes,
                    bursts=args.pacing == "bursts",
                )
            ),
            flush=True,
        )
        return
    import subprocess

    for shape in args.shapes.split(","):
        for pacing in args.pacing.split(","):
            for which in args.only.split(","):
                subprocess.run(
                    [
                        sys.executable,
                        "-m",
                        "tests.bench.plane",
                        "--one",
                        which,
                        shape,
                        "--seconds",
                        str(args.seconds),
                        "--rate",
                        str(args.rate),
                        "--payload-bytes",
                        str(args.payload_bytes),
                        "--pacing",
                        pacing,
                    ],
                    cwd=ROOT,
                    check=True,
                )


if __name__ == "__main__":
    main()
