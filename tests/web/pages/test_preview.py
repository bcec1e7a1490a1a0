"""The preview before a room: devices, and each way in which they are refused."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.fakes.page_waits import OpenPage, until
from tests.fakes.pages_server import PagesServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSE_ALL = """
navigator.mediaDevices.getUserMedia = () =>
  Promise.reject(new DOMException({message}, {name}));
"""
REFUSE_CAMERA = """
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (wanted) =>
  wanted.video ? Promise.reject(new DOMException("", {name})) : open(wanted);
"""


def refuse(script: str, name: str, message: str = "") -> str:
    return script.replace("{name}", repr(name)).replace("{message}", repr(message))


async def join(page: Page, name: str = "Ada") -> None:
    await page.get_by_test_id("name").fill(name)
    await page.get_by_test_id("join").click()


async def test_shows_ones_own_moving_picture_and_the_level(open_page: OpenPage) -> None:
    page = await open_page("/r/tea")
    await until(page, "document.querySelector('#own-picture').currentTime > 0.3")
    await until(page, "Number(document.querySelector('#meter').ariaValueNow) > 20")
    await expect(page.get_by_test_id("refusal")).to_be_hidden()
    await expect(page.get_by_test_id("watch-only")).to_be_hidden()


@pytest.mark.parametrize(
    ("name", "message", "refusal", "words"),
    [
        ("NotAllowedError", "Permission denied", "denied", "left of the address"),
        ("NotAllowedError", "Permission denied by system", "denied_by_system", "privacy settings"),
        ("NotFoundError", "", "none", "Plug one in"),
        ("NotReadableError", "", "in_use", "Another program"),
        ("TypeError", "", "failed", "Try again"),
    ],
)
async def test_a_refusal_is_explained_and_one_can_join_without(
    open_page: OpenPage, server: PagesServer, name: str, message: str, refusal: str, words: str
) -> None:
    page = await open_page("/r/tea", script=refuse(REFUSE_ALL, name, message))
    box = page.get_by_test_id("refusal")
    await expect(box).to_contain_text(words)
    await expect(box).to_contain_text(re.compile("camera (and|or) microphone"))
    await expect(box).to_have_attribute("data-refusal", refusal)
    await expect(page.get_by_test_id("watch-only")).to_be_visible()
    await join(page)
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")
    assert "publisher_offer" not in (await server.stay()).types


async def test_an_insecure_page_is_explained(open_page: OpenPage, server: PagesServer) -> None:
    page = await open_page("/r/tea", base=f"http://insecure.test:{server.port}")
    assert not await page.evaluate("isSecureContext")
    await expect(page.get_by_test_id("refusal")).to_contain_text("https://")
    await expect(page.get_by_test_id("refusal-retry")).to_be_hidden()
    await join(page)
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")


async def test_a_camera_in_use_does_not_cost_the_microphone(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/r/tea", script=refuse(REFUSE_CAMERA, "NotReadableError"))
    await expect(page.get_by_test_id("refusal")).to_contain_text("Starting your camera failed")
    await expect(page.get_by_test_id("preview-microphone")).to_have_attribute(
        "aria-pressed", "true"
    )
    await join(page)
    offer = await (await server.stay()).wait_for("publisher_offer")
    assert [t["source"] for t in offer["tracks"]] == ["microphone"]


async def test_trying_again_after_the_refusal_was_lifted_works(open_page: OpenPage) -> None:
    script = """
      const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = (wanted) => window.lifted
        ? open(wanted) : Promise.reject(new DOMException("", "NotAllowedError"));
    """
    page = await open_page("/r/tea", script=script)
    await expect(page.get_by_test_id("refusal")).to_be_visible()
    await page.evaluate("window.lifted = true")
    await page.get_by_test_id("refusal-retry").click()
    await expect(page.get_by_test_id("refusal")).to_be_hidden()
    await expect(page.get_by_test_id("own-picture")).to_be_visible()


async def test_what_is_off_in_the_preview_is_off_in_the_room_and_next_time(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/r/tea")
    await expect(page.get_by_test_id("own-picture")).to_be_visible()
    await page.get_by_test_id("preview-camera").click()
    await expect(page.get_by_test_id("own-picture")).to_be_hidden()
    await page.get_by_test_id("preview-microphone").click()
    await join(page)
    offer = await (await server.stay()).wait_for("publisher_offer")
    assert [(t["source"], t["muted"]) for t in offer["tracks"]] == [("microphone", True)]
    await page.reload()
    await expect(page.get_by_test_id("preview-camera")).to_have_attribute("aria-pressed", "false")
    await expect(page.get_by_test_id("preview-microphone")).to_have_attribute(
        "aria-pressed", "false"
    )


async def test_a_chosen_device_is_remembered(open_page: OpenPage) -> None:
    page = await open_page("/r/tea")
    devices = page.get_by_test_id("preview-microphones")
    await expect(devices.locator("option")).not_to_have_count(1)
    other = await devices.locator("option").last.get_attribute("value")
    await devices.select_option(other)
    await until(page, f"JSON.parse(localStorage['tertulia.devices']).microphone === '{other}'")
    await page.reload()
    await expect(devices).to_have_value(other or "")


async def test_a_remembered_device_that_is_gone_is_replaced(open_page: OpenPage) -> None:
    memory = '{"camera": "gone", "microphone": "gone"}'
    page = await open_page("/r/tea", script=f"localStorage['tertulia.devices'] = '{memory}'")
    await expect(page.get_by_test_id("own-picture")).to_be_visible()
    await expect(page.get_by_test_id("refusal")).to_be_hidden()


async def test_a_name_is_asked_for(open_page: OpenPage, server: PagesServer) -> None:
    page = await open_page("/r/tea")
    await page.get_by_test_id("join").click()
    await expect(page.get_by_test_id("name-fault")).to_contain_text("your name")
    assert server.tokens_minted == 0


async def test_a_server_that_is_not_open_asks_for_an_invitation(
    open_page: OpenPage, server: PagesServer
) -> None:
    server.open_rooms = False
    page = await open_page("/r/tea")
    await join(page)
    await expect(page.get_by_test_id("join-fault")).to_contain_text("invitation")
    await expect(page.get_by_test_id("join")).to_be_enabled()


async def test_an_invitation_in_the_address_is_used_and_taken_out_of_sight(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/r/tea?access_token=abc")
    assert page.url.endswith("/r/tea")
    await expect(page.get_by_test_id("name")).to_be_hidden()
    await page.reload()  # and it survives that
    await page.get_by_test_id("join").click()
    assert (await server.stay()).token == "abc"
    assert server.tokens_minted == 0
    await until(page, "document.body.dataset.state === 'in'")


async def test_a_room_name_that_cannot_be_is_explained(open_page: OpenPage) -> None:
    page = await open_page("/r/-x")
    await expect(page.get_by_test_id("ending-title")).to_contain_text("cannot be such a room")
