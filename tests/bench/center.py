"""Measures the message center on an embedded Valkey: ``python -m tests.bench.center``.

Append one at a time and batched, joins, delivery to a follower in another process, requests, and
following many rooms. Loopback; figures of one run, for comparison with the design's.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from coordinator.center import Center, FollowOutput
from coordinator.config import CenterConfig
from coordinator.embedded import EmbeddedValkey
from coordinator.envelope import StoredEvent, utc_now
from coordinator.events import ParticipantJoined, RoomPlaced
from coordinator.ids import (
    START,
    Identity,
    NodeId,
    ParticipantSid,
    RoomName,
    new_participant_sid,
)
from coordinator.model import ParticipantInfo
from coordinator.nodes import NodeLease
from coordinator.requests import Ack, OpenRoom
from coordinator.rooms import Rooms

COUNT: Final = 20_000
ROOMS: Final = 10_000


def quantiles(values_s: list[float]) -> str:
    cuts = statistics.quantiles(values_s, n=100)
    return f"p50 {cuts[49] * 1e6:.0f} us, p99 {cuts[98] * 1e6:.0f} us"


def a_join(number: int) -> ParticipantJoined:
    """An event of a usual size, some 350 bytes with its envelope."""
    return ParticipantJoined(
        participant=ParticipantInfo(
            sid=ParticipantSid(f"PA_{number:012d}"),
            identity=Identity(f"user-{number}"),
            name=f"User {number}",
            joined_at=utc_now(),
        )
    )


async def one_at_a_time(count: int, call: Callable[[int], Awaitable[object]]) -> list[float]:
    taken = []
    for number in range(count):
        begin = time.perf_counter()
        await call(number)
        taken.append(time.perf_counter() - begin)
    return taken


async def appends(center: Center) -> None:
    async def append(number: int) -> None:
        await center.append(RoomName("bench"), a_join(number))

    await one_at_a_time(200, append)
    print("append, one at a time:", quantiles(await one_at_a_time(3000, append)))
    begin = time.perf_counter()
    for at in range(0, COUNT, 2000):
        await asyncio.gather(*(append(number) for number in range(at, at + 2000)))
    print(f"append, batched: {COUNT / (time.perf_counter() - begin):.0f}/s")


async def joins(center: Center, media: Center) -> None:
    async def prepare(request: OpenRoom) -> Ack:
        return Ack()

    media.serve({OpenRoom: prepare})
    lease = NodeLease(media, kind="media")
    await lease.start()
    rooms = Rooms(center)

    async def join(number: int) -> None:
        await rooms.join(
            RoomName(f"room-{number // 6}"),
            sid=new_participant_sid(),
            identity=Identity(f"user-{number}"),
            display_name="Somebody",
        )

    taken = await one_at_a_time(1800, join)
    seconds = [took for number, took in enumerate(taken) if number % 6]
    firsts = taken[::6]
    print("join, the room placed:", quantiles(seconds))
    print("join, places the room and asks its node:", quantiles(firsts))
    begin = time.perf_counter()
    await asyncio.gather(*(join(number) for number in range(6000, 9000)))
    print(f"join, 3000 at once: {3000 / (time.perf_counter() - begin):.0f}/s")

    async def ask(number: int) -> None:
        await center.request(media.node_id, OpenRoom(room=RoomName("x")))

    print("request and reply:", quantiles(await one_at_a_time(2000, ask)))
    await lease.close()


async def follow_elsewhere(url: str) -> None:
    """The other process: follows, and tells the latencies at the end."""
    center = await Center.connect(CenterConfig(url=url), name="bench-1")
    done = asyncio.Event()
    latencies: list[float] = []

    def hear(output: FollowOutput) -> None:
        assert isinstance(output, StoredEvent)
        if isinstance(output.event, RoomPlaced):
            if output.event.fence == 0:
                done.set()
            else:
                latencies.append(time.time() - output.event.fence / 1e9)

    center.follow(RoomName("delivery"), START, hear)
    await center.append(RoomName("ready"), RoomPlaced(node=NodeId("x"), fence=1))
    await done.wait()
    print("delivery to another process:", quantiles(latencies), flush=True)
    await center.close()


async def delivery(center: Center, url: str) -> None:
    ready = asyncio.Event()
    center.follow(RoomName("ready"), START, lambda output: ready.set())
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.center", "follow", url
    )
    await ready.wait()
    await asyncio.sleep(0.5)
    room = RoomName("delivery")
    for _ in range(2000):
        await center.append(room, RoomPlaced(node=NodeId("x"), fence=time.time_ns()))
        await asyncio.sleep(0.001)
    await center.append(room, RoomPlaced(node=NodeId("x"), fence=0))
    await child.wait()


async def many_rooms(center: Center, writer: Center) -> None:
    names = [RoomName(f"many-{number}") for number in range(ROOMS)]
    heard = 0
    wanted = asyncio.Event()

    def hear(output: FollowOutput) -> None:
        nonlocal heard
        heard += 1
        if heard == ROOMS:
            wanted.set()

    await asyncio.gather(*(writer.append(name, a_join(1)) for name in names))
    begin = time.perf_counter()
    for name in names:
        center.follow(name, START, hear)
    await wanted.wait()
    print(f"follow {ROOMS} rooms and recover one event each: {time.perf_counter() - begin:.2f} s")
    heard = 0
    wanted.clear()
    await writer.command("CLIENT", "KILL", "TYPE", "pubsub")
    begin = time.perf_counter()
    await asyncio.gather(*(writer.append(name, a_join(2)) for name in names))
    await wanted.wait()
    print(f"cut, {ROOMS} appends, followed again: {time.perf_counter() - begin:.2f} s")


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tertulia-bench-") as folder:
        valkey = await EmbeddedValkey.start(Path(folder))
        config = CenterConfig(url=valkey.url)
        center = await Center.connect(config, name="bench-0")
        media = await Center.connect(config, name="media-0")
        await appends(center)
        await joins(center, media)
        await delivery(center, valkey.url)
        await many_rooms(media, center)
        await media.close()
        await center.close()
        await valkey.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["follow"]:
        asyncio.run(follow_elsewhere(sys.argv[2]))
    else:
        asyncio.run(main())
