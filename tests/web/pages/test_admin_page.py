"""The admin page."""

import pytest
from playwright.async_api import Page, expect

from tests.fakes.page_waits import OpenPage
from tests.fakes.pages_server import TIME, PagesServer, participant, room_info, track

pytestmark = pytest.mark.asyncio(loop_scope="session")


def furnish(server: PagesServer) -> None:
    """Two rooms, one with two people."""
    server.rooms = {"tea": room_info("tea", 2), "standup": room_info("standup")}
    server.room_people = {
        "tea": [
            participant("bob", "Bob", track("TR_m", "microphone"), track("TR_c", "camera")),
            participant("eve", "Eve <b>&amp;</b>"),
        ],
        "standup": [],
    }
    node = {"id": "media-0.abc", "kind": "media", "started_at": TIME, "rooms": 2, "load": 0.5}
    server.nodes = [{**node, "draining": False}]


async def sign_in(open_page: OpenPage, server: PagesServer) -> Page:
    furnish(server)
    page = await open_page("/admin")
    await page.get_by_test_id("token").fill(server.admin_token)
    await page.get_by_test_id("sign-in").click()
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "signed-in")
    return page


async def open_room(page: Page, name: str = "tea") -> None:
    await page.locator(f"[data-room={name}]").get_by_test_id("room-open").click()
    await expect(page.get_by_test_id("detail-title")).to_have_text(name)


async def yes(page: Page, question: str) -> None:
    await expect(page.get_by_test_id("ask-text")).to_contain_text(question)
    await page.get_by_test_id("ask-yes").click()


