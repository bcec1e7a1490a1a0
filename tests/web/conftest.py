"""A whole web process in the test's own loop, on a real message center, and who calls it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from coordinator.center import Center
from coordinator.ids import Identity, RoomName, new_participant_sid
from coordinator.rooms import JoinResult
from signaling.config import SignalingConfig
from tests.fakes.web_door import KEY, SECRET, Carrier, Door, JoinAs, OpenDoor
from web.config import WebConfig
from web.process import WebServer


@pytest.fixture
async def open_door(center: Center) -> AsyncIterator[OpenDoor]:
    doors: list[Door] = []

    async def make(*, open_rooms: bool = False, drain_timeout_s: float = 1.0) -> Door:
        config = SignalingConfig(api_keys={KEY: SECRET}, open_rooms=open_rooms)
        server = WebServer(center, WebConfig(port=0, drain_timeout_s=drain_timeout_s), config)
        await server.start()
        doors.append(Door(server, config))
        return doors[-1]

    yield make
    for door in doors:
        await door.close()
        await door.server.close()


@pytest.fixture
async def door(open_door: OpenDoor) -> Door:
    """A process whose rooms are closed to guests."""
    return await open_door()


@pytest.fixture
async def carrier(connect: Callable[[str], Awaitable[Center]]) -> AsyncIterator[Carrier]:
    carrier = await Carrier.start(await connect("media-0"))
    yield carrier
    await carrier.lease.close()
    await carrier.rooms.drop_doubts()


@pytest.fixture
def join_as(door: Door) -> JoinAs:
    """Join a room through the door's process, without a socket."""

    async def call(room: str, identity: str) -> JoinResult:
        return await door.server.rooms.join(
            RoomName(room),
            sid=new_participant_sid(),
            identity=Identity(identity),
            display_name=identity.title(),
        )

    return call
