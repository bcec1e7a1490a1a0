"""The room page over a scripted room, with real media."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.fakes.moving_picture import MovingPicture, Tone
from tests.fakes.page_waits import OpenPage, until
from tests.fakes.pages_server import PagesServer, Stay, participant, track

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOB = participant("bob", "Bob", track("TR_bc", "camera"), track("TR_bm", "microphone"))
NO_DEVICES = """
navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", "NotFoundError"));
"""


async def enter(page: Page, server: PagesServer, number: int = 0) -> Stay:
    await page.get_by_test_id("name").fill("Ada")
    await page.get_by_test_id("join").click()
    stay = await server.stay(number)
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")
    return stay


async def notices(page: Page, text: str) -> None:
    await expect(page.get_by_test_id("notice").filter(has_text=text)).to_be_visible()


async def test_picture_and_sound_are_published_and_decoded(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/r/tea")
    stay = await enter(page, server)
    offer = await stay.wait_for("publisher_offer")
    assert {t["source"]: t["muted"] for t in offer["tracks"]} == {
        "microphone": False,
        "camera": False,
    }
    assert all(t["mid"] for t in offer["tracks"])
    await stay.wait("ten frames of the camera", lambda: stay.frames >= 10)
    tile = page.locator("[data-testid=tile]", has_text="Ada")
    await expect(tile).to_have_attribute("data-muted", "false")


async def test_another_ones_picture_moves_and_its_sound_plays(
    open_page: OpenPage, server: PagesServer
) -> None:
    server.people = [BOB]
    page = await open_page("/r/tea", script=NO_DEVICES)
    stay = await enter(page, server)
    await stay.offer(MovingPicture(), "TR_bc")
    video = "document.querySelector('[data-identity=bob] video')"
    await until(page, f"{video}.videoWidth === 320 && {video}.currentTime > 0.5")
    await expect(page.locator(".tile[data-identity=bob]")).to_have_attribute("data-camera", "on")


async def test_sound_has_an_element_of_its_own(open_page: OpenPage, server: PagesServer) -> None:
    server.people = [BOB]
    page = await open_page("/r/tea", script=NO_DEVICES)
    stay = await enter(page, server)
    await stay.offer(Tone(), "TR_bm")
    sound = "document.querySelector('audio[data-identity=bob]')"
    await until(page, f"{sound} && !{sound}.paused && {sound}.currentTime > 0.3")


async def test_joins_leaves_and_mutes_of_others_are_shown_and_announced(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/r/tea", script=NO_DEVICES)
    stay = await enter(page, server)
    await expect(page.get_by_test_id("alone")).to_be_visible()
    await stay.say({"type": "participant_joined", "participant": BOB})
    tile = page.locator("[data-testid=tile][data-identity=bob]")
    await expect(tile).to_have_attribute("data-muted", "false")
    await notices(page, "Bob joined.")
    await expect(page.get_by_test_id("alone")).to_be_hidden()
    mute = {"type": "track_muted", "participant": "PA_bob", "track": "TR_bm", "muted": True}
    await stay.say({**mute, "by": "participant"})
    await expect(tile).to_have_attribute("data-muted", "true")
    speakers = [{"participant": "PA_bob", "identity": "bob", "level": 0.6}]
    await stay.say({**mute, "muted": False, "by": "participant"})
    await stay.say({"type": "speakers", "speakers": speakers})
    await expect(tile).to_have_attribute("data-speaking", "true")
    await stay.say({"type": "speakers", "speakers": []})
    await expect(tile).to_have_attribute("data-speaking", "false")
    await stay.say(
        {"type": "participant_left", "sid": "PA_bob", "identity": "bob", "reason": "left"}
    )
    await expect(tile).to_have_count(0)
    await notices(page, "Bob left.")


async def test_an_unknown_message_and_unknown_fields_are_ignored(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/r/tea", script=NO_DEVICES)
    stay = await enter(page, server)
    await stay.say({"type": "from_the_future", "x": 1})
    await stay.say({"type": "participant_joined", "participant": {**BOB, "new": 1}, "more": True})
    await expect(page.get_by_test_id("tile")).to_have_count(2)


async def test_a_resync_replaces_what_was_known(open_page: OpenPage, server: PagesServer) -> None:
    server.people = [BOB]
    page = await open_page("/r/tea", script=NO_DEVICES)
    stay = await enter(page, server)
    cy = participant("cy", "Cy")
    from tests.fakes.pages_server import room_info

    await stay.say(
        {
            "type": "resync",
            "reason": "trimmed",
            "room": room_info("tea", 2),
            "participants": [cy],
            "position": "9-0",
        }
    )
    await expect(page.locator("[data-identity=cy]").first).to_be_visible()
    await expect(page.locator("[data-testid=tile][data-identity=bob]")).to_have_count(0)


async def test_muting_oneself_stops_the_sound_and_tells_the_server(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/r/tea")
    stay = await enter(page, server)
    await stay.wait("both tracks", lambda: len(stay.tracks) == 2)
    await page.get_by_test_id("microphone").click()
    mute = await stay.wait_for("mute", muted=True)
    assert mute["track"] == stay.tracks["microphone"]["sid"]
    await expect(page.get_by_test_id("microphone")).to_have_text("Unmute")
    await page.keyboard.press("m")
    await stay.wait_for("mute", muted=False, track=mute["track"])
    await notices(page, "Your microphone is on.")


async def test_a_camera_that_is_off_sends_nothing_and_comes_back(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/r/tea")
    stay = await enter(page, server)
    await stay.wait("frames", lambda: stay.frames >= 3)
    await page.keyboard.press("v")
    await stay.wait_for("mute", muted=True, track=stay.tracks["camera"]["sid"])
    await expect(page.locator(".tile.mine")).to_have_attribute("data-camera", "off")
    before = stay.frames
    await page.keyboard.press("v")
    await stay.wait_for("mute", muted=False, track=stay.tracks["camera"]["sid"])
    await stay.wait("frames again", lambda: stay.frames >= before + 10)
    # The same transceiver, no further offer.
    assert stay.types.count("publisher_offer") == 1


async def test_what_changes_before_the_answer_is_said_after_it(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/r/tea")
    release = asyncio.Event()
    real = Stay.answer

    async def slowly(self: Stay, message: dict[str, object]) -> None:
        await release.wait()
        await real(self, message)

    Stay.answer = slowly  # type: ignore[method-assign]
    try:
        stay = await enter(page, server)
        await page.get_by_test_id("microphone").click()
        await expect(page.get_by_test_id("microphone")).to_have_text("Unmute")
        release.set()
        await stay.wait_for("mute", muted=True)
    finally:
        Stay.answer = real  # type: ignore[method-assign]


async def test_the_hosts_mute_is_shown_and_cannot_be_lifted(
    open_page: OpenPage, server: PagesServer
) -> None:
    server.keep_muted = True
    page = await open_page("/r/tea")
    stay = await enter(page, server)
    await stay.wait("both tracks", lambda: len(stay.tracks) == 2)
    sid = stay.tracks["microphone"]["sid"]
    mute = {"type": "track_muted", "participant": stay.sid, "track": sid, "by": "admin"}
    await stay.say({**mute, "muted": True})
    await notices(page, "The host muted your microphone.")
    own = page.locator(".tile.mine")
    await expect(own).to_have_attribute("data-muted-by-host", "true")
    button = page.get_by_test_id("microphone")
    await expect(button).to_have_text("Unmute")
    await button.click()  # off by one's own wish as well
    await button.click()  # and on again
    await notices(page, "only the host can lift that")
    await stay.say({**mute, "muted": False})
    await expect(own).to_have_attribute("data-muted-by-host", "false")
    # Nobody is live without having said so.
    await expect(button).to_have_text("Unmute")


async def test_a_shared_screen_takes_the_stage_and_ends(
    open_page: OpenPage, server: PagesServer
) -> None:
    # Nobody can press the browser's own question here; a canvas moves in the screen's place.
    script = """
      navigator.mediaDevices.getDisplayMedia = async () => {
        const canvas = document.createElement("canvas");
        const context = canvas.getContext("2d");
        setInterval(() => context.fillRect(Math.random() * 99, 0, 9, 9), 50);
        return canvas.captureStream(15);
      };
    """
    page = await open_page("/r/tea", script=script)
    stay = await enter(page, server)
    await page.keyboard.press("s")
    await stay.wait("the screen", lambda: "screen_share" in stay.tracks)
    await expect(page.get_by_test_id("stage")).to_contain_text("You are sharing your screen")
    await page.get_by_test_id("share").click()
    await stay.wait("the screen's end", lambda: "screen_share" not in stay.tracks)
    await expect(page.get_by_test_id("stage")).to_be_hidden()
    await page.keyboard.press("s")  # once more, on the same m-line
    await stay.wait("the screen again", lambda: "screen_share" in stay.tracks)


async def test_somebody_elses_screen_takes_the_stage(
    open_page: OpenPage, server: PagesServer
) -> None:
    server.people = [BOB]
    page = await open_page("/r/tea", script=NO_DEVICES)
    stay = await enter(page, server)
    screen = track("TR_bs", "screen_share")
    await stay.say({"type": "track_published", "participant": "PA_bob", "track": screen})
    await notices(page, "Bob shares a screen.")
    await expect(page.get_by_test_id("stage").get_by_test_id("screen")).to_be_visible()
    await expect(page.get_by_test_id("grid").get_by_test_id("tile")).to_have_count(2)
    await stay.say({"type": "track_unpublished", "participant": "PA_bob", "track": "TR_bs"})
    await expect(page.get_by_test_id("stage")).to_be_hidden()


async def test_the_broadcast_is_shown_with_a_link(open_page: OpenPage, server: PagesServer) -> None:
    page = await open_page("/r/tea", script=NO_DEVICES)
    stay = await enter(page, server)
    badge = page.get_by_test_id("live-badge")
    await expect(badge).to_be_hidden()
    info = {"sid": "BC_1", "state": "requested", "started_at": "2026-01-01T00:00:00Z", "url": ""}
    await stay.say({"type": "broadcast", "broadcast": info})
    await expect(badge).to_have_text("Going live")
    await stay.say({"type": "broadcast", "broadcast": {**info, "state": "live", "url": "/live/x"}})
    await expect(badge).to_have_text("Live")
    await expect(badge).to_have_attribute("href", "/watch/tea")
    await stay.say({"type": "broadcast", "broadcast": {**info, "state": "ended"}})
    await expect(badge).to_be_hidden()


async def test_people_are_listed_and_a_host_can_act(
    open_page: OpenPage, server: PagesServer
) -> None:
    server.people = [BOB]
    claims = "eyJ2aWRlbyI6eyJyb29tQWRtaW4iOnRydWUsInJvb20iOiJ0ZWEifX0"  # roomAdmin of tea
    server.admin_token = f"x.{claims}.x"
    page = await open_page(f"/r/tea#token={server.admin_token}", script=NO_DEVICES)
    page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
    await page.get_by_test_id("join").click()
    await server.stay()
    await page.get_by_test_id("people-button").click()
    await expect(page.get_by_test_id("person")).to_have_count(2)
    bob = page.locator("[data-testid=person][data-identity=bob]")
    async with page.expect_response("**/tracks/TR_bm"):
        await bob.get_by_test_id("person-mute").click()
    async with page.expect_response("**/participants/bob"):
        await bob.get_by_test_id("person-remove").click()
    assert server.calls == [
        ("PATCH", "/rooms/tea/participants/bob/tracks/TR_bm", {"muted": True}),
        ("DELETE", "/rooms/tea/participants/bob", None),
    ]
    await page.keyboard.press("Escape")
    await expect(page.get_by_test_id("people")).to_be_hidden()
    await expect(page.get_by_test_id("people-button")).to_be_focused()


async def test_an_invitation_to_listen_publishes_nothing(
    open_page: OpenPage, server: PagesServer
) -> None:
    claims = "eyJ2aWRlbyI6eyJjYW5QdWJsaXNoIjpmYWxzZX19"  # canPublish false
    server.permissions = {"can_publish": False, "can_subscribe": True, "hidden": False}
    page = await open_page(f"/r/tea#token=x.{claims}.x")
    await expect(page.get_by_test_id("watch-only")).to_be_visible()
    await page.get_by_test_id("join").click()
    stay = await server.stay()
    await expect(page.get_by_test_id("leave")).to_be_visible()
    await expect(page.get_by_test_id("microphone")).to_be_hidden()
    assert stay.types.count("publisher_offer") == 0


async def test_many_people_get_pages(open_page: OpenPage, server: PagesServer) -> None:
    server.people = [participant(f"p{i:02}", f"Person {i}") for i in range(30)]
    page = await open_page("/r/tea", script=NO_DEVICES, viewport={"width": 360, "height": 740})
    await enter(page, server)
    await expect(page.get_by_test_id("page-number")).to_contain_text("Page 1 of")
    first = await page.get_by_test_id("tile").count()
    size = await page.get_by_test_id("tile").first.bounding_box()
    await page.get_by_test_id("page-next").click()
    await expect(page.get_by_test_id("page-number")).to_contain_text("Page 2 of")
    await expect(page.get_by_test_id("tile")).to_have_count(first)
    box = await page.get_by_test_id("tile").first.bounding_box()
    assert size is not None
    assert box is not None
    assert (box["width"], box["height"]) == (size["width"], size["height"])


async def test_keys_do_nothing_while_one_types_or_a_dialog_is_open(
    open_page: OpenPage, server: PagesServer
) -> None:
    page = await open_page("/r/tea", script=NO_DEVICES)
    await page.get_by_test_id("name").fill("")
    await page.get_by_test_id("name").press_sequentially("mvslh")
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "preview")
    await page.get_by_test_id("join").click()
    await server.stay()
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")
    await page.keyboard.press("h")
    await expect(page.get_by_test_id("help-dialog")).to_be_visible()
    await page.keyboard.press("l")
    await expect(page.get_by_test_id("page")).to_have_attribute("data-state", "in")
    await page.keyboard.press("Escape")
    await page.keyboard.press("l")
    await expect(page.get_by_test_id("ending-title")).to_have_text("You left the room")


async def test_sound_that_the_browser_blocks_waits_for_a_tap(
    open_page: OpenPage, server: PagesServer
) -> None:
    script = (
        NO_DEVICES
        + """
      const play = HTMLAudioElement.prototype.play;
      HTMLMediaElement.prototype.play = new Proxy(HTMLMediaElement.prototype.play, {
        apply(play, element, rest) {
          return element.tagName === "AUDIO" && !window.tapped
            ? Promise.reject(new DOMException("", "NotAllowedError"))
            : play.apply(element, rest);
        },
      });
    """
    )
    server.people = [BOB]
    page = await open_page("/r/tea", script=script)
    stay = await enter(page, server)
    await stay.offer(Tone(), "TR_bm")
    await expect(page.get_by_test_id("sound")).to_be_visible()
    await page.evaluate("window.tapped = true")
    await page.get_by_test_id("sound").click()
    await expect(page.get_by_test_id("sound")).to_be_hidden()
    await until(page, "!document.querySelector('audio').paused")
