"""The WebSocket door as a client sees it: a real server, message center and sockets."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from coordinator.center import Center
from coordinator.errors import CODES, PeerError
from coordinator.events import ParticipantLeft
from coordinator.ids import START, Identity, RoomName, TrackSid
from coordinator.model import RoomSettings
from coordinator.requests import (
    Ack,
    AnsweredTrack,
    Candidate,
    OpenRoom,
    PublisherAnswer,
    PublisherOffer,
    SetTrackMuted,
    SubscriberAnswer,
    SubscriberOffer,
)
from coordinator.rooms import Rooms
from signaling.config import SignalingConfig
from signaling.doors import routes
from signaling.hub import SignalingHub
from signaling.problem import problem_middleware
from signaling.tokens import VideoGrants, mint
from tests.fakes.center import MediaNode, until

ROOM = RoomName("demo")
KEY, SECRET = "APItests", "a secret of the tests, of more than 32 bytes"
WAIT_S = 10.0
Connect = Callable[[str], Awaitable[Center]]
Message = dict[str, Any]


def token(identity: str | None = "ana", *, ttl_s: float = 3600.0, **grants: Any) -> str:
    video = VideoGrants(**{"roomJoin": True, "room": ROOM, **grants})
    return mint(KEY, SECRET, identity=identity, grants=video, ttl_s=ttl_s, now=time.time())


class Node(MediaNode):
    """A media process that answers offers, and remembers in which order they came."""

    def __init__(self, center: Center) -> None:
        super().__init__(center)
        self.asked: list[Any] = []
        self.answering = asyncio.Event()
        self.answering.set()
        center.serve(
            {
                PublisherOffer: self._offer,
                SubscriberAnswer: self._take,
                Candidate: self._take,
                SetTrackMuted: self._take,
            }
        )

    async def _offer(self, offer: PublisherOffer) -> PublisherAnswer:
        self.asked.append(offer)
        await self.answering.wait()
        if offer.sdp == "nonsense":
            raise PeerError("invalid_sdp")
        tracks = tuple(AnsweredTrack(mid=t.mid, sid=TrackSid("TR_1")) for t in offer.tracks)
        return PublisherAnswer(sdp=f"answer to {offer.sdp}", tracks=tracks)

    async def _take(self, request: Any) -> Ack:
        self.asked.append(request)
        if isinstance(request, SubscriberAnswer) and request.offer_id != 1:
            raise PeerError("wrong_state")
        return Ack()


class Client:
    """One socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.joined: Message = {}

    async def send(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def next(self) -> Message:
        """The next message. Fails when the socket is closed instead."""
        frame = await self.socket.receive(timeout=WAIT_S)
        assert frame.type is aiohttp.WSMsgType.TEXT, (frame, self.socket.close_code)
        message = json.loads(frame.data)
        assert isinstance(message, dict)
        return message

    async def until(self, kind: str) -> Message:
        """The next message of *kind*; others are passed over."""
        while True:
            message = await self.next()
            if message["type"] == kind:
                return message

    async def farewell(self) -> tuple[str, int]:
        """The goodbye's code and the close code that follows it."""
        goodbye = await self.until("goodbye")
        assert (
            CODES[goodbye["code"]].close_code // 100
            == {"no": 40, "now": 41, "later": 42}[goodbye["reconnect"]]
        )
        return goodbye["code"], await self.closed()

    async def closed(self) -> int:
        frame = await self.socket.receive(timeout=WAIT_S)
        assert frame.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED), frame
        assert self.socket.close_code is not None
        return self.socket.close_code


class Door:
    """A server with our routes, and a client's HTTP."""

    def __init__(self, hub: SignalingHub, server: TestServer, http: aiohttp.ClientSession) -> None:
        self.hub, self.server, self.http = hub, server, http

    async def knock(
        self, text: str | None, *, room: str = ROOM, protocols: tuple[str, ...] = ("tertulia.v1",)
    ) -> Client:
        socket = await self.http.ws_connect(
            self.server.make_url(f"/v1/rooms/{room}/join"),
            params={} if text is None else {"access_token": text},
            protocols=protocols,
            max_msg_size=0,
        )
        return Client(socket)

    async def join(self, identity: str, **grants: Any) -> Client:
        client = await self.knock(token(identity, **grants))
        client.joined = await client.until("joined")
        return client


Open = Callable[..., Awaitable[Door]]


@pytest.fixture
async def node(connect: Connect) -> AsyncIterator[Node]:
    node = Node(await connect("media-0"))
    await node.lease.start()
    yield node
    await node.lease.close()
    await node.rooms.drop_doubts()


