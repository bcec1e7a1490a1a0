"""Two people meet in Chromium, a third page watches the broadcast, an operator ends it all."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.fakes.page_waits import until
from tests.fakes.running_server import RunningServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

BEHIND_S = 4.0
"""A broadcast's picture is at most so far behind."""

MOVES = """async (selector) => {
  const video = document.querySelector(selector);
  const canvas = new OffscreenCanvas(64, 48);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const look = () => {
    context.drawImage(video, 0, 0, 64, 48);
    return context.getImageData(0, 0, 64, 48).data;
  };
  const first = look();
  const end = performance.now() + 8000;
  while (performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const now = look();
    let change = 0;
    for (let at = 0; at < now.length; at += 4) change += Math.abs(now[at] - first[at]);
    if (change / (64 * 48) > 1) return true;
  }
  return false;
}"""
"""Whether the pixels of a <video> change."""

LOUDEST = """async (selector) => {
  const context = new AudioContext();
  await context.resume();
  const analyser = context.createAnalyser();
  const element = document.querySelector(selector);
  (element.srcObject
    ? context.createMediaStreamSource(element.srcObject)
    : context.createMediaElementSource(element)
  ).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let loudest = 0;
  const end = performance.now() + 8000;
  while (performance.now() < end && loudest < 0.01) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    analyser.getFloatTimeDomainData(samples);
    for (const sample of samples) loudest = Math.max(loudest, Math.abs(sample));
  }
  return loudest;
}"""
"""The loudest sample heard of an element within eight seconds; Chromium's fake microphone beeps."""


@pytest.fixture
async def open_page(chromium: Browser, server: RunningServer) -> AsyncIterator[Any]:
    """``await open_page(path)``: a page in a browser profile of its own; complaints fail."""
    pages: list[Page] = []
    complaints: list[str] = []

    async def open_it(path: str) -> Page:
        context = await chromium.new_context(locale="en-GB")
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(server.url + path)
        pages.append(page)
        return page

    yield open_it
    for page in pages:
        await page.context.close()
    assert complaints == []


async def join(page: Page, room: str, name: str) -> None:
    """Join from the start page, as a person would."""
    await page.get_by_test_id("room").fill(room)
    await page.get_by_test_id("name").fill(name)
    await page.get_by_test_id("join").click(no_wait_after=True)
    await page.wait_for_url(f"**/r/{room}")
    await until(page, "document.body.dataset.state === 'preview'")
    await page.get_by_test_id("join").click(no_wait_after=True)
    await until(page, "document.body.dataset.state === 'in'")


async def sees_and_hears(page: Page) -> None:
    video = "[data-testid=tile]:not(.mine) [data-testid=tile-video]"
    await until(page, f"document.querySelector('{video}').currentTime > 0.5")
    assert await page.evaluate(MOVES, video), "the other's picture stands still"
    await until(page, "document.querySelector('[data-testid=tile-audio]').currentTime > 0.5")
    assert await page.evaluate(LOUDEST, "[data-testid=tile-audio]") > 0.01


async def watches(page: Page) -> None:
    await until(page, "document.body.dataset.state === 'playing'")
    video = "[data-testid=video]"
    await until(page, f"document.querySelector('{video}').currentTime > 1")
    assert await page.evaluate(MOVES, video), "the broadcast's picture stands still"
    # A player that stalled while it began plays a little faster until it is there.
    behind = "Number(document.querySelector('[data-testid=behind]').dataset.seconds)"
    await until(page, f"{behind} > 0 && {behind} < {BEHIND_S}")


