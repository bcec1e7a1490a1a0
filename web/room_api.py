"""Rooms over HTTP: create, list, get, close."""

from aiohttp import web

from coordinator.errors import PeerError
from coordinator.ids import check_room_name
from coordinator.model import RoomInfo
from web.access import caller, check_close, check_create, check_list, check_read, room_of
from web.bodies import (
    NewRoom,
    RoomPage,
    answer,
    check_query,
    check_settings,
    decode_body,
    limit_of,
    read_body,
)
from web.creation import created_once
from web.operations import IDEMPOTENCY_KEY, LIST_PARAMETERS, Operation
from web.paths import room_path
from web.services import services


async def create_room(request: web.Request) -> web.StreamResponse:
    here = services(request)
    token = caller(request, here.signaling)
    check_create(token)
    check_query(request)
    body = await read_body(request)
    wanted = decode_body(body, NewRoom)
    name, settings = check_room_name(wanted.name), check_settings(wanted.settings)

    async def create() -> web.Response:
        room, made = await here.rooms.create(name, settings)
        return answer(room, status=201 if made else 200, Location=room_path(name))

    return await created_once(request, token, body, create)


async def list_rooms(request: web.Request) -> web.StreamResponse:
    here = services(request)
    check_list(caller(request, here.signaling))
    check_query(request, ("limit", "cursor"))
    rooms, cursor = await here.rooms.list(
        limit=limit_of(request), cursor=request.query.get("cursor")
    )
    return answer(RoomPage(rooms=rooms, next_cursor=cursor))


async def get_room(request: web.Request) -> web.StreamResponse:
    here, name = services(request), room_of(request)
    check_read(caller(request, here.signaling), name)
    check_query(request)
    return answer(await here.rooms.get(name))


async def close_room(request: web.Request) -> web.StreamResponse:
    here, name = services(request), room_of(request)
    check_close(caller(request, here.signaling), name)
    check_query(request)
    if not await here.rooms.close(name):
        raise PeerError("room_not_found")
    return web.Response(status=204)


ROOM = "/v1/rooms/{room}"

OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/rooms",
        handler=create_room,
        name="createRoom",
        summary="Create a room; 200 with the room as it is if it was there.",
        tag="rooms",
        grant="roomCreate",
        parameters=(IDEMPOTENCY_KEY,),
        body=NewRoom,
        answers=((201, RoomInfo), (200, RoomInfo)),
        codes=("invalid_name", "room_closed", "idempotency_mismatch", "wrong_state"),
    ),
    Operation(
        method="GET",
        path="/v1/rooms",
        handler=list_rooms,
        name="listRooms",
        summary="List rooms by name.",
        tag="rooms",
        grant="roomList",
        parameters=LIST_PARAMETERS,
        answers=((200, RoomPage),),
        codes=("invalid_cursor",),
    ),
    Operation(
        method="GET",
        path=ROOM,
        handler=get_room,
        name="getRoom",
        summary="Get a room.",
        tag="rooms",
        grant="roomList, or roomAdmin of the room",
        answers=((200, RoomInfo),),
        codes=("room_not_found",),
    ),
    Operation(
        method="DELETE",
        path=ROOM,
        handler=close_room,
        name="closeRoom",
        summary="Close a room: everybody leaves, its broadcast ends.",
        tag="rooms",
        grant="roomCreate, or roomAdmin of the room",
        answers=((204, None),),
        codes=("room_not_found",),
    ),
)
