"""One measurement: everybody joins, the senders pause, a counted window, everything drains.

The senders rest before and after the window, so that packets sent and packets received are
counted exactly and loss is no estimate.
"""

import asyncio
import os
import secrets
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from subprocess import Popen

import pylibsrtp

from tests.bench.accounting import (
    Usage,
    machine_busy_s,
    socket_inodes,
    total,
    udp_drops,
    usage_of,
)
from tests.bench.association import use_local_address
from tests.bench.awake import keep_awake
from tests.bench.bare import Hot
from tests.bench.doors import Door, WhipWhepDoor
from tests.bench.endpoint import Endpoint
from tests.bench.engine import Engine
from tests.bench.outcome import Conditions, Found, Instant, Outcome, summarize
from tests.bench.publisher import (
    JOIN_AHEAD_S,
    MAGIC,
    MEASURE_AHEAD_S,
    STAMP,
    Pace,
    PacketIds,
    Publisher,
)
from tests.bench.reports import ReceiverReports
from tests.bench.servers import BareServer, Server, make_server
from tests.bench.shapes import Shape, Viewing, parse_shape

REPORT_INTERVAL_S = 1.0
POLL_S = 0.005
"""The engine's threads announce nothing: their counters are looked at."""
RECEIVE_NAP_US = 3000
"""While measuring the receive thread naps, so that it takes little from the server's cores."""
RTP_HEADER_BYTES = 12
HOT_PACKETS = 8
"""One frame at 25 frames/s and 200 packets/s."""
HOT_S = 1.0


