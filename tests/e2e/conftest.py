"""The whole program, and real browsers."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.fakes.chromium import launched
from tests.fakes.running_server import RunningServer, StartServer


@pytest.fixture
async def start_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """Starts servers that are ended, and looked at for leftovers, after the test."""
    servers: list[RunningServer] = []

    async def start(*extra: str, media_nodes: int = 1) -> RunningServer:
        directory = tmp_path / f"server{len(servers)}"
        server = await RunningServer.start(directory, *extra, media_nodes=media_nodes)
        servers.append(server)
        return server

    yield start
    for server in servers:
        code = await server.stop()
        assert code in (0, -signal.SIGKILL), server.log  # a test may have killed it


@pytest.fixture
async def server(start_server: StartServer) -> RunningServer:
    return await start_server()


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with launched() as browser:
        yield browser
