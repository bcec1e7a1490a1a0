"""What all suites share: a real Valkey, fresh for each test, and the message centers on it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from coordinator.center import Center
from coordinator.config import CenterConfig
from coordinator.embedded import EmbeddedValkey
from coordinator.rooms import Rooms


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real server for the whole session. Its child watcher and pdeath signal belong
    to a loop and a thread that outlive every test."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="session valkey", daemon=True)
    thread.start()
    data_dir: Path = tmp_path_factory.mktemp("valkey")
    try:
        valkey = asyncio.run_coroutine_threadsafe(EmbeddedValkey.start(data_dir), loop).result(30)
        yield valkey.url
        asyncio.run_coroutine_threadsafe(valkey.stop(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
async def center_config(valkey_url: str) -> CenterConfig:
    """A message center with an empty Redis and times short enough for tests."""
    from coordinator.wire import Wire

    wire = await Wire.open(valkey_url, name="flush", timeout_s=5.0)
    await wire.call([("FLUSHALL",)], timeout_s=5.0)
    await wire.close()
    return CenterConfig(
        url=valkey_url,
        lease_ttl_s=1.0,
        reap_interval_s=0.1,
        request_timeout_s=5.0,
        head_check_s=0.5,
    )


Connect = Callable[[str], Awaitable[Center]]


@pytest.fixture
async def connect(center_config: CenterConfig) -> AsyncIterator[Connect]:
    """Make message centers by process name; all are closed at the end."""
    centers: list[Center] = []

    async def make(name: str) -> Center:
        center = await Center.connect(center_config, name=name)
        centers.append(center)
        return center

    yield make
    for center in reversed(centers):
        await center.close()


@pytest.fixture
async def center(connect: Connect) -> Center:
    """The message center of ``web-0``."""
    return await connect("web-0")


@pytest.fixture
async def rooms(center: Center) -> AsyncIterator[Rooms]:
    rooms = Rooms(center)
    yield rooms
    await rooms.drop_doubts()