class Measurement:
    """Used once: :meth:`run`."""

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._shape: Shape = parse_shape(conditions.shape)
        self._engine = Engine()
        self._ids = PacketIds()
        self._publishers: list[Publisher] = []
        self._players: list[tuple[Viewing, Endpoint]] = []
        self._endpoints: list[Endpoint] = []
        self._notes: list[str] = []
        self._wakers: list[Popen[bytes]] = []

    async def run(self) -> Outcome:
        conditions = self._conditions
        cores = os.cpu_count() or 1
        server = make_server(conditions.target, srtp=conditions.srtp, cores=cores)
        use_local_address("127.0.0.1")
        self._engine.start(asyncio.get_running_loop())
        try:
            await server.start()
            if conditions.awake:
                self._wakers = keep_awake()
            self._pin(server)
            idle = total(server.pids())
            door = server.door(self._engine, conditions.srtp)
            try:
                return await self._measure(server, door, idle)
            finally:
                await door.close()
                for endpoint in self._endpoints:
                    with suppress(ConnectionError):
                        await endpoint.close()
        finally:
            for waker in self._wakers:
                waker.kill()
                waker.wait()
            self._engine.close()
            await server.stop()

    def _pin(self, server: Server) -> None:
        if self._conditions.server_cpus:
            for pid in server.pids():
                for task in os.listdir(f"/proc/{pid}/task"):
                    os.sched_setaffinity(int(task), self._conditions.server_cpus)
        if self._conditions.generator_cpus:
            for task in os.listdir("/proc/self/task"):
                os.sched_setaffinity(int(task), self._conditions.generator_cpus)

    async def _measure(self, server: Server, door: Door, idle: Usage) -> Outcome:
        conditions = self._conditions
        await self._join_publishers(door)
        async with self._background():
            self._go(None)
            cpu_s = total(server.pids()).cpu_s
            await self._join_players(door)
            joins_cpu_s = total(server.pids()).cpu_s - cpu_s
            await asyncio.sleep(conditions.settle_s)
            for publisher in self._publishers:
                publisher.pause()
            await asyncio.sleep(conditions.drain_s)
            for publisher in self._publishers:
                publisher.ahead_s = MEASURE_AHEAD_S
            self._engine.nap(RECEIVE_NAP_US)
            self._engine.lateness(reset=True)
            first_id = self._ids.next
            sent, received = self._sent(), self._received()
            before = self._instant(server)
            self._go(self._packets_each)
            await asyncio.sleep(conditions.seconds)
            await _until(lambda: all(publisher.idle for publisher in self._publishers))
            sent_in_s = time.monotonic() - before.at_s
            await asyncio.sleep(conditions.drain_s)
            after = self._instant(server)
            self._engine.nap(0)
            self._engine.stop_capture()
            sent = [b - a for a, b in zip(sent, self._sent(), strict=True)]
            received = [b - a for a, b in zip(received, self._received(), strict=True)]
        by_feed = dict(zip(self._shape.feeds(), sent, strict=True))
        found = Found(
            delivered=[
                (by_feed[viewing.feed], count)
                for (viewing, _), count in zip(self._players, received, strict=True)
            ],
            sent=sum(sent),
            sent_in_s=sent_in_s,
            latencies_us=self._latencies(first_id, self._ids.next),
            first_media_ms=[self._first_media_ms(endpoint) for _, endpoint in self._players],
            joins_cpu_s=joins_cpu_s,
            idle=idle,
            bare_hot_us=await self._hot(server),
            late=self._engine.lateness(),
            notes=self._notes + self._remarks(door),
        )
        return summarize(conditions, before, after, found)

    @property
    def _rate(self) -> float:
        return self._shape.packets_per_s or self._conditions.packets_per_s

    @property
    def _packets_each(self) -> int:
        return max(1, int(self._rate * self._conditions.seconds))

    # -- joining -----------------------------------------------------------------------------
    async def _join_publishers(self, door: Door) -> None:
        conditions = self._conditions
        pace = Pace(
            packets_per_s=self._rate,
            frames_per_s=conditions.frames_per_s,
            payload_bytes=conditions.payload_bytes,
            bursts=conditions.bursts,
        )
        for feed in self._shape.feeds():
            ssrc = secrets.randbits(32)
            publisher = Publisher(self._engine, self._ids, pace, ssrc, time.monotonic)
            joined = door.publish(feed, ssrc, publisher.heard)
            endpoint = await asyncio.wait_for(joined, conditions.join_timeout_s)
            publisher.use(endpoint)
            self._endpoints.append(endpoint)
            self._publishers.append(publisher)

    def _go(self, packets: int | None) -> None:
        """Start all, evenly staggered over one packet's interval: no accidental bursts."""
        start_s = time.monotonic() + 2 * JOIN_AHEAD_S
        step_s = 1 / self._rate / len(self._publishers)
        for k, publisher in enumerate(self._publishers):
            publisher.go(packets, start_s + k * step_s)

    async def _join_players(self, door: Door) -> None:
        viewings = self._shape.viewings()
        sampled = min(self._conditions.sampled, len(viewings))
        captured = {k * len(viewings) // sampled for k in range(sampled)}
        turns = asyncio.Semaphore(self._conditions.joins_at_once)

        async def join(k: int, viewing: Viewing) -> None:
            async with turns, asyncio.timeout(self._conditions.join_timeout_s):
                endpoint = await door.play(
                    viewing,
                    min_bytes=int(0.8 * self._conditions.payload_bytes),
                    capture=k in captured,
                )
                endpoint.captured = k in captured
                self._endpoints.append(endpoint)
                self._players.append((viewing, endpoint))
                await _until(lambda: self._engine.counters(endpoint.index).first_ns > 0)

        async with asyncio.TaskGroup() as group:
            for k, viewing in enumerate(viewings):
                group.create_task(join(k, viewing))

    # -- while it runs -----------------------------------------------------------------------
    @asynccontextmanager
    async def _background(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._pump()), asyncio.create_task(self._report())]
        try:
            yield
        finally:
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.result()  # a failed pump explains a failed run
                task.cancel()

    async def _pump(self) -> None:
        while True:
            for publisher in self._publishers:
                publisher.pump()
            await asyncio.sleep(self._publishers[0].ahead_s / 4)

    async def _report(self) -> None:
        reports: dict[int, ReceiverReports] = {}
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            for publisher in self._publishers:
                publisher.report()
            for _, endpoint in self._players:
                report = reports.setdefault(
                    endpoint.index, ReceiverReports(own_ssrc=secrets.randbits(32))
                )
                compound = report.compound(self._engine.sources(endpoint.index))
                if compound is not None:
                    endpoint.send_rtcp(compound)

    def _sent(self) -> list[int]:
        return [self._engine.transmitted(p.transmitter).sent for p in self._publishers]

    def _received(self) -> list[int]:
        return [self._engine.counters(e.index).media for _, e in self._players]

    def _instant(self, server: Server) -> Instant:
        used, pids = os.times(), server.pids()
        by_pid = {pid: usage_of(pid) for pid in pids}
        media = [by_pid.get(pid, Usage()) for pid in server.media_pids()]
        drops = udp_drops()
        theirs, ours = socket_inodes(pids), socket_inodes([os.getpid()])
        return Instant(
            at_s=time.monotonic(),
            server=sum(by_pid.values(), Usage()),
            media=sum(media, Usage()),
            generator_s=used.user + used.system,
            busy_s=machine_busy_s() - total(waker.pid for waker in self._wakers).cpu_s,
            server_drops=sum(drops.get(inode, 0) for inode in theirs),
            generator_drops=sum(drops.get(inode, 0) for inode in ours),
        )

    async def _hot(self, server: Server) -> float | None:
        if not isinstance(server, BareServer):
            return None
        packet_bytes = RTP_HEADER_BYTES + self._conditions.payload_bytes
        gso = self._conditions.target.gso
        command = Hot(seconds=HOT_S, packets=HOT_PACKETS, packet_bytes=packet_bytes, gso=gso)
        return (await server.process.hot(command)).us_per_packet

    # -- afterwards --------------------------------------------------------------------------
    def _latencies(self, first_id: int, end_id: int) -> list[float]:
        """Microseconds from just before sendto() to the kernel's receive timestamp."""
        by_index = {e.index: e for _, e in self._players if e.captured}
        found, undecryptable = [], 0
        for captured in self._engine.captured():
            endpoint = by_index.get(captured.socket)
            if endpoint is None:
                continue
            try:
                plain = endpoint.unprotect(captured.datagram)
            except pylibsrtp.Error:
                undecryptable += 1
                continue
            at = plain.find(MAGIC)
            if at < 0 or at + STAMP.size > len(plain):
                continue
            packet_id = struct.unpack_from("!I", plain, at + len(MAGIC))[0]
            sent_ns = self._engine.transmit_time_ns(packet_id)
            if first_id <= packet_id < end_id and sent_ns:
                found.append((captured.arrival_ns - sent_ns) / 1e3)
        if undecryptable:
            self._notes.append(f"{undecryptable} sampled packets did not decrypt")
        return found

    def _first_media_ms(self, endpoint: Endpoint) -> float:
        return (self._engine.counters(endpoint.index).first_ns - endpoint.began_ns) / 1e6

    def _remarks(self, door: Door) -> list[str]:
        remarks = [f"{sum(p.keyframes_requested for p in self._publishers)} keyframes requested"]
        if isinstance(door, WhipWhepDoor) and door.handshake_resends:
            remarks.append(f"{door.handshake_resends} DTLS flights resent")
        if self._engine.control_dropped:
            remarks.append(f"{self._engine.control_dropped} control datagrams dropped by us")
        return remarks


async def _until(happened: Callable[[], bool]) -> None:
    while not happened():  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
