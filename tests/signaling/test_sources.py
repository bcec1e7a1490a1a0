"""A token for some sources: no way of writing an offer leads past it."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from coordinator.center import Center
from coordinator.errors import PeerError
from coordinator.model import TrackSource
from coordinator.requests import TrackAnnouncement
from coordinator.rooms import Rooms
from media.sfu.sdp import parse
from signaling import doors
from signaling.config import SignalingConfig
from signaling.hub import SignalingHub
from signaling.sources import check_encoder, check_offer, sending_mids
from signaling.tokens import VideoGrants, mint
from tests.fakes.center import MediaNode

Client = TestClient[web.Request, web.Application]

KEY, SECRET = "key", "a secret of more than 32 bytes for tests"
MICROPHONE = frozenset(("microphone",))
HEAD = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
AUDIO = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\na=sendonly\r\n"
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n"

SENDS_VIDEO = {
    "plainly": AUDIO + VIDEO + "a=sendonly\r\n",
    "by default": AUDIO + VIDEO,
    "after a contradiction": AUDIO + VIDEO + "a=recvonly\r\na=sendonly\r\n",
    "on an indented line": AUDIO + " " + VIDEO,
    "after a vertical tab": AUDIO.removesuffix("\r\n") + "\x0b" + VIDEO,
    "after a lone carriage return": AUDIO.removesuffix("\n") + VIDEO,
    "after a line separator": AUDIO.removesuffix("\r\n") + "\u2028" + VIDEO,
    "under a second mid": AUDIO + VIDEO.replace("a=mid:1", "a=mid:0\r\na=mid:1"),
}


def announce(mid: str, source: TrackSource) -> TrackAnnouncement:
    return TrackAnnouncement(mid=mid, source=source)


@pytest.mark.parametrize("offer", SENDS_VIDEO.values(), ids=SENDS_VIDEO.keys())
def test_video_is_seen_however_it_is_written(offer: str) -> None:
    sdp = HEAD + offer
    sends = [m for m in parse(sdp).media if m.direction in ("sendonly", "sendrecv")]
    assert [m.kind for m in sends] == ["audio", "video"], "the media node would take it"
    with pytest.raises(PeerError, match="microphone only"):
        check_offer(sdp, [announce("0", "microphone")], MICROPHONE)
    with pytest.raises(PeerError, match="microphone only"):
        check_encoder(sdp, MICROPHONE)


def test_an_announcement_cannot_be_made_twice_to_mean_another_source() -> None:
    tracks = [announce("0", "microphone"), announce("0", "screen_share_audio")]
    for announced in (tracks, tracks[::-1]):
        with pytest.raises(PeerError) as caught:
            check_offer(HEAD + AUDIO, announced, MICROPHONE)
        assert caught.value.code == "permission_denied"


def test_what_is_allowed_may_be_sent_and_anything_received() -> None:
    sdp = HEAD + AUDIO + VIDEO + "a=recvonly\r\nm=application 9 UDP/DTLS/SCTP x\r\na=mid:2\r\n"
    check_offer(sdp, [announce("0", "microphone")], MICROPHONE)
    check_encoder(sdp, MICROPHONE)
    assert sending_mids(sdp) == {"0"}


def test_a_token_without_sources_allows_all() -> None:
    check_offer(HEAD + AUDIO + VIDEO, [], frozenset())
    check_encoder(HEAD + AUDIO + VIDEO, frozenset())


# --- and both doors ask ---------------------------------------------------------------------------


@pytest.fixture
async def client(
    center: Center, rooms: Rooms, connect: Callable[[str], Awaitable[Center]]
) -> AsyncIterator[Client]:
    node = MediaNode(await connect("media-0"))
    await node.lease.start()
    hub = SignalingHub(center, rooms, SignalingConfig(api_keys={KEY: SECRET}))
    await hub.start()
    app = web.Application()
    app.add_routes(doors.routes(hub))
    async with TestClient(TestServer(app)) as client:
        yield client
        await hub.close()
    await node.lease.close()
    await node.rooms.drop_doubts()


@pytest.fixture
def token() -> str:
    grants = VideoGrants(roomJoin=True, room="plaza", canPublishSources=("microphone",))
    return mint(KEY, SECRET, identity="ana", grants=grants, ttl_s=60, now=time.time())


async def test_an_encoder_is_refused_before_it_is_in_the_room(
    client: Client, rooms: Rooms, token: str
) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/sdp"}
    offer = HEAD + SENDS_VIDEO["plainly"]
    async with client.post("/v1/rooms/plaza/whip", data=offer, headers=headers) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (403, "permission_denied")
    assert await rooms.list(limit=10, cursor=None) == ([], None)


async def test_a_participant_is_refused_and_stays(client: Client, token: str) -> None:
    async with client.ws_connect(
        "/v1/rooms/plaza/join", protocols=["tertulia.v1"], params={"access_token": token}
    ) as socket:
        assert (await socket.receive_json(timeout=10))["type"] == "joined"
        tracks = [{"mid": "0", "source": "microphone"}]
        offer = {"type": "publisher_offer", "id": 7, "sdp": HEAD + SENDS_VIDEO["by default"]}
        await socket.send_json({**offer, "tracks": tracks})
        error = await socket.receive_json(timeout=10)
        assert (error["type"], error["code"], error["id"]) == ("error", "permission_denied", 7)
        await socket.send_json({"type": "leave"})
        assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1000
