"""Redis is away, and a node as a process of its own."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator.center import Center
from coordinator.config import CenterConfig
from coordinator.embedded import EmbeddedValkey
from coordinator.events import ParticipantLeft
from coordinator.ids import RoomName
from coordinator.rooms import Rooms
from media.config import MediaConfig
from media.node import MediaNode
from media.sfu.plane import MediaPlane
from tests.fakes.center import Breakable, until
from tests.fakes.moving_picture import Tone

ROOM = RoomName("plaza")
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Breakable]:
    server = Breakable(tmp_path / "data", await EmbeddedValkey.start(tmp_path / "data"))
    yield server
    await server.valkey.stop()


@pytest.fixture
def center_config(server: Breakable) -> CenterConfig:
    """Everything here is on the server that is to be broken."""
    return server.config


async def decoded(track: Any, count: int) -> None:
    async with asyncio.timeout(10):
        for _ in range(count):
            await track.recv()


async def test_media_flows_while_redis_is_away_and_the_ledger_is_told_later(
    server: Breakable, node: MediaNode, edge: Any, ledger: Any
) -> None:
    anna, ben, cleo = [await edge.join(name) for name in ("anna", "ben", "cleo")]
    (hers,) = await anna.publish((Tone(), "microphone"))
    (sound,) = await ben.receives(hers)
    await cleo.receives(hers)
    await cleo.connected(cleo.subscriber)
    await decoded(sound, 10)
    os.kill(server.valkey.pid, signal.SIGKILL)
    await server.valkey.stop()  # gives its directory free
    await decoded(sound, 100)
    room = node._hosted[ROOM].room
    await cleo.subscriber.close()

    async def cleo_is_gone() -> bool:
        return cleo.sid not in room.participants

    await until(cleo_is_gone, "the node to lose cleo's transport")
    await decoded(sound, 20)
    await server.restart()
    event = await ledger.until_event(ParticipantLeft, sid=cleo.sid)
    assert event.reason == "left"
    await decoded(sound, 20)

    async def back() -> bool:
        with contextlib.suppress(Exception):
            return [n.id for n in await edge.rooms.nodes.list("media")] == [node._center.node_id]
        return False

    await until(back, "the node to be registered again")
    dora = await edge.join("dora")
    await dora.receives(hers)


async def test_a_ledger_that_lost_everything_drops_the_room(
    server: Breakable, node: MediaNode, edge: Any
) -> None:
    anna = await edge.join("anna")
    await anna.publish((Tone(), "microphone"))
    await edge.center.command("FLUSHALL")

    async def dropped() -> bool:
        return node.hosted == ()

    await until(dropped, "the node to drop the room")


PROGRAM = """
import sys, msgspec, uvloop
from coordinator.config import CenterConfig
from media.config import MediaConfig
from media.process import run_media
center, media = sys.argv[1:]
uvloop.run(run_media(
    msgspec.json.decode(center, type=CenterConfig), msgspec.json.decode(media, type=MediaConfig)
))
"""


async def test_a_media_process_serves_and_drains_on_sigterm(
    center_config: CenterConfig, edge: Any, ledger: Any
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        msgspec.json.encode(center_config).decode(),
        msgspec.json.encode(MediaConfig(name="media-9", port=0)).decode(),
        cwd=REPOSITORY,
    )
    try:

        async def registered() -> bool:
            return bool(await edge.rooms.nodes.list("media"))

        await until(registered, "the process to register")
        anna, ben = await edge.join("anna"), await edge.join("ben")
        assert anna.owner.startswith("media-9.")
        (hers,) = await anna.publish((Tone(), "microphone"))
        (sound,) = await ben.receives(hers)
        await decoded(sound, 20)
        process.send_signal(signal.SIGTERM)
        event = await ledger.until_event(ParticipantLeft, sid=anna.sid)
        assert event.reason == "server_draining"
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert await edge.rooms.nodes.list("media") == []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_two_nodes_cannot_have_one_port(center_config: CenterConfig) -> None:
    plane = await MediaPlane.open(MediaConfig(port=0))
    try:
        with pytest.raises(OSError, match="in use"):
            await MediaPlane.open(MediaConfig(port=plane.port))
    finally:
        await plane.close()


async def test_a_node_starts_while_redis_is_away(server: Breakable) -> None:
    os.kill(server.valkey.pid, signal.SIGKILL)
    await server.valkey.stop()  # gives its directory free
    plane = await MediaPlane.open(MediaConfig(port=0))
    center = await Center.connect(server.config, name="media-0")
    node = MediaNode(center, Rooms(center), plane, MediaConfig(port=0))
    try:
        await node.start()
        assert not node.lease.registered
        await server.restart()

        async def registered() -> bool:
            return node.lease.registered

        await until(registered, "the node to register")
    finally:
        await node.close()
        await center.close()
        await plane.close()
