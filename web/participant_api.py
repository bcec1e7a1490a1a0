"""Participants over HTTP: list, get, remove, mute."""

import base64
from typing import Final

import msgspec
from aiohttp import web

from coordinator.errors import InfrastructureError, PeerError
from coordinator.ids import Identity, RoomName, check_identity
from coordinator.model import ParticipantInfo, TrackInfo
from coordinator.requests import SetTrackMuted
from web.access import caller, check_admin, room_of
from web.bodies import (
    ParticipantPage,
    TrackUpdate,
    answer,
    check_query,
    decode_body,
    entity_tag,
    limit_of,
    read_body,
)
from web.operations import LIST_PARAMETERS, Operation, Parameter
from web.services import services

PARTICIPANTS: Final = "/v1/rooms/{room}/participants"
PARTICIPANT: Final = PARTICIPANTS + "/{identity}"
TRACK: Final = PARTICIPANT + "/tracks/{track}"


def identity_of(request: web.Request) -> Identity:
    return check_identity(request.match_info["identity"])


def admitted(request: web.Request) -> RoomName:
    """The room in the path, if the caller administers it and the query is empty but for lists."""
    room = room_of(request)
    check_admin(caller(request, services(request).signaling), room)
    return room


async def list_participants(request: web.Request) -> web.StreamResponse:
    room = admitted(request)
    check_query(request, ("limit", "cursor"))
    limit, cursor = limit_of(request), request.query.get("cursor")
    snapshot = await services(request).rooms.snapshot(room)
    people = sorted(snapshot.participants, key=_place)
    if cursor is not None:
        after = _read_cursor(cursor)
        people = [person for person in people if _place(person) > after]
    more = len(people) > limit
    return answer(
        ParticipantPage(
            participants=people[:limit],
            next_cursor=_cursor(_place(people[limit - 1])) if more else None,
        )
    )


def _place(person: ParticipantInfo) -> str:
    """Sorts by time of joining; an ISO time of one zone sorts as text."""
    return f"{person.joined_at.isoformat(timespec='microseconds')} {person.sid}"


def _cursor(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise PeerError("invalid_cursor") from None


async def get_participant(request: web.Request) -> web.StreamResponse:
    room = admitted(request)
    check_query(request)
    return answer(await services(request).rooms.participant(room, identity_of(request)))


async def remove_participant(request: web.Request) -> web.StreamResponse:
    room = admitted(request)
    check_query(request)
    await services(request).rooms.remove(room, identity_of(request))
    return web.Response(status=204)


def find_track(person: ParticipantInfo, sid: str) -> TrackInfo:
    for track in person.tracks:
        if track.sid == sid:
            return track
    raise PeerError("track_not_found")


async def get_track(request: web.Request) -> web.StreamResponse:
    room = admitted(request)
    check_query(request)
    person = await services(request).rooms.participant(room, identity_of(request))
    track = find_track(person, request.match_info["track"])
    return answer(track, ETag=entity_tag(track))


async def update_track(request: web.Request) -> web.StreamResponse:
    """An operator's mute outweighs the participant's own until an operator takes it back."""
    here, room = services(request), admitted(request)
    check_query(request)
    change = decode_body(await read_body(request), TrackUpdate)
    person = await here.rooms.participant(room, identity_of(request))
    track = find_track(person, request.match_info["track"])
    wanted = request.headers.get("If-Match", "*")
    if wanted != "*" and entity_tag(track) not in [tag.strip() for tag in wanted.split(",")]:
        raise PeerError("precondition_failed")
    owner = (await here.rooms.get(room)).node
    if owner is None:
        raise InfrastructureError("node_lost")
    await here.center.request(
        owner,
        SetTrackMuted(
            room=room, participant=person.sid, track=track.sid, muted=change.muted, by="admin"
        ),
    )
    changed = msgspec.structs.replace(track, muted=change.muted)
    return answer(changed, ETag=entity_tag(changed))


OPERATIONS = (
    Operation(
        method="GET",
        path=PARTICIPANTS,
        handler=list_participants,
        name="listParticipants",
        summary="List who is in a room, the hidden ones included, by time of joining.",
        tag="participants",
        grant="roomAdmin",
        parameters=LIST_PARAMETERS,
        answers=((200, ParticipantPage),),
        codes=("room_not_found", "invalid_cursor"),
    ),
    Operation(
        method="GET",
        path=PARTICIPANT,
        handler=get_participant,
        name="getParticipant",
        summary="Get a participant with their tracks.",
        tag="participants",
        grant="roomAdmin",
        answers=((200, ParticipantInfo),),
        codes=("room_not_found", "participant_not_found"),
    ),
    Operation(
        method="DELETE",
        path=PARTICIPANT,
        handler=remove_participant,
        name="removeParticipant",
        summary="Remove a participant. Their token goes on to be valid.",
        tag="participants",
        grant="roomAdmin",
        answers=((204, None),),
        codes=("room_not_found", "participant_not_found"),
    ),
    Operation(
        method="GET",
        path=TRACK,
        handler=get_track,
        name="getTrack",
        summary="Get a track.",
        tag="participants",
        grant="roomAdmin",
        answers=((200, TrackInfo),),
        codes=("room_not_found", "participant_not_found", "track_not_found"),
    ),
    Operation(
        method="PATCH",
        path=TRACK,
        handler=update_track,
        name="updateTrack",
        summary="Mute a track, or take an operator's mute back.",
        tag="participants",
        grant="roomAdmin",
        parameters=(Parameter(name="If-Match", description="ETag of the track.", place="header"),),
        body=TrackUpdate,
        answers=((200, TrackInfo),),
        codes=(
            "room_not_found",
            "participant_not_found",
            "track_not_found",
            "precondition_failed",
            "node_lost",
            "no_responder",
            "deadline_exceeded",
        ),
    ),
)
