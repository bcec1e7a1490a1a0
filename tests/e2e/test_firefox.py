"""Firefox and Chromium meet in one room of a real server."""

from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.fakes.firefox import Firefox
from tests.fakes.page_waits import until
from tests.fakes.running_server import RunningServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

OTHERS_PICTURE = "document.querySelector('[data-testid=tile]:not(.mine) video').currentTime > 1"
OTHERS_SOUND = "document.querySelector('[data-testid=tile-audio]').currentTime > 1"
IN_THE_ROOM = "document.body.dataset.state === 'in'"


async def test_firefox_and_chromium_see_and_hear_each_other(
    server: RunningServer, chromium: Browser, tmp_path: Path
) -> None:
    page = await chromium.new_page()
    await page.goto(server.url + "/r/plaza")
    await page.get_by_test_id("name").fill("Ana")
    await page.get_by_test_id("join").click(no_wait_after=True)
    profile = tmp_path / "firefox"
    profile.mkdir()
    async with Firefox.running(profile) as firefox:
        await firefox.open(server.url + "/r/plaza")
        await firefox.until("document.querySelector('#own-picture').currentTime > 0.3")
        await firefox.evaluate("document.querySelector('#name').value = 'Ben'")
        await firefox.evaluate("document.querySelector('#join').click()")
        await firefox.until(IN_THE_ROOM)
        await until(page, IN_THE_ROOM)
        for condition in (OTHERS_PICTURE, OTHERS_SOUND):
            await firefox.until(condition)
            await until(page, condition)
        await firefox.evaluate("document.querySelector('#leave').click()")
    await page.get_by_test_id("alone").wait_for()
    await page.context.close()
