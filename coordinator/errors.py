"""The three roots of error, and the one table of stable codes.

* ``PeerError``: the other side's fault, or a refusal it must hear; carries a code from ``CODES``.
* ``InfrastructureError``: Redis, a node or the disk; says whether to retry. It too has a code, so
  that the edge can tell the peer.
* A bug of ours is an ``AssertionError`` with the reason; the edge answers ``internal``.

HTTP answers are RFC 9457 problem documents; a WebSocket is closed with ``close_code``. Close codes
say what the client should do (RFC 6455 7.4.2 leaves 4000-4999 to applications):
4000-4099 do not reconnect, 4100-4199 rejoin at once, 4200-4299 rejoin after a back-off.
"""

from typing import Final, NamedTuple


class ErrorCode(NamedTuple):
    """What one stable code means on each door."""

    status: int
    """HTTP status."""
    title: str
    """One plain sentence for people."""
    close_code: int
    """WebSocket close code."""


CODES: Final[dict[str, ErrorCode]] = {
    # The request itself.
    "bad_request": ErrorCode(400, "The request is not valid.", 4000),
    "malformed_json": ErrorCode(400, "The message is not valid JSON.", 4001),
    "unknown_message": ErrorCode(400, "The message type is not known.", 4002),
    "invalid_field": ErrorCode(422, "A field is missing, unknown or wrongly typed.", 4003),
    "invalid_name": ErrorCode(422, "The name is not allowed.", 4004),
    "invalid_sdp": ErrorCode(400, "The session description is not valid.", 4005),
    "invalid_candidate": ErrorCode(400, "The ICE candidate is not valid.", 4006),
    "wrong_state": ErrorCode(409, "The request does not fit the present state.", 4007),
    "message_too_large": ErrorCode(413, "The message is too large.", 4008),
    "unsupported_media": ErrorCode(415, "The content type or codec is not supported.", 4009),
    "method_not_allowed": ErrorCode(405, "The method is not allowed here.", 4010),
    "not_found": ErrorCode(404, "There is nothing here.", 4011),
    "precondition_failed": ErrorCode(412, "The resource has changed meanwhile.", 4012),
    "invalid_cursor": ErrorCode(400, "The cursor or position is not valid.", 4013),
    "idempotency_mismatch": ErrorCode(
        422, "The Idempotency-Key was used for another request.", 4014
    ),
    # Who asks.
    "token_missing": ErrorCode(401, "A token is needed.", 4020),
    "token_invalid": ErrorCode(401, "The token is not valid.", 4021),
    "token_expired": ErrorCode(401, "The token has expired.", 4022),
    "permission_denied": ErrorCode(403, "The token does not allow this.", 4023),
    # Rooms.
    "room_not_found": ErrorCode(404, "There is no such room.", 4030),
    "participant_not_found": ErrorCode(404, "There is no such participant.", 4031),
    "track_not_found": ErrorCode(404, "There is no such track.", 4032),
    "broadcast_not_found": ErrorCode(404, "The room has no broadcast.", 4033),
    "room_full": ErrorCode(409, "The room is full.", 4034),
    "room_closed": ErrorCode(410, "The room was closed.", 4035),
    "removed": ErrorCode(403, "You were removed from the room.", 4036),
    "duplicate_identity": ErrorCode(409, "You joined from somewhere else.", 4037),
    "broadcast_exists": ErrorCode(409, "The room already has a broadcast.", 4038),
    "position_trimmed": ErrorCode(410, "The ledger no longer reaches back that far.", 4039),
    # Rejoin at once: the room lives on, on another node or process.
    "node_lost": ErrorCode(503, "The media node was lost; join again.", 4100),
    "server_draining": ErrorCode(503, "The server is going down; join again.", 4101),
    "signaling_lost": ErrorCode(503, "Your place in the room was lost; join again.", 4102),
    # Rejoin after a back-off.
    "rate_limited": ErrorCode(429, "Too many requests.", 4200),
    "center_unavailable": ErrorCode(503, "The message center is not reachable.", 4201),
    "no_node": ErrorCode(503, "No media node is available.", 4202),
    "no_responder": ErrorCode(503, "The media node does not answer.", 4203),
    "deadline_exceeded": ErrorCode(504, "The media node did not answer in time.", 4204),
    "slow_consumer": ErrorCode(503, "The connection could not keep up.", 4205),
    "transport_failed": ErrorCode(503, "The media connection was lost.", 4206),
    "broadcast_stalled": ErrorCode(503, "The broadcast does not move on.", 4207),
    "internal": ErrorCode(500, "Something went wrong on the server.", 4299),
}


class TertuliaError(Exception):
    """Root of all errors that carry a stable code."""

    def __init__(self, code: str, detail: str = "") -> None:
        assert code in CODES, f"undocumented error code {code}"
        super().__init__(detail or CODES[code].title)
        self.code: Final = code
        self.detail: Final = detail or CODES[code].title

    @property
    def kind(self) -> ErrorCode:
        return CODES[self.code]


class PeerError(TertuliaError):
    """The peer's fault, or a refusal that it must hear."""


class InfrastructureError(TertuliaError):
    """Something of ours is away. ``retry`` says whether the same call may succeed later."""

    def __init__(self, code: str, detail: str = "", *, retry: bool = True) -> None:
        super().__init__(code, detail)
        self.retry: Final = retry


class Fenced(InfrastructureError):
    """A write with a fence that is not the room's: somebody else owns the room now."""

    def __init__(self, detail: str = "the room has another owner") -> None:
        super().__init__("node_lost", detail, retry=False)