async def test_a_wrong_token_is_refused_and_not_kept(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/admin")
    await page.get_by_test_id("sign-in").click()
    await expect(page.get_by_test_id("token-fault")).to_contain_text("Paste")
    await page.get_by_test_id("token").fill("wrong")
    await page.get_by_test_id("sign-in").click()
    await expect(page.get_by_test_id("token-fault")).to_contain_text("does not accept")
    assert await page.evaluate("JSON.stringify(sessionStorage)") == "{}"


async def test_the_token_stays_in_the_tab_until_signing_out(
    open_page: OpenPage, server: PagesServer
) -> None:
    furnish(server)
    page = await open_page("/admin#token=admin")
    await expect(page.get_by_test_id("room-row")).to_have_count(2)
    assert "admin#" not in page.url
    await page.reload()
    await expect(page.get_by_test_id("room-row")).to_have_count(2)
    assert await page.evaluate("localStorage.length") == 0
    await page.get_by_test_id("sign-out").click()
    await page.reload()
    await expect(page.get_by_test_id("token")).to_be_visible()


async def test_rooms_and_nodes_are_shown_as_they_change(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await sign_in(open_page, server)
    await expect(page.get_by_test_id("room-row")).to_have_count(2)
    await expect(page.get_by_test_id("node-row")).to_contain_text("media-0.abc")
    server.rooms["lounge"] = room_info("lounge", 7)
    await expect(page.locator("[data-room=lounge]")).to_contain_text("7")
    await page.get_by_test_id("filter").fill("stand")
    await expect(page.get_by_test_id("room-row")).to_have_count(1)
    await page.get_by_test_id("filter").fill("nothing")
    await expect(page.get_by_test_id("rooms-empty")).to_contain_text("No room fits")


async def test_a_room_is_created(open_page: OpenPage, server: PagesServer) -> None:
    page = await sign_in(open_page, server)
    await page.get_by_test_id("new-room").fill("{bad}")
    await page.get_by_test_id("create").click()
    await expect(page.get_by_test_id("new-room-fault")).to_contain_text("letter or a digit")
    await page.get_by_test_id("new-room").fill("garden party")
    await page.get_by_test_id("most").fill("12")
    await page.get_by_test_id("create").click()
    await expect(page.get_by_test_id("detail-title")).to_have_text("garden-party")
    body = {"name": "garden-party", "settings": {"max_participants": 12}}
    assert server.calls == [("POST", "/rooms", body)]


async def test_one_room_in_depth(open_page: OpenPage, server: PagesServer) -> None:
    await server.append("room.created", {"sid": "RM_one"})
    page = await sign_in(open_page, server)
    await open_room(page)
    await expect(page.get_by_test_id("participant-row")).to_have_count(2)
    # What people call themselves is text, whatever it looks like.
    await expect(page.get_by_text("Eve <b>&amp;</b>")).to_be_visible()
    await expect(page.locator("[data-testid=event][data-type='room.created']")).to_be_visible()
    server.room_people["tea"].append(participant("cy", "Cy"))
    joined = {"participant": participant("cy", "Cy")}
    await server.append("participant.joined", joined)
    await expect(page.get_by_test_id("event").first).to_contain_text("participant.joined")
    await expect(page.get_by_test_id("participant-row")).to_have_count(3)


async def test_muting_removing_and_closing_ask_once(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await sign_in(open_page, server)
    await open_room(page)
    bob = page.locator("[data-testid=participant-row][data-identity=bob]")
    async with page.expect_response("**/tracks/TR_m"):
        await bob.locator("[data-source=microphone]").get_by_test_id("track-mute").click()
    await bob.get_by_test_id("remove").click()
    await page.get_by_test_id("ask-no").click()
    await bob.get_by_test_id("remove").click()
    async with page.expect_response("**/participants/bob"):
        await yes(page, "Remove Bob?")
    await page.get_by_test_id("close-room").click()
    async with page.expect_response(lambda r: r.request.method == "DELETE"):
        await yes(page, "Close tea for everybody?")
    assert server.calls == [
        ("PATCH", "/rooms/tea/participants/bob/tracks/TR_m", {"muted": True}),
        ("DELETE", "/rooms/tea/participants/bob", None),
        ("DELETE", "/rooms/tea", None),
    ]
    del server.rooms["tea"], server.room_people["tea"]
    await expect(page.get_by_test_id("detail-empty")).to_have_text("This room is closed.")


async def test_a_broadcast_is_started_and_stopped(open_page: OpenPage, server: PagesServer) -> None:
    page = await sign_in(open_page, server)
    await open_room(page)
    line = page.get_by_test_id("broadcast-state")
    await expect(line).to_have_attribute("data-state", "none")
    await expect(page.get_by_test_id("broadcast-watch")).to_have_attribute("href", "/watch/tea")
    async with page.expect_response("**/broadcast"):
        await page.get_by_test_id("broadcast-start").click()
    info = {"sid": "BC_1", "state": "live", "started_at": TIME, "url": "/live/tea/index.m3u8"}
    server.rooms["tea"] = room_info("tea", 2, info)
    await server.append("broadcast.live", {"sid": "BC_1", "url": info["url"]})
    await expect(line).to_contain_text("Live since")
    await expect(page.locator("[data-room=tea]")).to_contain_text("Live")
    await page.get_by_test_id("broadcast-stop").click()
    async with page.expect_response("**/broadcast"):
        await yes(page, "Stop the broadcast of tea?")
    assert server.calls == [
        ("POST", "/rooms/tea/broadcast", None),
        ("DELETE", "/rooms/tea/broadcast", None),
    ]


async def test_a_refused_action_says_why(open_page: OpenPage, server: PagesServer) -> None:
    page = await sign_in(open_page, server)
    await open_room(page)
    answer = '{"code": "broadcast_exists", "detail": "There is one already."}'
    await page.route("**/broadcast", lambda r: r.fulfill(status=409, body=answer))
    await page.get_by_test_id("broadcast-start").click()
    await expect(page.get_by_test_id("notice")).to_contain_text("There is one already.")


async def test_a_token_that_expires_signs_out(open_page: OpenPage, server: PagesServer) -> None:
    page = await sign_in(open_page, server)
    server.admin_token = "another"
    await expect(page.get_by_test_id("token-fault")).to_contain_text("does not accept")
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "signed-out")
