"""Rows of what other modules and packages serve, so that one document describes every door."""

from typing import Final

from web.operations import Operation, Parameter

_SDP: Final = "application/sdp"
_FRAGMENT: Final = "application/trickle-ice-sdpfrag"
_IF_MATCH: Final = Parameter(name="If-Match", description="ETag of the session.", place="header")
_PLAYLIST: Final = "application/vnd.apple.mpegurl"
_JOIN_CODES: Final = ("room_full", "room_closed", "no_node", "no_responder", "deadline_exceeded")
_OFFER_CODES: Final = (
    *_JOIN_CODES,
    "invalid_sdp",
    "unsupported_media",
    "message_too_large",
    "rate_limited",
)
_PATCH_CODES: Final = (
    "not_found",
    "precondition_failed",
    "invalid_sdp",
    "invalid_candidate",
    "unsupported_media",
    "message_too_large",
    "rate_limited",
)
_LIVE_CODES: Final = ("room_not_found", "broadcast_not_found", "broadcast_stalled", "rate_limited")
_WATCH: Final = "none while rooms are open; else roomJoin of the room, or roomAdmin"


def _session(protocol: str, does: str) -> tuple[Operation, ...]:
    path = f"/v1/rooms/{{room}}/{protocol}"
    word = protocol.capitalize()
    source = Parameter(
        name="from", description="Identity of whom to play; left out: the active speaker."
    )
    return (
        Operation(
            method="POST",
            path=path,
            handler=None,
            name=f"begin{word}",
            summary=f"{protocol.upper()}: {does}; the body is an SDP offer, the answer its answer.",
            tag=protocol,
            grant="roomJoin of the room",
            parameters=(source,) if protocol == "whep" else (),
            body=_SDP,
            answers=((201, _SDP),),
            codes=_OFFER_CODES,
        ),
        Operation(
            method="PATCH",
            path=path + "/{resource}",
            handler=None,
            name=f"update{word}",
            summary="Trickle candidates, or restart ICE (RFC 8840).",
            tag=protocol,
            grant="roomJoin of the room",
            parameters=(_IF_MATCH,),
            body=_FRAGMENT,
            answers=((204, None), (200, _FRAGMENT)),
            codes=_PATCH_CODES,
        ),
        Operation(
            method="DELETE",
            path=path + "/{resource}",
            handler=None,
            name=f"end{word}",
            summary="End the session.",
            tag=protocol,
            grant="roomJoin of the room",
            answers=((200, None),),
            codes=("not_found",),
        ),
    )


FOREIGN: Final[tuple[Operation, ...]] = (
    Operation(
        method="GET",
        path="/v1/rooms/{room}/join",
        handler=None,
        name="join",
        summary="Join by WebSocket, subprotocol `tertulia.v1`; see signaling/PROTOCOL.md.",
        tag="signaling",
        grant="roomJoin of the room",
        answers=((101, None),),
        codes=_JOIN_CODES,
    ),
    *_session("whip", "publish (RFC 9725)"),
    *_session("whep", "play"),
    Operation(
        method="GET",
        path="/live/{room}/index.m3u8",
        handler=None,
        name="getMultivariantPlaylist",
        summary="The broadcast's multivariant playlist (RFC 8216bis).",
        tag="live",
        grant=_WATCH,
        answers=((200, _PLAYLIST),),
        codes=_LIVE_CODES,
    ),
    Operation(
        method="GET",
        path=r"/live/{room}/{broadcast:BC_\w+}/{rendition:video|audio}.m3u8",
        handler=None,
        name="getMediaPlaylist",
        summary="A rendition's playlist, with blocking reload and delta updates.",
        tag="live",
        grant=_WATCH,
        parameters=(
            Parameter(name="_HLS_msn", description="Wait for this segment.", schema=int),
            Parameter(name="_HLS_part", description="Wait for this part of it.", schema=int),
            Parameter(name="_HLS_skip", description="`YES`: a delta update."),
        ),
        answers=((200, _PLAYLIST),),
        codes=(*_LIVE_CODES, "bad_request"),
    ),
    Operation(
        method="GET",
        path=r"/live/{room}/{broadcast:BC_\w+}/{file}",
        handler=None,
        name="getMediaFile",
        summary="An init section, segment or part; one that is announced is waited for.",
        tag="live",
        grant=_WATCH,
        answers=((200, "video/mp4"), (200, "audio/mp4")),
        codes=(*_LIVE_CODES, "not_found"),
    ),
)
