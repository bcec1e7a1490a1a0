"""A room's ledger over HTTP: pages of it, or events as they come."""

from typing import Final

import msgspec
from aiohttp import web

from coordinator.center import FollowOutput, StoredEvent
from coordinator.errors import PeerError
from coordinator.ids import START, EventId, NodeId, RoomName
from web.access import caller, check_admin, room_of
from web.bodies import EventPage, LedgerEvent, answer, check_query, limit_of
from web.event_stream import encode_event, serve_events
from web.operations import EVENT_STREAM, Operation, Parameter
from web.services import services

EVENTS: Final = "/v1/rooms/{room}/events"


async def read_events(request: web.Request) -> web.StreamResponse:
    here, room = services(request), room_of(request)
    token = caller(request, here.signaling)
    check_admin(token, room)
    if EVENT_STREAM in request.headers.get("Accept", ""):
        check_query(request, ("after",))
        after = request.headers.get("Last-Event-ID") or request.query.get("after")
        position = await _begin(request, room, after)
        async with here.feeds.ledger(room, position) as reader:

            async def next_event(timeout_s: float) -> bytes | None:
                output = await reader.next(timeout_s)
                return None if output is None else _encode(output)

            return await serve_events(request, here, token, next_event)
    check_query(request, ("after", "cursor", "limit"))
    given = request.query.get("after") or request.query.get("cursor") or START
    limit = limit_of(request)
    events, position = await here.rooms.events(room, after=EventId(given), limit=limit)
    page = EventPage(
        events=[_ledger_event(event) for event in events],
        next_after=position,
        next_cursor=position if position != given else None,
    )
    return answer(page)


async def _begin(request: web.Request, room: RoomName, after: str | None) -> EventId | None:
    """The position to follow from. Raises PeerError: room_not_found, invalid_cursor."""
    rooms = services(request).rooms
    try:
        await rooms.events(room, after=EventId(after or START), limit=1)
    except PeerError as error:
        # A position that is gone is told by `resync`: an error would end the reader's retries.
        if error.code != "position_trimmed":
            raise
    return None if after is None else EventId(after)


def _ledger_event(stored: StoredEvent) -> LedgerEvent:
    envelope = stored.envelope
    return LedgerEvent(
        id=stored.id,
        prev=stored.prev,
        type=envelope.type,
        ts=envelope.ts,
        src=NodeId(envelope.src),
        data=envelope.data,
    )


def _encode(output: FollowOutput) -> bytes:
    if isinstance(output, StoredEvent):
        event = _ledger_event(output)
        name = " ".join(event.type.split())
        return encode_event(name, msgspec.json.encode(event), id=event.id)
    data = msgspec.json.encode({"reason": output.reason, "position": output.position})
    return encode_event("resync", data, id=output.position)


OPERATIONS = (
    Operation(
        method="GET",
        path=EVENTS,
        handler=read_events,
        name="readEvents",
        summary="Read the room's ledger from a position. With `Accept: text/event-stream`, events "
        "follow as they come: named by their type, data a LedgerEvent; `resync` says that some "
        "may be missing and the room should be read anew.",
        tag="events",
        grant="roomAdmin",
        parameters=(
            Parameter(
                name="after",
                description="Id of the last event that is known. Left out: the beginning, or for "
                "server-sent events now.",
            ),
            Parameter(name="cursor", description="The same as `after`."),
            Parameter(name="limit", description="At most so many (1 to 1000, 100).", schema=int),
            Parameter(
                name="Last-Event-ID",
                description="Where server-sent events go on; browsers send it by themselves.",
                place="header",
            ),
        ),
        answers=((200, EventPage), (200, EVENT_STREAM)),
        codes=("room_not_found", "invalid_cursor", "position_trimmed", "rate_limited"),
    ),
)
