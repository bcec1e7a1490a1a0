"""The start page."""

import pytest
from playwright.async_api import Page, expect

from tests.fakes.page_waits import OpenPage
from tests.fakes.pages_server import PagesServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def fill(page: Page, room: str, name: str) -> None:
    await page.get_by_test_id("room").fill(room)
    await page.get_by_test_id("name").fill(name)


async def test_joining_goes_to_the_room_and_remembers_the_name(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/")
    await fill(page, "  tea  time ", " Ada ")
    await page.get_by_test_id("join").click()
    await page.wait_for_url("**/r/tea-time")
    await page.goto(server.url)
    await expect(page.get_by_test_id("name")).to_have_value("Ada")


async def test_watching_needs_no_name(open_page: OpenPage) -> None:
    page = await open_page("/")
    await fill(page, "茶館", "")
    await page.get_by_test_id("watch").click()
    await page.wait_for_url("**/watch/%E8%8C%B6%E9%A4%A8")


@pytest.mark.parametrize(
    ("room", "words"),
    [
        ("", "Give the room a name"),
        ("-tea", "begins with a letter"),
        ("tea/time", "letters, digits"),
        ("a{b}", "letters, digits"),
        ("x" * 65, "at most 64"),
    ],
)
async def test_a_room_name_that_is_not_allowed_is_explained(
    open_page: OpenPage, room: str, words: str
) -> None:
    page = await open_page("/")
    await fill(page, room, "Ada")
    await page.get_by_test_id("join").click()
    await expect(page.get_by_test_id("room-fault")).to_contain_text(words)
    await expect(page.get_by_test_id("room")).to_be_focused()
    await expect(page.get_by_test_id("room")).to_have_attribute("aria-invalid", "true")
    assert page.url.endswith("/")


async def test_a_missing_name_is_explained(open_page: OpenPage) -> None:
    page = await open_page("/")
    await fill(page, "tea", " ")
    await page.get_by_test_id("join").click()
    await expect(page.get_by_test_id("name-fault")).to_contain_text("your name")


async def test_the_link_is_copied(open_page: OpenPage, server: PagesServer) -> None:
    page = await open_page("/", permissions=["clipboard-read", "clipboard-write"])
    await fill(page, "tea time", "")
    await page.get_by_test_id("copy").click()
    await expect(page.get_by_test_id("notice")).to_contain_text("copied")
    assert await page.evaluate("navigator.clipboard.readText()") == f"{server.url}/r/tea-time"


async def test_where_copying_does_not_work_the_link_is_shown(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/", base=f"http://insecure.test:{server.port}")
    await fill(page, "tea", "")
    await page.get_by_test_id("copy").click()
    await expect(page.get_by_test_id("notice")).to_contain_text("/r/tea")


@pytest.mark.parametrize(
    ("path", "script", "button"),
    [("/", "start.js", "join"), ("/r/tea", "room.js", "join"), ("/admin", "admin.js", "sign-in")],
)
async def test_a_form_waits_for_its_page_to_listen(
    open_page: OpenPage, server: PagesServer, path: str, script: str, button: str
) -> None:
    page = await open_page(path)
    await expect(page.get_by_test_id(button)).to_be_enabled()
    await page.route(f"**/assets/{script}", lambda route: route.abort())
    await page.reload()
    await expect(page.get_by_test_id(button)).to_be_disabled()


async def test_the_language_is_the_browsers_and_can_be_changed(open_page: OpenPage) -> None:
    page = await open_page("/", locale="zh-CN")
    await expect(page.get_by_test_id("join")).to_have_text("加入")
    assert await page.evaluate("document.documentElement.lang") == "zh-CN"
    await page.get_by_test_id("language").click()
    await expect(page.get_by_test_id("join")).to_have_text("Join")
    await page.reload()
    await expect(page.get_by_test_id("join")).to_have_text("Join")


async def test_the_theme_follows_the_system_until_it_is_chosen(open_page: OpenPage) -> None:
    page = await open_page("/", color_scheme="dark")
    dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    await page.get_by_test_id("theme").click()
    light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    await page.reload()
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == light
