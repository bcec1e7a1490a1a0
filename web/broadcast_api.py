"""Broadcasts over HTTP: start, get, stop, and wait for one to be live."""

from typing import Final

import msgspec
from aiohttp import web

from coordinator.errors import PeerError
from coordinator.model import BroadcastInfo
from web.access import caller, check_admin, check_read, check_watch, room_of
from web.bodies import NewBroadcast, answer, check_query, decode_body, read_body
from web.creation import created_once
from web.event_stream import encode_event, serve_events
from web.operations import EVENT_STREAM, IDEMPOTENCY_KEY, Operation
from web.paths import room_path
from web.services import services

BROADCAST: Final = "/v1/rooms/{room}/broadcast"


async def start_broadcast(request: web.Request) -> web.StreamResponse:
    here, room = services(request), room_of(request)
    token = caller(request, here.signaling)
    check_admin(token, room)
    check_query(request)
    body = await read_body(request)
    decode_body(body, NewBroadcast)

    async def start() -> web.Response:
        broadcast = await here.rooms.request_broadcast(room)
        return answer(broadcast, status=201, Location=room_path(room, "broadcast"))

    return await created_once(request, token, body, start)


async def get_broadcast(request: web.Request) -> web.StreamResponse:
    here, room = services(request), room_of(request)
    check_read(caller(request, here.signaling), room)
    check_query(request)
    broadcast = (await here.rooms.get(room)).broadcast
    if broadcast is None:
        raise PeerError("broadcast_not_found")
    return answer(broadcast)


async def stop_broadcast(request: web.Request) -> web.StreamResponse:
    here, room = services(request), room_of(request)
    check_admin(caller(request, here.signaling), room)
    check_query(request)
    await here.rooms.stop_broadcast(room)
    return web.Response(status=204)


async def wait_live(request: web.Request) -> web.StreamResponse:
    """For watch pages: the state now, and at each change. The room need not be there yet."""
    here, room = services(request), room_of(request)
    token = check_watch(request, here.signaling, room)
    check_query(request)
    async with here.feeds.live(room) as reader:

        async def next_event(timeout_s: float) -> bytes | None:
            state = await reader.next(timeout_s)
            if state is None:
                return None
            return encode_event("broadcast", msgspec.json.encode(state))

        return await serve_events(request, here, token, next_event)


OPERATIONS = (
    Operation(
        method="POST",
        path=BROADCAST,
        handler=start_broadcast,
        name="startBroadcast",
        summary="Begin a broadcast of the room; it is live when its state says so.",
        tag="broadcasts",
        grant="roomAdmin",
        parameters=(IDEMPOTENCY_KEY,),
        body=NewBroadcast,
        body_required=False,
        answers=((201, BroadcastInfo),),
        codes=("room_not_found", "broadcast_exists", "idempotency_mismatch", "wrong_state"),
    ),
    Operation(
        method="GET",
        path=BROADCAST,
        handler=get_broadcast,
        name="getBroadcast",
        summary="Get the room's broadcast, the last one if it has ended.",
        tag="broadcasts",
        grant="roomList, or roomAdmin of the room",
        answers=((200, BroadcastInfo),),
        codes=("room_not_found", "broadcast_not_found"),
    ),
    Operation(
        method="DELETE",
        path=BROADCAST,
        handler=stop_broadcast,
        name="stopBroadcast",
        summary="End the broadcast; its playlists end within a segment.",
        tag="broadcasts",
        grant="roomAdmin",
        answers=((204, None),),
        codes=("room_not_found", "broadcast_not_found"),
    ),
    Operation(
        method="GET",
        path="/v1/rooms/{room}/live",
        handler=wait_live,
        name="waitLive",
        summary="The state of the room's broadcast now and at each change, as server-sent events "
        "named `broadcast` whose data is a LiveState.",
        tag="broadcasts",
        grant="none while rooms are open; else roomJoin of the room, or roomAdmin",
        answers=((200, EVENT_STREAM),),
        codes=("rate_limited",),
    ),
)
