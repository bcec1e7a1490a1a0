"""What the coordinator's tests share: media nodes, joins, a server to be broken."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.embedded import EmbeddedValkey
from coordinator.ids import Identity, RoomName, new_participant_sid
from coordinator.model import Permissions, RoomSettings
from coordinator.rooms import JoinResult, Rooms
from tests.fakes.center import Breakable, Connect, Join, MediaNode, StartNode


@pytest.fixture
async def start_node(connect: Connect) -> AsyncIterator[StartNode]:
    nodes: list[MediaNode] = []

    async def make(name: str, load: tuple[int, float] = (0, 0.0)) -> MediaNode:
        node = MediaNode(await connect(name), load)
        await node.lease.start()
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        await node.lease.close()
        await node.rooms.drop_doubts()


@pytest.fixture
async def node(start_node: StartNode) -> MediaNode:
    return await start_node("media-0")


@pytest.fixture
def join(rooms: Rooms) -> Join:
    """Join a room from ``web-0`` by identity."""

    async def call(
        room: str,
        identity: str,
        *,
        hidden: bool = False,
        via: Rooms | None = None,
        settings: RoomSettings | None = None,
        create: bool = True,
    ) -> JoinResult:
        return await (via or rooms).join(
            RoomName(room),
            sid=new_participant_sid(),
            identity=Identity(identity),
            display_name=identity.title(),
            permissions=Permissions(hidden=hidden),
            settings=settings,
            create=create,
        )

    return call


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Breakable]:
    server = Breakable(tmp_path / "data", await EmbeddedValkey.start(tmp_path / "data"))
    yield server
    await server.valkey.stop()


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    left.discard(asyncio.current_task())
    assert not left, f"tasks left running: {left}"
