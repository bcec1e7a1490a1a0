"""WHIP and WHEP as encoders and players use them: aiohttp and aiortc on the client's side, a real
web application, media node and message center on ours."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)

from coordinator.center import Center
from coordinator.events import Event
from coordinator.ids import RoomName
from coordinator.rooms import Rooms
from media.config import MediaConfig
from media.node import MediaNode
from media.sfu.plane import MediaPlane
from signaling import whep, whip
from signaling.config import IceServer, SignalingConfig
from signaling.hub import SignalingHub
from signaling.offer_door import OfferDoor
from signaling.tokens import VideoGrants, mint
from tests.fakes.center import Listener, until

WAIT_S = 15.0
ROOM = RoomName("plaza")
KEY, SECRET = "key", "a secret of more than 32 bytes for tests"
TRICKLE = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=end-of-candidates\r\n"
RESTART = f"a=ice-ufrag:abcd\r\na=ice-pwd:{'p' * 24}\r\n" + TRICKLE
ICE_SERVERS = (
    IceServer(urls=("stun:stun.example.net",)),
    IceServer(urls=("turn:turn.example.net",), username='a"b', credential="c\\d"),
)


def token(identity: str | None = "encoder", *, ttl_s: float = 3600.0, **grants: Any) -> str:
    """A token that joins ``plaza``, unless *grants* say otherwise."""
    video = VideoGrants(**{"roomJoin": True, "room": ROOM, **grants})
    return mint(KEY, SECRET, identity=identity, grants=video, ttl_s=ttl_s, now=time.time() - 10)


def bearer(text: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}", **more}


def sdp_headers(text: str) -> dict[str, str]:
    return bearer(text, **{"Content-Type": "application/sdp"})


def fragment_headers(text: str, if_match: str | None) -> dict[str, str]:
    headers = bearer(text, **{"Content-Type": "application/trickle-ice-sdpfrag"})
    return headers if if_match is None else {**headers, "If-Match": if_match}


class OfferClient:
    """One WHIP or WHEP session from the client's side. Use as an async context manager."""

    def __init__(self, http: aiohttp.ClientSession, url: str, text: str) -> None:
        self.http = http
        self.url = url
        self.token = text
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.location = ""
        self.etag = ""
        self.links: list[str] = []

    async def __aenter__(self) -> "OfferClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pc.close()

    async def publish(self, *tracks: MediaStreamTrack) -> None:
        for track in tracks:
            self.pc.addTransceiver(track, direction="sendonly")
        await self._offer()

    async def play(self, *kinds: str) -> list[MediaStreamTrack]:
        for kind in kinds:
            self.pc.addTransceiver(kind, direction="recvonly")
        await self._offer()
        return [transceiver.receiver.track for transceiver in self.pc.getTransceivers()]

    async def _offer(self) -> None:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        async with self.http.post(
            self.url, data=self.pc.localDescription.sdp, headers=sdp_headers(self.token)
        ) as response:
            answer = await response.text()
            assert response.status == 201, answer
            assert response.content_type == "application/sdp"
            self.location = response.headers["Location"]
            self.etag = response.headers["ETag"]
            self.links = response.headers.getall("Link")
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def patch(
        self, fragment: str, if_match: str | None = None, *, text: str | None = None
    ) -> aiohttp.ClientResponse:
        headers = fragment_headers(text or self.token, if_match)
        async with self.http.patch(self.location, data=fragment, headers=headers) as response:
            await response.read()
            return response

    async def delete(self, *, text: str | None = None) -> int:
        async with self.http.delete(self.location, headers=bearer(text or self.token)) as response:
            return response.status

    async def connected(self) -> None:
        """Wait until the connection is up."""
        up = asyncio.Event()
        self.pc.on(
            "connectionstatechange",
            lambda: up.set() if self.pc.connectionState == "connected" else None,
        )
        if self.pc.connectionState != "connected":
            async with asyncio.timeout(WAIT_S):
                await up.wait()