async def test_two_meet_a_third_watches_and_an_operator_ends_it(
    server: RunningServer, open_page: Any
) -> None:
    ana, ben = await open_page("/"), await open_page("/")
    await join(ana, "plaza", "Ana")
    await join(ben, "plaza", "Ben")
    await asyncio.gather(sees_and_hears(ana), sees_and_hears(ben))

    viewer = await open_page("/watch/plaza")
    await until(viewer, "document.body.dataset.state === 'waiting'")
    await server.api("POST", "/v1/rooms/plaza/broadcast", {}, expect=201)
    await watches(viewer)
    await hls_parser_finds_no_fault(server, "plaza")

    people = (await server.api("GET", "/v1/rooms/plaza/participants"))["participants"]
    identity = {person["name"]: person["identity"] for person in people}
    assert set(identity) == {"Ana", "Ben"}
    await server.api("DELETE", f"/v1/rooms/plaza/participants/{identity['Ben']}", expect=204)
    await until(ben, "document.body.dataset.state === 'ended'")
    assert await ben.get_by_test_id("ending").get_attribute("data-code") == "removed"
    await server.api("DELETE", "/v1/rooms/plaza", expect=204)
    await until(ana, "document.body.dataset.state === 'ended'")
    assert await ana.get_by_test_id("ending").get_attribute("data-code") == "room_closed"
    await until(viewer, "document.body.dataset.state === 'ended'")

    events = await server.events("plaza")
    assert [event["prev"] for event in events] == ["0-0", *(event["id"] for event in events[:-1])]
    assert told(events, identity) == [
        "room.created",
        "room.placed",
        "participant.joined Ana",
        "track.published Ana",
        "track.published Ana",
        "participant.joined Ben",
        "track.published Ben",
        "track.published Ben",
        "broadcast.requested",
        "broadcast.live",
        "participant.left Ben removed",
        "participant.left Ana room_closed",
        "broadcast.ended room_closed",
        "room.closed",
    ]


def told(events: list[dict[str, Any]], identity: dict[str, str]) -> list[str]:
    """The ledger in words."""
    name = {value: key for key, value in identity.items()}
    lines = []
    for event in events:
        data = event["data"]
        who = data.get("identity") or data.get("participant", {}).get("identity", "")
        why = data.get("reason", "") if event["type"] in REASONED else ""
        lines.append(" ".join(filter(None, (event["type"], name.get(who, who), why))))
    return lines


REASONED = ("participant.left", "broadcast.ended")


async def hls_parser_finds_no_fault(server: RunningServer, room: str) -> None:
    """npm's hls-parser in strict mode reads what is served over HTTP, and ffprobe plays it."""
    async with server.http.get(f"{server.url}/live/{room}/index.m3u8") as answer:
        assert answer.status == 200
        text = await answer.text()
    uris = [line for line in text.splitlines() if line and not line.startswith("#")]
    media = f"{server.url}/live/{room}/{uris[0]}"
    async with server.http.get(media) as answer:
        playlist = await answer.text()
    program = (
        "import HLS from 'hls-parser'; HLS.setOptions({strictMode: true});"
        "const texts = JSON.parse(process.argv[1]);"
        "console.log(texts.map((text) => HLS.parse(text).isMasterPlaylist).join());"
    )
    node = await asyncio.create_subprocess_exec(
        *("node", "--input-type=module", "-e", program, json.dumps([text, playlist])),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await node.communicate()
    assert output.decode().strip() == "true,false"
    ffprobe = await asyncio.create_subprocess_exec(
        *("ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"),
        f"{server.url}/live/{room}/index.m3u8",
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(ffprobe.communicate(), 60)
    assert sorted(set(output.decode().split())) == ["aac", "h264"]


async def test_the_admin_page_shows_and_ends_a_room(server: RunningServer, open_page: Any) -> None:
    ana = await open_page("/r/plaza")
    await ana.get_by_test_id("name").fill("Ana")
    await ana.get_by_test_id("join").click(no_wait_after=True)
    await until(ana, "document.body.dataset.state === 'in'")
    admin = await open_page("/admin")
    await admin.get_by_test_id("token").fill(server.admin_token())
    await admin.get_by_test_id("sign-in").click()
    row = admin.locator("[data-testid=room-row][data-room=plaza]")
    await row.get_by_test_id("room-open").click()
    await admin.locator("[data-testid=participant-row]").wait_for()
    microphone = admin.locator("[data-testid=track][data-source=microphone]")
    await microphone.get_by_test_id("track-mute").click()
    if await admin.get_by_test_id("ask").is_visible():
        await admin.get_by_test_id("ask-yes").click()
    await ana.locator("[data-testid=tile][data-muted-by-host=true]").wait_for()
    await admin.get_by_test_id("close-room").click()
    await admin.get_by_test_id("ask-yes").click()
    await until(ana, "document.body.dataset.state === 'ended'")
    await row.wait_for(state="detached")
