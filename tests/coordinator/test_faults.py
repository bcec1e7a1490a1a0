"""What happens when Redis is cut off, killed, paused, emptied or restored from an older copy."""

import asyncio
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from coordinator.center import Center
from coordinator.errors import InfrastructureError
from coordinator.events import ParticipantLeft, RoomPlaced
from coordinator.follower import ResyncNeeded
from coordinator.ids import START, Identity, NodeId, RoomName, new_participant_sid
from coordinator.model import RoomSettings
from coordinator.nodes import NodeLease, Reaper
from coordinator.requests import OpenRoom
from coordinator.rooms import Rooms
from tests.fakes.center import Breakable, Listener, MediaNode, counted, until

DEMO = RoomName("demo")

ConnectTo = Callable[[str], Awaitable[Center]]


@pytest.fixture
async def connect_to(server: Breakable) -> AsyncIterator[ConnectTo]:
    """Message centers on the server that is to be broken."""
    centers: list[Center] = []

    async def make(name: str) -> Center:
        centers.append(await Center.connect(server.config, name=name))
        return centers[-1]

    yield make
    for center in centers:
        await center.close()


class House:
    """One web process with its reaper, one media node, one follower."""

    def __init__(self, web: Center, media: Center) -> None:
        self.web, self.media = web, media
        self.rooms = Rooms(web)
        self.node = MediaNode(media)
        self.lease = NodeLease(web, kind="web")
        self.reaper = Reaper(web, self.rooms)
        self.listener = Listener()

    async def join(self, identity: str, room: RoomName = DEMO):  # type: ignore[no-untyped-def]
        return await self.rooms.join(
            room,
            sid=new_participant_sid(),
            identity=Identity(identity),
            display_name=identity,
        )

    async def back(self) -> None:
        """Wait until Redis answers both processes again, and the node is registered."""

        async def answers() -> bool:
            if not (await self.web.ping() and await self.media.ping()):
                return False
            try:
                return bool(await self.rooms.nodes.list("media"))
            except InfrastructureError:
                return False

        await until(answers, "Redis and the node to be back")


@pytest.fixture
async def house(connect_to: ConnectTo) -> AsyncIterator[House]:
    house = House(await connect_to("web-0"), await connect_to("media-0"))
    await house.lease.start()
    await house.node.lease.start()
    house.reaper.start()
    yield house
    await house.reaper.close()
    await house.rooms.drop_doubts()
    await house.lease.close()
    await house.node.lease.close()


def placed(number: int) -> RoomPlaced:
    return RoomPlaced(node=NodeId("n"), fence=number)


def fences(listener: Listener) -> list[int]:
    return [event.event.fence for event in listener.events if isinstance(event.event, RoomPlaced)]


# -- Cut off


async def test_followers_miss_nothing_when_their_connection_is_cut(connect_to: ConnectTo) -> None:
    writer, reader = await connect_to("web-0"), await connect_to("web-1")
    listener = Listener()
    reader.follow(DEMO, START, listener)
    rng = random.Random(7)
    count = 2000
    for number in range(count):
        await writer.append(DEMO, placed(number))
        if rng.random() < 0.01:
            await writer.command("CLIENT", "KILL", "TYPE", "pubsub")
    await listener.count(count)
    assert fences(listener) == list(range(count))
    assert counted(reader, "link", "link_lost") >= 5


