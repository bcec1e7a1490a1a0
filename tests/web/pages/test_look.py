"""Every page at phone, tablet and desk width, light and dark: nothing sticks out, nothing is too
small to touch, and axe finds no fault. With TERTULIA_SHOTS=directory, pictures are left there."""

import os
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Page, expect

from tests.fakes.page_waits import OpenPage
from tests.fakes.pages_server import TIME, PagesServer, participant, room_info, track

pytestmark = pytest.mark.asyncio(loop_scope="session")

AXE = (Path(__file__).parents[3] / "node_modules" / "axe-core" / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
# The meeting fills the screen; its controls are reached by landmarks and keys, not by headings.
IGNORED = {"page-has-heading-one", "region"}
NO_DEVICES = """
navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", "NotFoundError"));
"""
SMALL_TARGETS = """() => [...document.querySelectorAll("button, a, input, select")]
  .filter((e) => e.checkVisibility() && !e.classList.contains("skip") && e.type !== "range")
  .filter((e) => !e.classList.contains("link"))
  .map((e) => ({ e, box: e.getBoundingClientRect() }))
  .filter(({ box }) => box.width < 43.5 || box.height < 43.5)
  .map(({ e, box }) => `${e.outerHTML.slice(0, 80)} ${box.width}x${box.height}`)"""

# The meeting never scrolls: its bar and every tile are wholly inside.
OUTSIDE = """() => [...document.querySelectorAll(".tile, .bar button")]
  .filter((e) => e.checkVisibility())
  .map((e) => ({ e, box: e.getBoundingClientRect() }))
  .filter(({ box }) => box.left < 0 || box.top < 0 || box.right > innerWidth + 0.5
    || box.bottom > innerHeight + 0.5)
  .map(({ e }) => e.outerHTML.slice(0, 80))"""
# Two frames: the resize observer has laid out the tiles, animations are at their end.
SETTLE = """new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => {
  document.getAnimations().forEach((a) => a.finish());
  resolve();
})))"""

SIZES = [(360, 740), (800, 600), (1280, 800)]
THEMES: list[Literal["light", "dark"]] = ["light", "dark"]


async def check(page: Page, name: str) -> None:
    """Look at *page* as it stands, in every size and theme."""
    await page.evaluate(AXE)
    for width, height in SIZES:
        await page.set_viewport_size({"width": width, "height": height})
        for theme in THEMES:
            await page.emulate_media(color_scheme=theme)
            await page.evaluate(SETTLE)
            await check_once(page)
            directory = os.environ.get("TERTULIA_SHOTS")
            if directory:
                await page.screenshot(path=Path(directory) / f"{name}_{theme}{width}.png")


async def check_once(page: Page) -> None:
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(overflow) == 0, "the page scrolls sideways"
    assert await page.evaluate(SMALL_TARGETS) == []
    assert await page.evaluate(OUTSIDE) == [], "sticks out of the window"
    found = await page.evaluate(
        "(tags) => axe.run({ runOnly: tags }).then((r) => r.violations)", RULES
    )
    faults = [
        f"{v['id']}: {n['html']} {n['failureSummary']}"
        for v in found
        if v["id"] not in IGNORED
        for n in v["nodes"]
    ]
    assert faults == []


async def test_start(open_page: OpenPage) -> None:
    page = await open_page("/")
    await page.get_by_test_id("join").click()  # with its complaints
    await check(page, "start")


async def test_preview(open_page: OpenPage) -> None:
    page = await open_page("/r/tea")
    await expect(page.get_by_test_id("own-picture")).to_be_visible()
    await check(page, "preview")


async def test_preview_refused(open_page: OpenPage) -> None:
    page = await open_page("/r/tea", script=NO_DEVICES)
    await expect(page.get_by_test_id("refusal")).to_be_visible()
    await check(page, "refused")


async def test_room(open_page: OpenPage, server: PagesServer) -> None:
    server.people = [
        participant("bob", "Bob Builder", track("TR_b", "microphone", muted=True)),
        participant("cy", "Cynthia of the Very Long Name Indeed", track("TR_c", "microphone")),
    ]
    page = await open_page("/r/tea", script=NO_DEVICES)
    await page.get_by_test_id("name").fill("Ada")
    await page.get_by_test_id("join").click()
    stay = await server.stay()
    await expect(page.get_by_test_id("tile")).to_have_count(3)
    broadcast = {"sid": "BC_1", "state": "live", "started_at": TIME, "url": "/live/x"}
    await stay.say({"type": "broadcast", "broadcast": broadcast})
    speaker = {"participant": "PA_cy", "identity": "cy", "level": 0.6}
    await stay.say({"type": "speakers", "speakers": [speaker]})
    await expect(page.get_by_test_id("live-badge")).to_be_visible()
    await check(page, "room")
    await stay.say(
        {
            "type": "track_published",
            "participant": "PA_bob",
            "track": track("TR_s", "screen_share"),
        }
    )
    await page.get_by_test_id("people-button").click()
    await expect(page.get_by_test_id("stage")).to_be_visible()
    await check(page, "stage")
    await page.get_by_test_id("devices").click()
    await check(page, "devices")


async def test_ending(open_page: OpenPage, server: PagesServer) -> None:
    server.refuse_join = ("room_full", "no", 4034)
    page = await open_page("/r/tea", script=NO_DEVICES)
    await page.get_by_test_id("name").fill("Ada")
    await page.get_by_test_id("join").click()
    await expect(page.get_by_test_id("ending")).to_be_visible()
    await check(page, "ending")


async def test_watch_waiting(open_page: OpenPage) -> None:
    page = await open_page("/watch/tea")
    await expect(page.get_by_test_id("cover-title")).to_have_text("Not live yet")
    await check(page, "waiting")


async def test_watch_bar(open_page: OpenPage, server: PagesServer) -> None:
    await server.set_live("live", "BC_1", "/live/tea/index.m3u8")
    page = await open_page("/watch/tea")
    await expect(page.get_by_test_id("live")).to_be_visible()
    await check(page, "watch")


async def test_admin(open_page: OpenPage, server: PagesServer) -> None:
    page = await open_page("/admin")
    await page.get_by_test_id("sign-in").click()
    await check(page, "signin")
    server.rooms = {n: room_info(n, i) for i, n in enumerate(["board-meeting", "lounge", "tea"])}
    live = {"sid": "BC_1", "state": "live", "started_at": TIME, "url": "/live/x"}
    server.rooms["tea"] = room_info("tea", 2, live)
    cy = participant(
        "guest-0123456789abcdef0123",
        "Cynthia",
        track("TR_c", "camera"),
        track("TR_s", "screen_share"),
    )
    bob = participant("bob", "Bob", track("TR_m", "microphone", muted=True))
    server.room_people = {"tea": [bob, cy]}
    node = {"id": "media-0.abcdefghjkmn", "kind": "media", "started_at": TIME, "load": 0.25}
    server.nodes = [{**node, "rooms": 3, "draining": True}]
    await server.append("room.created", {"sid": "RM_one"})
    await server.append("participant.joined", {"participant": bob})
    await page.get_by_test_id("token").fill("admin")
    await page.get_by_test_id("sign-in").click()
    await page.locator("[data-room=tea]").get_by_test_id("room-open").click()
    await expect(page.get_by_test_id("participant-row")).to_have_count(2)
    await expect(page.get_by_test_id("event")).to_have_count(2)
    await check(page, "admin")


async def test_motion_stops_when_the_system_says_so(open_page: OpenPage) -> None:
    page = await open_page("/", reduced_motion="reduce")
    await page.evaluate(
        "document.body.append(Object.assign(document.createElement('p'), {className: 'notice'}))"
    )
    assert await page.evaluate("document.getAnimations().length") == 0


async def test_all_of_the_start_page_is_reached_by_the_tab_key_in_order(
    open_page: OpenPage,
) -> None:
    page = await open_page("/")
    reached = []
    for _ in range(10):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.id"))
    form = [i for i in reached if i in ("name", "join", "watch", "copy")]
    assert form == ["name", "join", "watch", "copy"]
