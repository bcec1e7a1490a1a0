"""What WHIP and WHEP have in common: an offer is POSTed, and a resource stands for the session.

The endpoint takes an offer and answers 201 with the resource's unguessable path; the resource takes
PATCHes (RFC 8840 fragments) and DELETE (RFC 9725 4). Behind it is a participant like any other: it
joins when the offer comes, and the resource is gone as soon as the ledger says that it left.

Pages of any origin may call: nothing here goes by cookies, only by the bearer token.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from aiohttp import hdrs, web

from coordinator.errors import InfrastructureError, PeerError, TertuliaError
from coordinator.ids import Identity, NodeId, ParticipantSid, RoomName, check_room_name
from coordinator.model import LeaveReason, ParticipantKind, Permissions
from coordinator.requests import Request, SdpAnswer, SdpFragment, SdpFragmentAnswer
from signaling.hub import SignalingHub
from signaling.offer_headers import ice_server_links, match_etag, quote_etag
from signaling.problem import internal, problem_response
from signaling.tokens import Token, find_token, verify

SDP: Final = "application/sdp"
FRAGMENT: Final = "application/trickle-ice-sdpfrag"
MAX_RESOURCES: Final = 2000
"""Of one door in one process, offers in progress included: more than a media node of one core
carries."""
MAX_FRAGMENT_BYTES: Final = 64 * 1024
"""A media node takes 16 Ki characters of at most 4 bytes."""
MAX_WAITING_PATCHES: Final = 16
"""Of one resource. They go to the node one by one; a client trickles in a handful."""
BODY_TIMEOUT_S: Final = 10.0
"""A body that takes longer holds a place for nothing: an offer fits into a few packets."""
_READS: Final = ("GET", "HEAD")
"""RFC 9725 4.1: there is nothing to read, and the answer to reading is 2xx without content."""
_ENDPOINT_METHODS: Final = "GET, HEAD, OPTIONS, POST"
_RESOURCE_METHODS: Final = "DELETE, GET, HEAD, OPTIONS, PATCH"
_EXPOSED: Final = "ETag, Link, Location"
_SECRET_BYTES: Final = 24
"""192 bits: a path is found by being told, not by guessing."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Guest:
    """Who comes through a door, and how."""

    identity: Identity
    display_name: str
    permissions: Permissions
    create_room: bool
    ask: Callable[[RoomName, ParticipantSid, str], Request]
    """The request with which the owner node gets the offer."""
    check: Callable[[str], None] = lambda _: None
    """Raises PeerError for an offer that the token does not allow."""


