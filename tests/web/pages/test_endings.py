"""How a stay in a room ends, and how it goes on after a lost connection."""

import pytest
from playwright.async_api import Page, expect

from tests.fakes.page_waits import OpenPage, until
from tests.fakes.pages_server import PagesServer, Stay, participant

pytestmark = pytest.mark.asyncio(loop_scope="session")

NO_DEVICES = """
navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", "NotFoundError"));
"""


async def enter(open_page: OpenPage, server: PagesServer, **options: str) -> tuple[Page, Stay]:
    page = await open_page("/r/tea", script=options.get("script", NO_DEVICES))
    await page.get_by_test_id("name").fill("Ada")
    await page.get_by_test_id("join").click()
    return page, await server.stay()


@pytest.mark.parametrize(
    ("code", "close_code", "title", "button"),
    [
        ("removed", 4036, "You were removed", "To the start page"),
        ("room_closed", 4035, "The room is closed", "To the start page"),
        ("duplicate_identity", 4037, "You are here twice", "Join here instead"),
        ("token_invalid", 4021, "Your invitation does not work", "To the start page"),
        ("something_new", 4001, "The room cannot go on", "Try again"),
    ],
)
async def test_a_final_goodbye_is_a_sentence_and_a_button(
    open_page: OpenPage, server: PagesServer, code: str, close_code: int, title: str, button: str
) -> None:
    page, stay = await enter(open_page, server)
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")
    await stay.goodbye(code, "no", close_code)
    await expect(page.get_by_test_id("ending")).to_have_attribute("data-code", code)
    await expect(page.get_by_test_id("ending-title")).to_have_text(title)
    await expect(page.get_by_test_id("ending-title")).to_be_focused()
    await expect(page.get_by_test_id("ending").get_by_role("button")).to_have_count(1)
    await expect(page.get_by_test_id("ending-button")).to_have_text(button)
    assert len(server.stays) == 1


async def test_an_unknown_code_shows_the_servers_words(
    open_page: OpenPage, server: PagesServer
) -> None:
    page, stay = await enter(open_page, server)
    await stay.goodbye("something_new", "no", 4001)
    await expect(page.get_by_test_id("ending-text")).to_contain_text("detail of something_new")


async def test_a_full_room_can_be_tried_again(open_page: OpenPage, server: PagesServer) -> None:
    server.refuse_join = ("room_full", "no", 4034)
    page, _ = await enter(open_page, server)
    await expect(page.get_by_test_id("ending-title")).to_have_text("The room is full")
    await page.get_by_test_id("ending-button").click()
    await server.stay(1)
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")


async def test_leaving_tells_the_server_and_one_can_come_back(
    open_page: OpenPage, server: PagesServer
) -> None:
    page, stay = await enter(open_page, server)
    await page.get_by_test_id("leave").click()
    await stay.wait_for("leave")
    await expect(page.get_by_test_id("ending-title")).to_have_text("You left the room")
    await page.get_by_test_id("ending-button").click()
    await server.stay(1)
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")


async def test_leaving_turns_the_camera_off(open_page: OpenPage, server: PagesServer) -> None:
    watching = """
      window.opened = [];
      const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (wanted) => {
        const stream = await open(wanted);
        window.opened.push(...stream.getTracks());
        return stream;
      };
    """
    page, _ = await enter(open_page, server, script=watching)
    await expect(page.get_by_test_id("leave")).to_be_visible()
    assert await page.evaluate("opened.length") == 2
    await page.get_by_test_id("leave").click()
    await until(page, "opened.every((track) => track.readyState === 'ended')")


async def test_a_lost_node_is_rejoined_at_once_and_publishes_again(
    open_page: OpenPage, server: PagesServer
) -> None:
    server.people = [participant("bob", "Bob")]
    page, stay = await enter(open_page, server, script="")
    await stay.wait("both tracks", lambda: len(stay.tracks) == 2)
    await stay.goodbye("node_lost", "now", 4100)
    again = await server.stay(1)
    assert again.token == stay.token
    await again.wait("both tracks again", lambda: len(again.tracks) == 2)
    await again.wait("frames on the new connection", lambda: again.frames >= 3)
    await expect(page.get_by_test_id("away")).to_be_hidden()
    await expect(page.get_by_test_id("notice")).to_contain_text("connected again")
    await expect(page.get_by_test_id("tile")).to_have_count(2)


@pytest.mark.parametrize(
    ("code", "words"),
    [("no_node", "No media server is free"), ("transport_failed", "media connection was lost")],
)
async def test_a_passing_trouble_says_what_it_is_and_goes_on(
    open_page: OpenPage, server: PagesServer, code: str, words: str
) -> None:
    page, stay = await enter(open_page, server)
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")
    await stay.goodbye(code, "later", 4200)
    await expect(page.get_by_test_id("away")).to_contain_text(words)
    await server.stay(1)
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")


async def test_a_connection_that_breaks_is_made_again(
    open_page: OpenPage, server: PagesServer
) -> None:
    page, stay = await enter(open_page, server)
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")
    await stay.socket.close(code=1001)
    await expect(page.get_by_test_id("away")).to_contain_text("connection was lost")
    await server.stay(1)
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")


async def test_a_guests_expired_token_is_renewed(open_page: OpenPage, server: PagesServer) -> None:
    page, stay = await enter(open_page, server)
    await stay.goodbye("token_expired", "no", 4022)
    again = await server.stay(1)
    assert (stay.token, again.token) == ("guest-1", "guest-2")
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")


async def test_a_server_that_stays_away_is_given_up(
    open_page: OpenPage, server: PagesServer
) -> None:
    page, stay = await enter(open_page, server, script=NO_DEVICES)
    await page.clock.install()
    await page.context.set_offline(True)
    await page.route_web_socket("**/join**", lambda socket: socket.close(code=1011))
    await stay.socket.close(code=1001)
    for _ in range(12):
        await page.clock.run_for(15_000)
        if await page.get_by_test_id("ending").is_visible():
            break
    await expect(page.get_by_test_id("ending-title")).to_have_text("The server does not answer")
    await expect(page.get_by_test_id("ending-button")).to_have_text("Try again")


async def test_a_silent_server_is_noticed(open_page: OpenPage, server: PagesServer) -> None:
    page = await open_page("/r/tea", script=NO_DEVICES)
    await page.clock.install()
    server.answers_pings = False
    await page.get_by_test_id("name").fill("Ada")
    await page.get_by_test_id("join").click()
    await server.stay()
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")
    await page.clock.run_for(35_000)
    await server.stay(1)


async def test_a_hidden_tab_whose_timers_are_late_stays_in_the_room(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/r/tea", script=NO_DEVICES)
    await page.clock.install()
    await page.get_by_test_id("name").fill("Ada")
    await page.get_by_test_id("join").click()
    stay = await server.stay()
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")
    for count in (1, 2, 3):
        await page.clock.fast_forward(60_000)  # each timer fires once at most
        await stay.wait("a ping", lambda count=count: stay.types.count("ping") >= count)  # type: ignore[misc]
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")
    assert len(server.stays) == 1