async def test_calls_survive_a_cut_connection_and_happen_once(connect_to: ConnectTo) -> None:
    writer, killer = await connect_to("web-0"), await connect_to("web-1")
    listener = Listener()
    killer.follow(DEMO, START, listener)
    count = 3000
    for at in range(0, count, 300):
        appends = [
            asyncio.ensure_future(writer.append(DEMO, placed(n))) for n in range(at, at + 300)
        ]
        await appends[at // 30]
        # Somewhere within the batch under way: some of it ran, and its replies are lost.
        await killer.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.gather(*appends)
    await listener.count(count)
    assert fences(listener) == list(range(count))
    assert counted(writer, "calls", "disconnected") >= 3


async def test_many_rooms_are_followed_again_after_a_cut(connect_to: ConnectTo) -> None:
    writer, reader = await connect_to("web-0"), await connect_to("web-1")
    names = [RoomName(f"room-{number}") for number in range(1000)]
    listeners = {name: Listener() for name in names}
    for name, listener in listeners.items():
        reader.follow(name, START, listener)
    await asyncio.gather(*(writer.append(name, placed(1)) for name in names))
    for listener in listeners.values():
        await listener.count(1)
    await writer.command("CLIENT", "KILL", "TYPE", "pubsub")
    await asyncio.gather(*(writer.append(name, placed(2)) for name in names))
    for listener in listeners.values():
        await listener.count(2)
        assert fences(listener) == [1, 2]


class DeafLink:
    """A proxy in front of Redis that can swallow what it says to subscribers, with the connection
    open all the while: a path that drops packets."""

    def __init__(self, target: str, path: Path) -> None:
        self.target = target
        self.path = path
        self.deaf = False
        self.subscribers = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        far_reader, far_writer = await asyncio.open_unix_connection(self.target)
        subscribed = asyncio.Event()
        swallow = self.deaf

        async def up() -> None:
            while data := await reader.read(65536):
                if b"SUBSCRIBE" in data and not subscribed.is_set():
                    subscribed.set()
                    self.subscribers += 1
                far_writer.write(data)

        async def down() -> None:
            while data := await far_reader.read(65536):
                # Connections made after the path went bad are good.
                if not (self.deaf and subscribed.is_set() and not swallow):
                    writer.write(data)

        ways = [asyncio.ensure_future(up()), asyncio.ensure_future(down())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Closed first: the test's end may cancel us while we wait for the two ways.
            writer.close()
            far_writer.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def test_a_silent_link_is_left_and_nothing_is_missed(
    server: Breakable, connect_to: ConnectTo, tmp_path: Path
) -> None:
    path = tmp_path / "deaf.sock"
    proxy = DeafLink(server.config.url.removeprefix("unix://"), path)
    await proxy.start()
    writer = await connect_to("web-0")
    reader = await Center.connect(
        msgspec.structs.replace(server.config, url=f"unix://{path}"), name="web-1"
    )
    listener = Listener()
    reader.follow(DEMO, START, listener)
    await writer.append(DEMO, placed(0))
    await listener.count(1)
    proxy.deaf = True
    for number in range(1, 4):
        await writer.append(DEMO, placed(number))
    # The link is open and silent: the other connection's comparison of heads tells.
    await listener.count(4)
    assert counted(reader, "followers", "recover_head") >= 1

    async def left() -> bool:
        return proxy.subscribers >= 2

    await until(left, "another link")
    await writer.append(DEMO, placed(4))
    await listener.count(5)
    assert fences(listener) == [0, 1, 2, 3, 4]
    await reader.close()
    await proxy.stop()


# -- Killed


async def test_a_killed_server_that_comes_back_costs_nobody_their_stay(
    server: Breakable, house: House
) -> None:
    house.web.follow(DEMO, START, house.listener)
    before = await house.join("ana")
    await house.listener.count(3)
    await house.web.command("WAITAOF", 1, 0, 5000)
    os.kill(server.valkey.pid, signal.SIGKILL)
    await server.valkey.wait()
    await server.valkey.stop()

    async def noticed() -> bool:
        return not await house.web.ping()

    await until(noticed, "the loss of Redis to be noticed")
    started = asyncio.get_running_loop().time()
    with pytest.raises(InfrastructureError) as failed:
        await house.join("bea")
    assert failed.value.code == "center_unavailable"
    assert failed.value.retry
    assert asyncio.get_running_loop().time() - started < 3.0
    with pytest.raises(InfrastructureError):
        await house.web.request(house.media.node_id, OpenRoom(room=DEMO))
    await until(_passed(server.config.lease_ttl_s), "every lease to run out")
    await server.restart()
    await house.back()
    after = await house.join("eva")
    assert after.owner == before.owner == house.media.node_id
    assert [one.identity for one in after.snapshot.participants] == ["ana", "eva"]
    await house.listener.heard("participant.joined")

    async def judging() -> bool:
        return house.reaper.may_judge

    await until(judging, "the reaper's vigil")
    await until(_steps(house.reaper), "two more steps of the reaper")
    assert "participant.left" not in house.listener.types
    assert not any(isinstance(output, ResyncNeeded) for output in house.listener.outputs)
    assert not house.node.lost.is_set()


def _passed(seconds: float) -> Callable[[], Awaitable[bool]]:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def done() -> bool:
        return loop.time() >= end

    return done


def _steps(reaper: Reaper) -> Callable[[], Awaitable[bool]]:
    begin = reaper.counters["steps"]

    async def done() -> bool:
        return reaper.counters["steps"] >= begin + 2

    return done


async def test_a_process_that_starts_before_redis_comes_up_by_itself(
    server: Breakable, connect_to: ConnectTo
) -> None:
    await server.valkey.stop()
    center = await connect_to("web-0")
    listener = Listener()
    center.follow(DEMO, START, listener)
    assert not await center.ping()
    await server.restart()

    async def appended() -> bool:
        try:
            await center.append(DEMO, placed(1), idem="one")
        except InfrastructureError:
            return False
        return True

    await until(appended, "Redis to come up")
    await listener.count(1)
    assert fences(listener) == [1]


# -- Paused


async def test_a_paused_server_is_away_and_what_was_doubtful_is_undone(
    server: Breakable, house: House
) -> None:
    await house.join("ana")
    house.web.follow(DEMO, START, house.listener)
    await house.listener.heard("participant.joined")
    os.kill(server.valkey.pid, signal.SIGSTOP)
    try:
        started = asyncio.get_running_loop().time()
        joining = [asyncio.ensure_future(house.join(f"late-{number}")) for number in range(5)]
        outcomes = await asyncio.gather(*joining, return_exceptions=True)
        took_s = asyncio.get_running_loop().time() - started
        with pytest.raises(InfrastructureError):
            await house.join("later")
    finally:
        os.kill(server.valkey.pid, signal.SIGCONT)
    assert {outcome.code for outcome in outcomes if isinstance(outcome, InfrastructureError)} == {
        "center_unavailable"
    }
    assert len(outcomes) == 5
    assert took_s < 5.0
    await house.back()

    async def settled() -> bool:
        return not house.rooms.doubtful

    await until(settled, "the doubtful joins to be undone")
    snapshot = await house.rooms.snapshot(DEMO)
    assert [one.identity for one in snapshot.participants] == ["ana"]
    await house.join("bea")
    await house.listener.until(
        lambda self: self.types.count("participant.joined") >= 2 and "bea" in str(self.outputs[-1]),
        "bea's join",
    )
    left = [one.event for one in house.listener.events if isinstance(one.event, ParticipantLeft)]
    assert {one.reason for one in left} <= {"join_failed"}, "nobody was reaped"


# -- Emptied or rolled back


async def test_an_emptied_server_is_told_as_empty_and_following_goes_on(
    server: Breakable, house: House
) -> None:
    await house.join("ana")
    house.web.follow(DEMO, START, house.listener)
    await house.listener.heard("participant.joined")
    await house.web.command("FLUSHALL")
    await house.listener.heard("resync empty")
    await house.back()
    await house.rooms.create(DEMO, RoomSettings())
    await house.listener.until(lambda self: self.types[-1] == "room.created", "room.created")


async def test_a_restored_older_copy_is_told_and_following_goes_on(
    server: Breakable, house: House
) -> None:
    """The numbers that the lost events had are used again; nobody may mistake them."""
    writer = house.web
    listener, late = Listener(), Listener()
    house.media.follow(DEMO, START, listener)
    for number in range(10):
        await writer.append(DEMO, placed(number))
    await listener.count(10)
    await server.valkey.stop()
    copy = server.data_dir.parent / "copy"
    shutil.copytree(server.data_dir / "appendonlydir", copy)
    await server.restart()
    await house.back()
    for number in range(10, 20):
        await writer.append(DEMO, placed(number))
    await listener.count(20)
    await server.valkey.stop()
    shutil.rmtree(server.data_dir / "appendonlydir")
    shutil.copytree(copy, server.data_dir / "appendonlydir")
    await server.restart()
    await house.back()
    # As many as were lost, at once: who counts would notice nothing.
    await asyncio.gather(*(writer.append(DEMO, placed(100 + n)) for n in range(10)))
    await listener.until(
        lambda self: any(isinstance(output, ResyncNeeded) for output in self.outputs), "a resync"
    )
    (resync,) = [output for output in listener.outputs if isinstance(output, ResyncNeeded)]
    assert resync.reason in ("fork", "rollback")
    await writer.append(DEMO, placed(999))
    await listener.until(lambda self: fences(self)[-1] == 999, "the event after the resync")
    writer.follow(DEMO, START, late)
    await late.count(21)
    assert fences(late) == [*range(10), *range(100, 110), 999]
    at = next(n for n, event in enumerate(late.events) if event.id == resync.position)
    after = listener.outputs[listener.outputs.index(resync) + 1 :]
    assert after == late.events[at + 1 :], "after the resync nothing is missing or doubled"


# -- Full


async def test_a_full_server_refuses_clearly_and_recovers(house: House) -> None:
    await house.join("ana")
    await house.web.command("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(InfrastructureError) as failed:
        await house.join("bea")
    assert failed.value.code == "center_unavailable"
    await house.web.command("CONFIG", "SET", "maxmemory", "0")
    await house.back()
    joined = await house.join("bea")
    assert [one.identity for one in joined.snapshot.participants] == ["ana", "bea"]
