"""Debian's Chromium with a camera and a microphone that are made up, and no word to the world."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

FLAGS = (
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
)


@asynccontextmanager
async def launched(more_flags: Sequence[str] = ()) -> AsyncIterator[Browser]:
    """A browser with a profile of its own, ended with the block."""
    path = shutil.which("chromium")
    assert path, "Debian's chromium is needed: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, headless=True, args=[*FLAGS, *more_flags]
        )
        yield browser
        await browser.close()