@pytest.fixture
async def open_door(center: Center, rooms: Rooms) -> AsyncIterator[Open]:
    doors: list[Door] = []

    async def make(**config: Any) -> Door:
        settings = {"close_timeout_s": 1.0, "leave_retry_s": 0.2, **config}
        hub = SignalingHub(center, rooms, SignalingConfig(api_keys={KEY: SECRET}, **settings))
        await hub.start()
        app = web.Application(middlewares=[problem_middleware])
        app.add_routes(routes(hub))
        server = TestServer(app)
        await server.start_server()
        doors.append(Door(hub, server, aiohttp.ClientSession()))
        return doors[-1]

    yield make
    for door in doors:
        await door.hub.close()
        await door.http.close()
        await door.server.close()


@pytest.fixture
async def door(open_door: Open, node: Node) -> Door:
    return await open_door()


async def said(rooms: Rooms, *leaves: tuple[str, str]) -> None:
    """Wait until the ledger has exactly these leaves."""

    async def there() -> bool:
        events, _ = await rooms.events(ROOM, after=START, limit=1000)
        left = [e.event for e in events if isinstance(e.event, ParticipantLeft)]
        return [(event.identity, event.reason) for event in left] == list(leaves)

    await until(there, f"the ledger to say {leaves}")


# --- the door -------------------------------------------------------------------------------------


async def test_who_is_let_in_hears_joined_first(door: Door) -> None:
    client = await door.knock(token("ana"))
    joined = await client.next()
    assert joined["type"] == "joined"
    assert joined["participant"]["identity"] == "ana"
    assert joined["room"]["name"] == ROOM
    assert client.socket.protocol == "tertulia.v1"


async def test_what_happens_at_every_door_is_counted(door: Door) -> None:
    client = await door.knock(None)
    await client.farewell()
    async with door.http.post(door.server.make_url(f"/v1/rooms/{ROOM}/whip")) as answer:
        assert answer.status == 401
    counted = {
        (family.name, sample.labels.get("kind")): sample.value
        for family in door.hub.metrics()
        for sample in family.samples
    }
    assert counted["tertulia_signaling_events_total", "sockets_opened"] == 1
    assert counted["tertulia_signaling_events_total", "goodbyes_token_missing"] == 1
    assert counted["tertulia_signaling_events_total", "whip_refused_token_missing"] == 1


async def test_the_token_may_come_as_a_header(door: Door) -> None:
    async with door.http.ws_connect(
        door.server.make_url(f"/v1/rooms/{ROOM}/join"),
        headers={"Authorization": f"Bearer {token()}"},
        protocols=["tertulia.v1"],
    ) as socket:
        assert (await Client(socket).next())["type"] == "joined"