class Ledger(Listener):
    """What the room's ledger says."""

    async def has(self, kind: type[Event], count: int) -> None:
        """Wait for the *count*th event of *kind*."""
        await self.until(lambda _: len(self.of(kind)) >= count, f"{count} {kind.__name__}")

    def of(self, kind: type[Event]) -> list[Any]:
        return [stored.event for stored in self.events if isinstance(stored.event, kind)]

    async def until_event(self, kind: type[Event], **fields: Any) -> Any:
        def found() -> list[Any]:
            return [
                event
                for event in self.of(kind)
                if all(getattr(event, name) == value for name, value in fields.items())
            ]

        await self.until(lambda _: bool(found()), f"{kind.__name__} {fields}")
        return found()[0]


@dataclass
class Doors:
    """Both doors, and what is behind them."""

    http: aiohttp.ClientSession
    rooms: Rooms
    center: Center
    hub: SignalingHub
    ledger: Ledger
    whip: OfferDoor
    whep: OfferDoor
    stack: AsyncExitStack

    async def client(self, path: str, text: str) -> OfferClient:
        """A client of ``whip``, ``whep`` or ``whep?from=...`` of the room ``plaza``."""
        client = OfferClient(self.http, f"/v1/rooms/{ROOM}/{path}", text)
        return await self.stack.enter_async_context(client)

    async def ask(
        self, method: str, path: str, **arguments: Any
    ) -> tuple[aiohttp.ClientResponse, str]:
        """The response, and the stable code of its problem (empty: none)."""
        async with self.http.request(method, path, **arguments) as response:
            body = await response.read()
            problem = body and response.content_type == "application/problem+json"
            return response, str(json.loads(body)["code"]) if problem else ""

    async def ended(self, door: OfferDoor) -> None:
        """Wait until *door* has no session."""

        async def none() -> bool:
            return door.resources == 0

        await until(none, "the end of all sessions")

    async def refuses(self, method: str, path: str, **arguments: Any) -> tuple[int, str]:
        response, code = await self.ask(method, path, **arguments)
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        return response.status, code


@asynccontextmanager
async def open_doors(
    connect: Callable[[str], Awaitable[Center]],
    directory: Path,
    *,
    max_resources: int = 20,
    transport_timeout_s: float = 15.0,
    **settings: Any,
) -> AsyncIterator[Doors]:
    """A media node, a signaling process with both doors, a client of HTTP."""
    async with AsyncExitStack() as stack:
        config = MediaConfig(
            port=0, broadcast_dir=str(directory), transport_timeout_s=transport_timeout_s
        )
        plane = await MediaPlane.open(config)
        stack.push_async_callback(plane.close)
        media_center = await connect("media-0")
        node = MediaNode(media_center, Rooms(media_center), plane, config)
        stack.push_async_callback(node.close)
        await node.start()
        center = await connect("web-0")
        rooms = Rooms(center)
        stack.push_async_callback(rooms.drop_doubts)
        ledger = Ledger()
        stack.callback(center.follow(ROOM, None, ledger).close)
        signaling = SignalingConfig(
            api_keys={KEY: SECRET}, **{"ice_servers": ICE_SERVERS, **settings}
        )
        hub = SignalingHub(center, rooms, signaling)
        stack.push_async_callback(hub.close)
        await hub.start()
        whip_door = whip.door(hub, max_resources=max_resources)
        whep_door = whep.door(hub, max_resources=max_resources)
        app = web.Application()
        app.router.add_routes([*whip_door.routes(), *whep_door.routes()])
        server = TestServer(app, host="127.0.0.1")
        await server.start_server()
        stack.push_async_callback(server.close)
        http = await stack.enter_async_context(aiohttp.ClientSession(server.make_url("/")))
        yield Doors(http, rooms, center, hub, ledger, whip_door, whep_door, stack)


async def frames(track: MediaStreamTrack, count: int) -> list[Any]:
    async with asyncio.timeout(WAIT_S):
        return [await track.recv() for _ in range(count)]


async def sees_motion(track: MediaStreamTrack) -> None:
    pictures = [f.to_ndarray(format="gray").astype(int) for f in await frames(track, 6)]
    assert max(np.abs(a - b).mean() for a, b in itertools.pairwise(pictures)) > 1.0


async def hears_sound(track: MediaStreamTrack) -> None:
    samples = np.concatenate([f.to_ndarray().ravel() for f in await frames(track, 40)])
    assert np.abs(samples).max() > 4000
