"""The pages in Firefox: what its WebRTC and media differ in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fakes.firefox import Firefox
from tests.fakes.live_playlist import LivePlaylist
from tests.fakes.moving_picture import MovingPicture
from tests.fakes.pages_server import PagesServer, participant, track

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

BOB = participant("bob", "Bob", track("TR_bc", "camera"))
STATE = "document.body.dataset.state"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def firefox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Firefox]:
    async with Firefox.running(tmp_path_factory.mktemp("firefox")) as firefox:
        yield firefox
        # A page that outlives its test's server tries again, which Firefox logs.
        assert [c for c in firefox.complaints if "to the server at ws:" not in c] == []


async def test_meets(firefox: Firefox, server: PagesServer) -> None:
    server.people = [BOB]
    await firefox.open(f"{server.url}/r/tea")
    await firefox.until("document.querySelector('#own-picture').currentTime > 0.3")
    await firefox.evaluate("document.querySelector('#name').value = 'Ada'")
    await firefox.evaluate("document.querySelector('#join').click()")
    stay = await server.stay()
    await stay.wait("both tracks", lambda: set(stay.tracks) == {"camera", "microphone"})
    await stay.wait("frames of Firefox's camera", lambda: stay.frames >= 5)
    await stay.offer(MovingPicture(), "TR_bc")
    await firefox.until("document.querySelector('[data-identity=bob] video').currentTime > 0.5")
    await firefox.evaluate("document.querySelector('#camera').click()")
    await stay.wait_for("mute", muted=True, track=stay.tracks["camera"]["sid"])
    await firefox.evaluate("document.querySelector('#camera').click()")
    before = stay.frames
    await stay.wait("frames after the camera came back", lambda: stay.frames >= before + 5)
    await firefox.evaluate("document.querySelector('#leave').click()")
    await stay.wait_for("leave")


async def test_rejoins_after_its_node_was_lost(firefox: Firefox, server: PagesServer) -> None:
    await firefox.open(f"{server.url}/r/tea")
    await firefox.evaluate("document.querySelector('#name').value = 'Ada'")
    await firefox.evaluate("document.querySelector('#join').click()")
    stay = await server.stay()
    await stay.wait("both tracks", lambda: len(stay.tracks) == 2)
    await stay.goodbye("node_lost", "now", 4100)
    again = await server.stay(1)
    await again.wait("frames on the new connection", lambda: again.frames >= 3)
    await firefox.until(f"{STATE} === 'in'")


async def test_watches(firefox: Firefox, server: PagesServer, tmp_path: Path) -> None:
    await LivePlaylist.make(tmp_path)
    server.playlist = LivePlaylist(tmp_path)
    await server.set_live("live", "BC_1", "/live/tea/index.m3u8")
    await firefox.open(f"{server.url}/watch/tea")
    await firefox.until(f"{STATE} === 'playing'")
    video = "document.querySelector('video')"
    await firefox.until(f"{video}.currentTime > 0 && {video}.videoWidth === 320")
    seen = await firefox.evaluate(f"{video}.currentTime")
    await firefox.until(f"{video}.currentTime > {seen} + 1")
    await firefox.until("Number(document.querySelector('#behind').dataset.seconds) > 0")
