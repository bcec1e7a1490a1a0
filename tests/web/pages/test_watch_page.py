"""The watch page, with a broadcast of real segments."""

from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.fakes.live_playlist import LivePlaylist
from tests.fakes.page_waits import OpenPage, until
from tests.fakes.pages_server import PagesServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

URL = "/live/tea/index.m3u8"
MOVES = "document.querySelector('video').currentTime > (window.seen ??= 0.001) + 0.5"


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("broadcast")
    await LivePlaylist.make(directory)
    return directory


@pytest_asyncio.fixture(loop_scope="session")
async def live(server: PagesServer, segments: Path) -> PagesServer:
    server.playlist = LivePlaylist(segments)
    await server.set_live("live", "BC_1", URL)
    return server


async def state(page: Page, name: str) -> None:
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", name)


async def test_waits_and_begins_by_itself(
    open_page: OpenPage, server: PagesServer, segments: Path
) -> None:
    page = await open_page("/watch/tea")
    await state(page, "waiting")
    await expect(page.get_by_test_id("cover-title")).to_have_text("Not live yet")
    await server.set_live("requested", "BC_1")
    await state(page, "starting")
    server.playlist = LivePlaylist(segments)
    await server.set_live("live", "BC_1", URL)
    await state(page, "playing")
    await until(page, MOVES)
    await expect(page.get_by_test_id("cover")).to_be_hidden()


async def test_shows_how_far_behind_it_is(open_page: OpenPage, live: PagesServer) -> None:
    page = await open_page("/watch/tea")
    await until(page, MOVES)
    behind = page.get_by_test_id("behind")
    await until(page, "Number(document.querySelector('#behind').dataset.seconds) > 0")
    assert 0 < float(await behind.get_attribute("data-seconds") or "nan") < 8
    await expect(behind).to_contain_text("s behind")


async def test_goes_back_and_to_the_live_edge(open_page: OpenPage, live: PagesServer) -> None:
    page = await open_page("/watch/tea")
    await until(page, MOVES)
    await until(page, "document.querySelector('#live').dataset.atEdge === 'true'")
    await page.get_by_test_id("back").click()
    await until(page, "document.querySelector('#live').dataset.atEdge === 'false'")
    await page.get_by_test_id("live").click()
    await until(page, "document.querySelector('#live').dataset.atEdge === 'true'")


async def test_pauses_and_plays(open_page: OpenPage, live: PagesServer) -> None:
    page = await open_page("/watch/tea")
    await until(page, MOVES)
    button = page.get_by_role("button", name="Pause")
    await button.click()
    await until(page, "document.querySelector('video').paused")
    await page.get_by_role("button", name="Play").click()
    await until(page, "!document.querySelector('video').paused")


async def test_one_tap_brings_the_sound_that_the_browser_held_back(
    open_page: OpenPage, live: PagesServer
) -> None:
    script = """
      let tapped = false;
      addEventListener("pointerdown", () => { tapped = true; }, true);
      HTMLMediaElement.prototype.play = new Proxy(HTMLMediaElement.prototype.play, {
        apply: (play, element, rest) => element.muted || tapped
          ? play.apply(element, rest) : Promise.reject(new DOMException("", "NotAllowedError")),
      });
    """
    page = await open_page("/watch/tea", script=script)
    await until(page, MOVES)  # muted, it plays
    tap = page.get_by_test_id("unmute")
    await expect(tap).to_be_visible()
    await tap.click()
    await expect(tap).to_be_hidden()
    assert not await page.evaluate("document.querySelector('video').muted")
    await page.get_by_role("button", name="Mute").click()
    assert await page.evaluate("document.querySelector('video').muted")
    await expect(tap).to_be_hidden()  # silence by one's own wish


async def test_says_that_it_ended_once_the_last_of_it_was_played(
    open_page: OpenPage, live: PagesServer
) -> None:
    page = await open_page("/watch/tea")
    await until(page, MOVES)
    assert live.playlist is not None
    live.playlist.ended = True
    await live.set_live("ended", "BC_1")
    await state(page, "playing")
    await expect(page.get_by_test_id("cover-title")).to_have_text(
        "The broadcast has ended", timeout=9000
    )
    await state(page, "ended")


async def test_plays_the_next_broadcast_after_one_was_lost(
    open_page: OpenPage, live: PagesServer, segments: Path
) -> None:
    page = await open_page("/watch/tea")
    await until(page, MOVES)
    await live.set_live("requested", "BC_1")  # its node died; the next one begins anew
    await state(page, "starting")
    live.playlist = LivePlaylist(segments)
    await live.set_live("live", "BC_1", URL)
    await state(page, "playing")
    await page.evaluate("window.seen = undefined")
    await until(page, MOVES)


async def test_an_interruption_is_said_and_healed(open_page: OpenPage, live: PagesServer) -> None:
    live.media_status = 503
    page = await open_page("/watch/tea")
    await expect(page.get_by_test_id("broken")).to_be_visible()
    live.media_status = 200
    await until(page, MOVES)
    await expect(page.get_by_test_id("broken")).to_be_hidden()


async def test_a_token_goes_with_every_request(open_page: OpenPage, live: PagesServer) -> None:
    page = await open_page("/watch/tea?access_token=abc")
    await until(page, MOVES)
    assert page.url.endswith("/watch/tea")
    assert f"{URL}?access_token=abc" in live.media_requests


async def test_a_private_broadcast_says_so(open_page: OpenPage, server: PagesServer) -> None:
    server.live_status = 401
    page = await open_page("/watch/tea")
    await state(page, "private")
    await expect(page.get_by_test_id("cover-text")).to_contain_text("link that you were sent")


async def test_a_server_that_is_gone_is_waited_for(
    open_page: OpenPage, server: PagesServer
) -> None:
    server.live_status = 503
    page = await open_page("/watch/tea")
    await state(page, "gone")
    server.live_status = 200
    await state(page, "waiting")


async def test_a_missing_player_says_what_to_do(open_page: OpenPage, live: PagesServer) -> None:
    live.vendor = False
    script = "HTMLMediaElement.prototype.canPlayType = () => '';"
    page = await open_page("/watch/tea", script=script)
    await state(page, "no_player")
    await expect(page.get_by_test_id("cover-text")).to_contain_text("npm ci")