@pytest.mark.parametrize(
    ("text", "room", "code"),
    [
        (None, ROOM, "token_missing"),
        ("nonsense", ROOM, "token_invalid"),
        (token(ttl_s=-100), ROOM, "token_expired"),
        (token(roomJoin=False), ROOM, "permission_denied"),
        (token(room="other"), ROOM, "permission_denied"),
        (token(None), ROOM, "token_invalid"),
        (token(), "a%20b", "invalid_name"),
        (token(), "x" * 65, "invalid_name"),
        (token(), "a%0Ab", "invalid_name"),
    ],
    ids=["none", "nonsense", "expired", "grant", "room", "nobody", "space", "long", "control"],
)
async def test_a_refusal_is_a_goodbye_that_a_browser_can_read(
    door: Door, text: str | None, room: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        client = await door.knock(text, room=room)
        assert await client.farewell() == (code, CODES[code].close_code)
    if text and text != "nonsense":
        assert text not in caplog.text


async def test_another_subprotocol_is_refused(door: Door) -> None:
    client = await door.knock(token(), protocols=())
    assert await client.farewell() == ("bad_request", 4000)


async def test_a_plain_request_gets_a_problem_document(door: Door) -> None:
    async with door.http.get(door.server.make_url(f"/v1/rooms/{ROOM}/join")) as answer:
        assert answer.status == 400
        assert json.loads(await answer.text())["code"] == "bad_request"


async def test_a_full_room_and_an_absent_node_are_told(open_door: Open, connect: Connect) -> None:
    door = await open_door()
    client = await door.knock(token())
    assert await client.farewell() == ("no_node", 4202)
    node = Node(await connect("media-0"))
    await node.lease.start()
    _, made = await door.hub.rooms.create(ROOM, RoomSettings(max_participants=1))
    assert made, "who was refused made no room"
    ana = await door.join("ana")
    client = await door.knock(token("ben"))
    assert await client.farewell() == ("room_full", 4034)
    assert not ana.socket.closed
    await node.lease.close()
    await node.rooms.drop_doubts()


# --- the conversation -----------------------------------------------------------------------------


async def test_others_are_seen_to_come_and_go(door: Door, rooms: Rooms) -> None:
    ana = await door.join("ana")
    ben = await door.join("ben")
    assert (await ana.next())["participant"]["identity"] == "ben"
    await ben.send(type="leave")
    assert await ben.closed() == 1000
    left = await ana.next()
    assert (left["type"], left["identity"], left["reason"]) == ("participant_left", "ben", "left")
    await said(rooms, ("ben", "left"))


async def test_a_socket_that_breaks_is_a_leave(door: Door, rooms: Rooms) -> None:
    ana = await door.join("ana")
    transport = ana.socket._response.connection
    assert transport is not None
    assert transport.transport is not None
    transport.transport.abort()
    await said(rooms, ("ana", "left"))


async def test_who_goes_while_being_let_in_is_not_in_the_room(
    door: Door, rooms: Rooms, node: Node
) -> None:
    opening, answer = asyncio.Event(), asyncio.Event()
    prepare = node._open

    async def slowly(request: Any) -> Ack:
        opening.set()
        await answer.wait()
        return await prepare(request)

    node.center.serve({OpenRoom: slowly})
    client = await door.knock(token())
    await asyncio.wait_for(opening.wait(), WAIT_S)
    await client.send(type="leave")
    assert await client.closed() == 1000
    answer.set()

    async def nobody() -> bool:
        return not (await rooms.snapshot(ROOM)).participants

    await until(nobody, "the room to be empty")


async def test_offers_reach_the_node_in_order_one_after_another(door: Door, node: Node) -> None:
    ana = await door.join("ana")
    node.answering.clear()
    for id in range(1, 6):
        await ana.send(type="publisher_offer", id=id, sdp=f"offer {id}")
    await ana.send(type="mute", id=6, track="TR_1", muted=True)
    # The other transport does not wait for this one.
    await ana.send(type="subscriber_answer", offer_id=1, sdp="v=0")

    async def answered() -> bool:
        return any(isinstance(request, SubscriberAnswer) for request in node.asked)

    await until(answered, "the subscriber's answer to arrive")
    assert [r.sdp for r in node.asked if isinstance(r, PublisherOffer)] == ["offer 1"]
    node.answering.set()
    for id in range(1, 6):
        answer = await ana.next()
        assert (answer["id"], answer["sdp"]) == (id, f"answer to offer {id}")
    assert await ana.next() == {"type": "muted", "id": 6, "track": "TR_1", "muted": True}


async def test_requests_that_nobody_takes_up_are_bounded(open_door: Open, node: Node) -> None:
    door = await open_door(request_queue=2)
    ana = await door.join("ana")
    node.answering.clear()
    await ana.send(type="publisher_offer", id=0, sdp="v=0")

    async def busy() -> bool:
        return bool(node.asked)

    await until(busy, "the node to have an offer")
    for id in (1, 2, 3):
        await ana.send(type="publisher_offer", id=id, sdp="v=0")
    error = await ana.next()
    assert (error["code"], error["id"]) == ("rate_limited", 3)
    node.answering.set()
    assert [(await ana.next())["id"] for _ in range(3)] == [0, 1, 2]


async def test_the_nodes_refusal_and_absence_are_errors_with_the_id(door: Door, node: Node) -> None:
    ana = await door.join("ana")
    await ana.send(type="publisher_offer", id=4, sdp="nonsense")
    error = await ana.next()
    assert (error["type"], error["code"], error["id"]) == ("error", "invalid_sdp", 4)
    await ana.send(type="subscriber_answer", offer_id=9, sdp="v=0")
    error = await ana.next()
    assert (error["code"], error["id"]) == ("wrong_state", None)
    await node.center.close()
    await ana.send(type="publisher_offer", id=5, sdp="v=0")
    error = await ana.next()
    assert (error["code"], error["id"]) == ("no_responder", 5)


async def test_the_nodes_offer_arrives(door: Door, node: Node, center: Center) -> None:
    ana = await door.join("ana")
    sid = ana.joined["participant"]["sid"]
    offer = SubscriberOffer(
        room=ROOM, participant=sid, offer_id=1, sdp="v=0", tracks={"0": TrackSid("TR_9")}
    )
    await node.center.notify(center.node_id, offer)
    assert await ana.next() == {
        "type": "subscriber_offer",
        "offer_id": 1,
        "sdp": "v=0",
        "tracks": {"0": "TR_9"},
    }


# --- bad input ------------------------------------------------------------------------------------


async def test_nonsense_is_refused_and_ends_nothing(door: Door) -> None:
    ana = await door.join("ana")
    for text, code in (
        ("{", "malformed_json"),
        ('{"type":"dance"}', "unknown_message"),
        ('{"type":"ping","id":1,"x":2}', "invalid_field"),
    ):
        await ana.socket.send_str(text)
        assert (await ana.next())["code"] == code
    await ana.socket.send_bytes(b"\x00\x01")
    assert (await ana.next())["code"] == "bad_request"
    await ana.send(type="ping", id=7)
    assert await ana.next() == {"type": "pong", "id": 7}


async def test_a_flood_of_nonsense_is_cut_off_and_nobody_else_hears_of_it(
    door: Door, rooms: Rooms
) -> None:
    ana, ben = await door.join("ana"), await door.join("ben")
    for _ in range(30):
        await ben.socket.send_str("{")
    assert await ben.farewell() == ("rate_limited", 4200)
    assert (await ana.until("participant_left"))["identity"] == "ben"
    await ana.send(type="ping", id=1)
    assert (await ana.next())["type"] == "pong"
    await said(rooms, ("ben", "left"))


async def test_a_message_that_is_too_large_ends_its_own_conversation(
    open_door: Open, node: Node, rooms: Rooms
) -> None:
    door = await open_door(max_message_bytes=10_000)
    ana, ben, carol = [await door.join(who) for who in ("ana", "ben", "carol")]
    await ben.send(type="publisher_offer", id=1, sdp="x" * 10_000)
    assert await ben.farewell() == ("message_too_large", 4008)
    await carol.send(type="publisher_offer", id=1, sdp="x" * 50_000)
    while not carol.socket.closed:
        await carol.socket.receive(timeout=WAIT_S)
    assert carol.socket.close_code == 1009
    await said(rooms, ("ben", "left"), ("carol", "left"))
    await ana.send(type="ping", id=1)
    assert (await ana.until("pong"))["id"] == 1


async def test_who_does_not_read_is_cut_off_and_holds_nobody_up(
    open_door: Open, node: Node, center: Center, rooms: Rooms
) -> None:
    door = await open_door(send_queue_messages=8, close_timeout_s=0.2)
    ana = await door.join("ana")
    slow = await door.join("slow")
    sid = slow.joined["participant"]["sid"]
    # Nothing is read any more: the kernel's buffers fill, then ours.
    response = slow.socket._response.connection
    assert response is not None
    assert response.transport is not None
    response.transport.pause_reading()
    offer = SubscriberOffer(room=ROOM, participant=sid, offer_id=1, sdp="x" * 400_000, tracks={})
    for _ in range(60):
        await node.center.notify(center.node_id, offer)
        if door.hub.counters["goodbyes_slow_consumer"]:
            break
    assert door.hub.counters["goodbyes_slow_consumer"] == 1
    await said(rooms, ("slow", "left"))
    assert (await ana.until("participant_left"))["identity"] == "slow"

    async def cut() -> bool:
        return len(door.hub._conversations) == 1

    await until(cut, "the slow socket to be cut")


# --- the end --------------------------------------------------------------------------------------


async def test_the_ends_that_others_make_are_told(door: Door, rooms: Rooms) -> None:
    ana, ben = await door.join("ana"), await door.join("ben")
    await rooms.remove(ROOM, Identity("ana"))
    assert await ana.farewell() == ("removed", 4036)
    again = await door.join("ben")
    assert await ben.farewell() == ("duplicate_identity", 4037)
    await rooms.close(ROOM)
    assert await again.farewell() == ("room_closed", 4035)
    await said(rooms, ("ana", "removed"), ("ben", "duplicate_identity"), ("ben", "room_closed"))


async def test_a_drain_says_goodbye_and_waits_until_it_is_said(door: Door, rooms: Rooms) -> None:
    ana = await door.join("ana")
    draining = asyncio.create_task(door.hub.drain())
    assert await ana.farewell() == ("server_draining", 4101)
    await draining
    await said(rooms, ("ana", "server_draining"))
    late = await door.knock(token("ben"))
    assert await late.farewell() == ("server_draining", 4101)


async def test_a_lost_node_sends_all_its_participants_back_at_once(
    door: Door, rooms: Rooms, node: Node
) -> None:
    ana, ben = await door.join("ana"), await door.join("ben")
    await rooms.vacate(ROOM, node.center.node_id, fence=None, reason="node_lost")
    for client in (ana, ben):
        assert await client.farewell() == ("node_lost", 4100)


async def test_a_peer_that_is_silent_is_given_up(open_door: Open, node: Node, rooms: Rooms) -> None:
    door = await open_door(ping_interval_s=0.2)
    socket = await door.http.ws_connect(
        door.server.make_url(f"/v1/rooms/{ROOM}/join"),
        params={"access_token": token()},
        protocols=["tertulia.v1"],
        autoping=False,
    )
    assert (await Client(socket).next())["type"] == "joined"
    await said(rooms, ("ana", "left"))
    await socket.close()