@dataclass(slots=True, eq=False)
class Resource:
    """One WHIP or WHEP session."""

    room: RoomName
    secret: str = field(repr=False)
    api_key: str
    subject: Identity | None
    """Whose token made it: nobody else may change it."""
    sid: ParticipantSid
    owner: NodeId
    etag: str = ""
    gone: bool = False
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class OfferDoor:
    """One of the two doors. *welcome* checks the token's grants and says who comes in."""

    def __init__(
        self,
        hub: SignalingHub,
        kind: ParticipantKind,
        welcome: Callable[[web.Request, Token, RoomName], Guest],
        *,
        max_resources: int = MAX_RESOURCES,
    ) -> None:
        self._hub: Final = hub
        self._kind: Final[ParticipantKind] = kind
        self._welcome: Final = welcome
        self._max_resources: Final = max_resources
        self._resources: Final[dict[str, Resource]] = {}
        self._opening = 0

    @property
    def resources(self) -> int:
        """How many sessions stand."""
        return len(self._resources)

    def routes(self) -> list[web.RouteDef]:
        endpoint = f"/v1/rooms/{{room}}/{self._kind}"
        resource = endpoint + "/{resource}"
        return [
            web.post(endpoint, self._guarded(self._post)),
            web.options(endpoint, self._guarded(self._endpoint_options)),
            web.route("*", endpoint, self._guarded(self._other_endpoint_method)),
            web.patch(resource, self._guarded(self._patch)),
            web.delete(resource, self._guarded(self._delete)),
            web.options(resource, self._guarded(self._resource_options)),
            web.route("*", resource, self._guarded(self._other_resource_method)),
        ]

    # --- the endpoint -----------------------------------------------------------------------------

    async def _post(self, request: web.Request) -> web.Response:
        """RFC 9725 4.2."""
        room = check_room_name(request.match_info["room"])
        token = self._token(request)
        guest = self._welcome(request, token, room)
        _check_type(request, SDP)
        sdp = await _body(request, self._hub.config.max_message_bytes)
        if not sdp.startswith("v=0"):
            # Seen here already, so that plain nonsense neither joins nor ends an older session.
            raise PeerError("invalid_sdp", "The offer is not a session description.")
        guest.check(sdp)
        if self.resources + self._opening >= self._max_resources:
            self._count("refused_full")
            raise PeerError("rate_limited", "This server has too many sessions of this kind.")
        self._opening += 1
        try:
            resource, answer = await self._open(room, token, guest, sdp)
        finally:
            self._opening -= 1
        self._count("opened")
        response = web.Response(status=201, text=answer, content_type=SDP)
        response.headers[hdrs.LOCATION] = f"/v1/rooms/{quote(room)}/{self._kind}/{resource.secret}"
        response.headers[hdrs.ETAG] = quote_etag(resource.etag)
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        for link in ice_server_links(self._hub.config.ice_servers):
            response.headers.add(hdrs.LINK, link)
        return response

    async def _open(
        self, room: RoomName, token: Token, guest: Guest, sdp: str
    ) -> tuple[Resource, str]:
        """Admit *guest* and have its offer answered; nobody stays in the room if that fails."""
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        left: list[LeaveReason] = []

        def on_left(reason: LeaveReason) -> None:
            left.append(reason)
            self._end(secret, reason)

        joined = await self._hub.admit(
            room,
            identity=guest.identity,
            display_name=guest.display_name,
            kind=self._kind,
            permissions=guest.permissions,
            metadata=token.metadata,
            create=guest.create_room,
            on_left=on_left,
        )
        sid = joined.participant.sid
        try:
            answer = await self._hub.center.request(joined.owner, guest.ask(room, sid, sdp))
            assert isinstance(answer, SdpAnswer)
            if left:
                raise _gone_with(left[0])
        except BaseException:
            self._count("offers_failed")
            if not left:
                # Also when this call is cancelled: the leave must be said all the same.
                await self._hub.leave(room, sid, "join_failed")
            raise
        resource = Resource(
            room=room,
            secret=secret,
            api_key=token.api_key,
            subject=token.identity,
            sid=sid,
            owner=joined.owner,
            etag=answer.etag,
        )
        self._resources[secret] = resource
        return resource, answer.sdp

    def _end(self, secret: str, reason: LeaveReason) -> None:
        resource = self._resources.pop(secret, None)
        if resource is not None:
            resource.gone = True
            self._count(f"ended_{reason}")

    async def _endpoint_options(self, _: web.Request) -> web.Response:
        return _options(_ENDPOINT_METHODS, {"Accept-Post": SDP})

    async def _other_endpoint_method(self, request: web.Request) -> web.Response:
        if request.method in _READS:
            return web.Response(status=204)
        return _refuse_method(_ENDPOINT_METHODS)

    # --- the resource -----------------------------------------------------------------------------

    async def _patch(self, request: web.Request) -> web.Response:
        """Trickled candidates: 204. An ICE restart: 200 with new credentials (RFC 9725 4.3)."""
        resource = self._resource(request)
        if request.content_type != FRAGMENT:
            error = PeerError("unsupported_media", f"The content type is {FRAGMENT}.")
            return problem_response(error, headers={"Accept-Patch": FRAGMENT})  # RFC 5789 2.2
        if_match = ",".join(request.headers.getall(hdrs.IF_MATCH, ()))
        if not if_match:
            # RFC 9725 4.3.1: a session that can restart ICE says which of them is meant.
            error = PeerError("precondition_failed", "If-Match is needed.")
            return problem_response(error, status=428)
        fragment = await _body(request, MAX_FRAGMENT_BYTES)
        if resource.waiting >= MAX_WAITING_PATCHES:
            self._count("patches_refused")
            raise PeerError("rate_limited", "Too many requests on this session wait.")
        resource.waiting += 1
        try:
            async with resource.turn:
                return await self._apply(resource, if_match, fragment)
        finally:
            resource.waiting -= 1

    async def _apply(self, resource: Resource, if_match: str, fragment: str) -> web.Response:
        if resource.gone:
            raise PeerError("not_found")
        etag = match_etag(if_match, resource.etag)
        if etag is None:
            raise PeerError("precondition_failed", "If-Match names another ICE session.")
        answer = await self._hub.center.request(
            resource.owner,
            SdpFragment(room=resource.room, participant=resource.sid, fragment=fragment, etag=etag),
        )
        assert isinstance(answer, SdpFragmentAnswer)
        if not answer.fragment:
            self._count("trickled")
            return web.Response(status=204)
        self._count("ice_restarts")
        resource.etag = answer.etag
        response = web.Response(status=200, text=answer.fragment, content_type=FRAGMENT)
        response.headers[hdrs.ETAG] = quote_etag(resource.etag)
        return response

    async def _delete(self, request: web.Request) -> web.Response:
        """RFC 9725 4.2: the session ends. A second time it is not there."""
        resource = self._resource(request)
        self._end(resource.secret, "left")
        await self._hub.leave(resource.room, resource.sid, "left")
        return web.Response(status=200)

    async def _resource_options(self, _: web.Request) -> web.Response:
        return _options(_RESOURCE_METHODS, {"Accept-Patch": FRAGMENT})

    async def _other_resource_method(self, request: web.Request) -> web.Response:
        if request.method in _READS:
            self._resource(request)
            return web.Response(status=204)
        return _refuse_method(_RESOURCE_METHODS)

    def _resource(self, request: web.Request) -> Resource:
        """The resource in the path, for who made it.

        An expired token will do: its expiry bars coming in, not going on or leaving.

        Raises PeerError: token_missing, token_invalid, permission_denied, not_found.
        """
        token = self._token(request, allow_expired=True)
        room = check_room_name(request.match_info["room"])
        resource = self._resources.get(request.match_info["resource"])
        if resource is None or resource.room != room:
            raise PeerError("not_found")
        if (token.api_key, token.identity) != (resource.api_key, resource.subject):
            raise PeerError("permission_denied", "The session is somebody else's.")
        return resource

    # --- both -------------------------------------------------------------------------------------

    def _token(self, request: web.Request, *, allow_expired: bool = False) -> Token:
        text = find_token(
            request.headers.get(hdrs.AUTHORIZATION), request.query.get("access_token")
        )
        keys = self._hub.config.api_keys
        return verify(text, keys, now=time.time(), allow_expired=allow_expired)

    def _count(self, kind: str) -> None:
        self._hub.counters[f"{self._kind}_{kind}"] += 1

    def _guarded(self, handler: Handler) -> Handler:
        """*handler*, its errors answered here: those answers too are for pages of any origin."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                response = await handler(request)
            except TertuliaError as error:
                self._count(f"refused_{error.code}")
                response = problem_response(error)
            except (web.HTTPException, ConnectionError):
                raise
            except Exception:
                response = problem_response(internal(f"{request.method} {self._kind}"))
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
            return response

        return guarded


def _check_type(request: web.Request, wanted: str) -> None:
    if request.content_type != wanted:
        raise PeerError("unsupported_media", f"The content type is {wanted}.")


async def _body(request: web.Request, limit_bytes: int) -> str:
    """The body as text. Raises PeerError: message_too_large, invalid_sdp, bad_request."""
    if (request.content_length or 0) > limit_bytes:
        raise PeerError("message_too_large")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for data in request.content.iter_any():
                body += data
                if len(body) > limit_bytes:
                    raise PeerError("message_too_large")
    except TimeoutError:
        raise PeerError("bad_request", "The body did not arrive in time.") from None
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise PeerError("invalid_sdp", "The body is not UTF-8.") from None


def _options(methods: str, accepts: dict[str, str]) -> web.Response:
    """The answer to OPTIONS (RFC 9725 4.2) and to a preflight (Fetch, CORS protocol)."""
    return web.Response(
        status=200,
        headers={
            hdrs.ALLOW: methods,
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: methods,
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Authorization, Content-Type, If-Match",
            hdrs.ACCESS_CONTROL_MAX_AGE: "600",
            **accepts,
        },
    )


def _refuse_method(allowed: str) -> web.Response:
    return problem_response(PeerError("method_not_allowed"), headers={hdrs.ALLOW: allowed})


def _gone_with(reason: LeaveReason) -> TertuliaError:
    """What a client hears whose participant left while its offer was on the way."""
    if reason in ("removed", "room_closed", "duplicate_identity"):
        return PeerError(reason)
    if reason in ("server_draining", "signaling_lost", "node_lost", "transport_failed"):
        return InfrastructureError(reason)
    return PeerError("participant_not_found")
