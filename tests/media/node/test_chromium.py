"""Chromium negotiates with the node: its own offers and answers, over several changes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page

from coordinator.ids import RoomName
from coordinator.requests import (
    PublisherOffer,
    SdpFragment,
    SubscriberAnswer,
    TrackAnnouncement,
    WhepOffer,
    WhipOffer,
)
from media.node import MediaNode
from tests.fakes.chromium import launched

ROOM = RoomName("plaza")
WAIT_S = 20.0

PAGE = """
() => {
  // A picture that moves and a tone, without asking for devices.
  window.picture = (color) => {
    const canvas = document.createElement('canvas');
    canvas.width = 320; canvas.height = 240;
    const paint = canvas.getContext('2d');
    let step = 0;
    setInterval(() => {
      paint.fillStyle = 'black'; paint.fillRect(0, 0, 320, 240);
      paint.fillStyle = color; paint.fillRect(step++ * 8 % 320, 0, 40, 240);
    }, 33);
    return canvas.captureStream(30).getVideoTracks()[0];
  };
  window.tone = () => {
    const context = new AudioContext();
    const oscillator = context.createOscillator();
    const out = context.createMediaStreamDestination();
    oscillator.connect(out); oscillator.start();
    return out.stream.getAudioTracks()[0];
  };
  window.pcs = {};
  window.make = (name) => {
    const pc = pcs[name] = new RTCPeerConnection({bundlePolicy: 'max-bundle'});
    pc.heard = {};
    pc.ontrack = ({track, transceiver}) => { pc.heard[transceiver.mid] = track; };
  };
  window.send = (name, kind, codec) => {
    const pc = pcs[name];
    const track = kind === 'video' ? picture('lime') : tone();
    const transceiver = pc.addTransceiver(track, {direction: 'sendonly'});
    if (codec) {
      const all = RTCRtpSender.getCapabilities('video').codecs;
      const first = all.filter((c) => c.mimeType === codec);
      transceiver.setCodecPreferences([...first, ...all.filter((c) => c.mimeType !== codec)]);
    }
  };
  window.offer = async (name) => {
    await pcs[name].setLocalDescription();
    return {
      sdp: pcs[name].localDescription.sdp,
      mids: pcs[name].getTransceivers().map((t) => [t.mid, t.sender.track?.kind]),
    };
  };
  window.answered = (name, sdp) => pcs[name].setRemoteDescription({type: 'answer', sdp});
  window.offered = async (name, sdp) => {
    await pcs[name].setRemoteDescription({type: 'offer', sdp});
    await pcs[name].setLocalDescription();
    return pcs[name].localDescription.sdp;
  };
  // Frames decoded, or packets of sound received (nothing plays them), so far, by mid.
  window.inbound = async (name) => {
    const result = {};
    for (const report of (await pcs[name].getStats()).values()) {
      if (report.type === 'inbound-rtp') {
        result[report.mid] = report.kind === 'video'
          ? report.framesDecoded ?? 0 : report.packetsReceived;
      }
    }
    return result;
  };
  window.state = (name) => pcs[name].connectionState;
}
"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with launched() as browser:
        page = await browser.new_page()
        await page.evaluate(PAGE)
        yield page


class Tab:
    """A guest whose peer connections live in the page."""

    def __init__(self, page: Page, guest: Any, name: str) -> None:
        self.page, self.guest, self.name = page, guest, name
        guest.offered = self._offered
        self.tracks: dict[str, str] = {}

    async def open(self) -> "Tab":
        await self.page.evaluate("(n) => { make(n + '-out'); make(n + '-in'); }", self.name)
        return self

    async def send(self, kind: str, codec: str | None = None) -> None:
        await self.page.evaluate("([n, k, c]) => send(n + '-out', k, c)", [self.name, kind, codec])

    async def negotiate(self) -> tuple[Any, ...]:
        """Offer what is sent; return the answered tracks."""
        offer = await self.page.evaluate("(n) => offer(n + '-out')", self.name)
        sources: dict[str, Any] = {"audio": "microphone", "video": "camera"}
        answer = await self.guest.ask(
            PublisherOffer(
                room=ROOM,
                participant=self.guest.sid,
                sdp=offer["sdp"],
                tracks=tuple(
                    TrackAnnouncement(mid=mid, source=sources[kind])
                    for mid, kind in offer["mids"]
                    if kind
                ),
            )
        )
        await self.page.evaluate("([n, s]) => answered(n + '-out', s)", [self.name, answer.sdp])
        return tuple(answer.tracks)

    async def _offered(self, notice: Any) -> None:
        async with self.guest._busy:
            sdp = await self.page.evaluate(
                "([n, s]) => offered(n + '-in', s)", [self.name, notice.sdp]
            )
            answer = SubscriberAnswer(
                room=ROOM, participant=self.guest.sid, offer_id=notice.offer_id, sdp=sdp
            )
            await self.guest.ask(answer)
            self.tracks = dict(notice.tracks)
            self.guest.offers.append(notice)
            self.guest._changed.set()

    async def inbound(self) -> dict[str, int]:
        """What was decoded so far, by track sid."""
        stats = await self.page.evaluate("(n) => inbound(n + '-in')", self.name)
        return {sid: stats.get(mid, 0) for mid, sid in self.tracks.items()}

    async def decodes(self, *sids: str) -> None:
        """Wait until each of *sids* advances."""
        before = await self.inbound()

        async def advance() -> bool:
            now = await self.inbound()
            return all(now.get(sid, 0) > before.get(sid, 0) + 5 for sid in sids)

        await until(advance, f"{self.name} to decode {sids}")


