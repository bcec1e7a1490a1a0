"""A client of a whole web process, and a media node as that process sees it."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

import aiohttp

from coordinator.center import Center
from coordinator.ids import NodeId, RoomName, TrackSid
from coordinator.model import TrackInfo
from coordinator.nodes import NodeLease
from coordinator.requests import (
    Ack,
    CollectMetrics,
    MetricFamily,
    Metrics,
    OpenRoom,
    Sample,
    SetTrackMuted,
)
from coordinator.rooms import JoinResult, Rooms
from signaling.config import SignalingConfig
from signaling.tokens import VideoGrants, mint
from web.process import WebServer

KEY, SECRET = "TKdoor", "a secret of the door's tests, long enough for HS256"
WAIT_S = 10.0


class Answer:
    """What came back, read whole."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem document, whose parts are looked at."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), self.body
        problem = self.json
        assert problem["status"] == self.status
        assert problem["type"].endswith(problem["code"])
        return str(problem["code"])


class Events:
    """Server-sent events as they come."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> tuple[str, str, Any]:
        """(event, id, data) of the next one; comments and ``retry`` are passed over."""
        name, id, data = "", "", ""
        async with asyncio.timeout(WAIT_S):
            while True:
                line = (await self.response.content.readline()).decode()
                assert line, "the answer ended"
                field, _, value = line.rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    id = value
                elif field == "data":
                    data += value
                elif not field and data:
                    return name, id, json.loads(data)

    async def ended(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.response.content.read()


class Door:
    """The web process and a client of it; without *token*, the operator calls."""

    def __init__(self, server: WebServer, config: SignalingConfig) -> None:
        self.server, self.config = server, config
        self.http = aiohttp.ClientSession()
        self._responses: list[aiohttp.ClientResponse] = []

    def token(self, identity: str | None = None, *, ttl_s: float = 60, **grants: Any) -> str:
        video = VideoGrants(**grants)
        return mint(KEY, SECRET, identity=identity, grants=video, ttl_s=ttl_s, now=time.time())

    def headers(self, token: str | None) -> dict[str, str]:
        given = token
        if given is None:
            given = self.token(roomAdmin=True, room="*", roomCreate=True, roomList=True)
        return {"Authorization": f"Bearer {given}"} if given else {}

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        **arguments: Any,
    ) -> Answer:
        """*token* empty: none is sent."""
        async with self.http.request(
            method,
            self.server.url + path,
            json=body,
            headers={**self.headers(token), **(headers or {})},
            **arguments,
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def events(
        self, path: str, *, token: str | None = None, headers: dict[str, str] | None = None
    ) -> Events:
        response = await self.http.get(
            self.server.url + path,
            headers={
                "Accept": "text/event-stream",
                **self.headers(token),
                **(headers or {}),
            },
        )
        self._responses.append(response)
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        return Events(response)

    async def close(self) -> None:
        for response in self._responses:
            response.close()
        await self.http.close()


class Carrier:
    """A media node as the door sees it: it takes rooms, mutes tracks and tells its metrics."""

    def __init__(self, center: Center) -> None:
        self.center = center
        self.rooms = Rooms(center)
        self.lease = NodeLease(center, kind="media")
        self.muted: list[SetTrackMuted] = []
        center.serve(
            {OpenRoom: self._open, SetTrackMuted: self._mute, CollectMetrics: self._metrics}
        )

    @classmethod
    async def start(cls, center: Center) -> Self:
        carrier = cls(center)
        await carrier.lease.start()
        return carrier

    @property
    def id(self) -> NodeId:
        return self.center.node_id

    async def publish(self, room: RoomName, joined: JoinResult, sid: str) -> None:
        track = TrackInfo(sid=TrackSid(sid), kind="video", source="camera", mime="video/VP8")
        await self.rooms.publish(
            room, fence=joined.snapshot.fence, participant=joined.participant.sid, track=track
        )

    async def _open(self, _: OpenRoom) -> Ack:
        return Ack()

    async def _mute(self, request: SetTrackMuted) -> Ack:
        self.muted.append(request)
        snapshot = await self.rooms.snapshot(request.room)
        await self.rooms.set_muted(
            request.room,
            fence=snapshot.fence,
            participant=request.participant,
            track=request.track,
            muted=request.muted,
            by=request.by,
        )
        return Ack()

    async def _metrics(self, _: CollectMetrics) -> Metrics:
        sample = Sample(labels={"node": "media-0", "quote": 'a"b\\c\nd'}, value=7)
        return Metrics(
            families=(
                MetricFamily(name="tertulia_test", kind="gauge", help="A", samples=(sample,)),
            )
        )


OpenDoor = Callable[..., Awaitable[Door]]
"""The fixture ``open_door``: (open_rooms=False) -> a web process and its client."""
JoinAs = Callable[..., Awaitable[JoinResult]]
