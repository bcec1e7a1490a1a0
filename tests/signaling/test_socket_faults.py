"""A fault of ours on one socket: it is told, its stay ends on the ledger, and nothing else does."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from coordinator.center import Center
from coordinator.errors import CODES
from coordinator.ids import NodeId
from coordinator.rooms import Rooms
from signaling import doors
from signaling.config import SignalingConfig
from signaling.hub import SignalingHub
from signaling.tokens import VideoGrants, mint
from tests.fakes.center import MediaNode

KEY, SECRET = "key", "a secret of more than 32 bytes for tests"
WAIT_S = 10.0


async def hear(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """The next message of type *kind*."""
    async with asyncio.timeout(WAIT_S):
        while True:
            message: dict[str, Any] = await socket.receive_json()
            if message["type"] == kind:
                return message


def request_for(identity: str) -> dict[str, Any]:
    grants = VideoGrants(roomJoin=True, room="plaza")
    token = mint(KEY, SECRET, identity=identity, grants=grants, ttl_s=60, now=time.time())
    return {"protocols": ["tertulia.v1"], "params": {"access_token": token}}


async def test_a_fault_while_the_node_is_asked_ends_this_conversation_and_its_stay(
    center: Center,
    rooms: Rooms,
    connect: Callable[[str], Awaitable[Center]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = MediaNode(await connect("media-0"))
    await node.lease.start()
    hub = SignalingHub(center, rooms, SignalingConfig(api_keys={KEY: SECRET}))
    app = web.Application()
    app.add_routes(doors.routes(hub))

    async def fail(_: NodeId, __: object) -> None:
        raise RuntimeError("a secret of ours")

    path = "/v1/rooms/plaza/join"
    async with (
        TestClient(TestServer(app)) as client,
        client.ws_connect(path, **request_for("ben")) as other,
        client.ws_connect(path, **request_for("ana")) as socket,
    ):
        await hear(other, "joined")
        sid = (await hear(socket, "joined"))["participant"]["sid"]
        monkeypatch.setattr(center, "request", fail)
        await socket.send_json({"type": "mute", "id": 1, "track": "TR_x", "muted": True})
        goodbye = await hear(socket, "goodbye")
        assert goodbye["code"] == "internal"
        assert "secret" not in goodbye["detail"]
        assert (await socket.receive(timeout=WAIT_S)).data == CODES["internal"].close_code
        left = await hear(other, "participant_left")
        assert (left["sid"], left["reason"]) == (sid, "left")
        await other.send_json({"type": "ping", "id": 1})
        assert (await hear(other, "pong"))["id"] == 1
        await hub.close()
    await node.lease.close()
    await node.rooms.drop_doubts()