async def until(done: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(WAIT_S):
            while not await done():  # noqa: ASYNC110 (statistics have no event)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"waited for {what}") from None


async def tab(page: Page, edge: Any, identity: str) -> Tab:
    return await Tab(page, await edge.join(identity), identity).open()


async def test_tabs_meet_and_m_lines_are_used_again(node: MediaNode, edge: Any, page: Page) -> None:
    anna, ben = await tab(page, edge, "anna"), await tab(page, edge, "ben")
    await anna.send("audio")
    await anna.send("video")
    hers = [track.sid for track in await anna.negotiate()]
    await ben.send("video")
    his = [track.sid for track in await ben.negotiate()]
    await ben.decodes(*hers)
    await anna.decodes(*his)
    # Another one comes and goes, and a third takes the m-line that is free.
    cleo = await tab(page, edge, "cleo")
    await cleo.send("video")
    theirs = [track.sid for track in await cleo.negotiate()]
    await anna.decodes(*his, *theirs)
    await cleo.decodes(*hers, *his)
    await cleo.guest.leave()
    await anna.guest.carries(*his)
    dora = await tab(page, edge, "dora")
    await dora.send("video")
    last = [track.sid for track in await dora.negotiate()]
    await anna.decodes(*his, *last)
    assert set(anna.tracks) == {"0", "1"}, "the free m-line carries the new track"
    await dora.send("audio")
    both = await dora.negotiate()
    await anna.decodes(*his, *(track.sid for track in both))
    await page.evaluate("() => pcs['dora-out'].getTransceivers()[0].stop()")
    assert await dora.negotiate() == both[1:]
    await anna.guest.carries(*his, both[1].sid)


@pytest.mark.parametrize("codec", ["video/VP8", "video/VP9", "video/H264", "video/AV1"])
async def test_every_codec_is_forwarded(node: MediaNode, edge: Any, page: Page, codec: str) -> None:
    anna, ben = await tab(page, edge, "anna"), await tab(page, edge, "ben")
    await anna.send("video", codec)
    (track,) = await anna.negotiate()
    info = (await edge.rooms.snapshot(ROOM)).participants[0].tracks
    assert [t.mime for t in info] in ([codec], [])
    await ben.decodes(track.sid)
    assert node._hosted[ROOM].room.tracks[0].told.mime == codec


async def test_speaking_is_noticed(node: MediaNode, edge: Any, page: Page) -> None:
    anna = await tab(page, edge, "anna")
    await tab(page, edge, "ben")
    await anna.send("audio")
    await anna.negotiate()
    await asyncio.wait_for(edge.spoken.wait(), WAIT_S)
    assert [s.identity for s in edge.speakers[-1].speakers] == ["anna"]


async def test_an_ice_restart_is_answered(node: MediaNode, edge: Any, page: Page) -> None:
    anna, ben = await tab(page, edge, "anna"), await tab(page, edge, "ben")
    await anna.send("video")
    (track,) = await anna.negotiate()
    await ben.decodes(track.sid)
    await page.evaluate("() => pcs['anna-out'].restartIce()")
    assert await anna.negotiate() == (track,)
    await ben.decodes(track.sid)


async def test_whip_and_whep(node: MediaNode, edge: Any, page: Page) -> None:
    encoder = await edge.join("encoder", kind="whip")
    await page.evaluate("() => { make('whip'); send('whip', 'video'); send('whip', 'audio'); }")
    offer = await page.evaluate("() => offer('whip')")
    answer = await encoder.ask(WhipOffer(room=ROOM, participant=encoder.sid, sdp=offer["sdp"]))
    await page.evaluate("(s) => answered('whip', s)", answer.sdp)
    player = await edge.join("player", kind="whep")
    await page.evaluate(
        """() => {
          make('whep');
          for (const kind of ['audio', 'video']) {
            pcs.whep.addTransceiver(kind, {direction: 'recvonly'});
          }
        }"""
    )
    offer = await page.evaluate("() => offer('whep')")
    answer = await player.ask(WhepOffer(room=ROOM, participant=player.sid, sdp=offer["sdp"]))
    await page.evaluate("(s) => answered('whep', s)", answer.sdp)

    async def plays() -> bool:
        stats = await page.evaluate("() => inbound('whep')")
        return len(stats) == 2 and all(value > 10 for value in stats.values())

    await until(plays, "the player to decode both")
    fragment = (
        "".join(
            line + "\r\n"
            for line in offer["sdp"].split("\r\n")
            if line.startswith(("a=ice-ufrag", "a=ice-pwd"))
        )
        + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=end-of-candidates\r\n"
    )
    patched = await player.ask(
        SdpFragment(room=ROOM, participant=player.sid, fragment=fragment, etag=answer.etag)
    )
    assert patched.fragment == ""
