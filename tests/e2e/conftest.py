"""The whole program, and real browsers."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from tests.fakes.running_server import RunningServer, StartServer

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream=fps=30",
]


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
        assert code == 0, server.log


@pytest.fixture
async def server(start_server: StartServer) -> RunningServer:
    return await start_server()


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    path = shutil.which("chromium")
    assert path, "Debian's chromium is needed: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, headless=True, args=CHROMIUM_FLAGS
        )
        yield browser
        await browser.close()
