"""The pages in Debian's Chromium, over a small scripted server."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page

from tests.fakes.chromium import launched
from tests.fakes.page_waits import OpenPage
from tests.fakes.pages_server import PagesServer

# An address that is not loopback, so that the page is not secure.
INSECURE = "--host-resolver-rules=MAP insecure.test 127.0.0.1"
TIMEOUT_MS = 10_000


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with launched([INSECURE]) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def server() -> AsyncIterator[PagesServer]:
    async with PagesServer().running() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(chromium: Browser, server: PagesServer) -> AsyncIterator[OpenPage]:
    """``await open_page("/r/tea", **context options)``. Fails the test for anything that a page
    complained about."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    async def open_it(path: str, *, script: str = "", **options: Any) -> Page:
        base = options.pop("base", server.url)
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = await chromium.new_context(locale=options.pop("locale", "en-GB"), **options)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        if script:
            await context.add_init_script(script)
        page = await context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(base + path)
        return page

    yield open_it
    for context in contexts:
        await context.close()
    # A refused or interrupted request is logged by the browser itself, whatever the page does.
    unexpected = [c for c in complaints if "Failed to load resource" not in c]
    unexpected = [c for c in unexpected if "net::ERR" not in c]
    assert not unexpected
