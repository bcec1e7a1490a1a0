"""Driver: a participant's WebSocket, ``/v1/rooms/{room}/join``. What to do stands in session.py.

A browser cannot read the HTTP answer to a failed upgrade. So whatever is refused, a bad token too,
is refused after the upgrade: by ``goodbye`` and a close code.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Final, ParamSpec

import msgspec
from aiohttp import WSMessageTypeError, WSMsgType, hdrs, web

from coordinator.errors import InfrastructureError, PeerError, TertuliaError
from coordinator.ids import Identity, NodeId, ParticipantSid, RoomName, check_room_name
from coordinator.rooms import JoinResult
from signaling.hub import SignalingHub
from signaling.messages import ErrorMessage, Goodbye
from signaling.problem import internal
from signaling.session import Action, Ask, Close, Lane, Send, Session, State
from signaling.stay import Heard, Over
from signaling.tokens import Token, find_token, require_join, verify

_log: Final = logging.getLogger(__name__)

SUBPROTOCOL: Final = "tertulia.v1"
HARD_LIMIT: Final = 4
"""A message this many times too large is not read to its end: aiohttp closes with 1009, and no
goodbye is said. Below that it is read, and refused by ``message_too_large``."""

P = ParamSpec("P")

_encode: Final = msgspec.json.Encoder().encode


def routes(hub: SignalingHub) -> list[web.RouteDef]:
    async def handle_join(request: web.Request) -> web.StreamResponse:
        return await join(hub, request)

    return [web.get("/v1/rooms/{room}/join", handle_join)]


async def join(hub: SignalingHub, request: web.Request) -> web.WebSocketResponse:
    """Talk with one participant until its socket is closed.

    Raises PeerError("bad_request") for what is no WebSocket handshake.
    """
    config = hub.config
    socket = web.WebSocketResponse(
        timeout=config.close_timeout_s,
        heartbeat=config.ping_interval_s,
        protocols=(SUBPROTOCOL,),
        compress=False,  # one window per socket costs more than SDP saves
        max_msg_size=HARD_LIMIT * config.max_message_bytes,
    )
    if not socket.can_prepare(request).ok:
        raise PeerError("bad_request", "This is a WebSocket endpoint.")
    await socket.prepare(request)
    hub.counters["sockets_opened"] += 1
    refusal: TertuliaError | None = None
    room, token = RoomName(""), None
    try:
        room, token = _credentials(hub, request)
        if socket.ws_protocol != SUBPROTOCOL:
            raise PeerError("bad_request", f"The subprotocol is {SUBPROTOCOL}.")
    except TertuliaError as error:
        refusal = error
    with hub.conversation():
        await Conversation(hub, socket, request, room, token).run(refusal)
    return socket


def _credentials(hub: SignalingHub, request: web.Request) -> tuple[RoomName, Token]:
    room = check_room_name(request.match_info["room"])
    text = find_token(request.headers.get(hdrs.AUTHORIZATION), request.query.get("access_token"))
    token = verify(text, hub.config.api_keys, now=time.time())
    require_join(token, room)
    return room, token


class Conversation:
    """Carries out what the session says. ``run`` is called once."""

    def __init__(
        self,
        hub: SignalingHub,
        socket: web.WebSocketResponse,
        request: web.Request,
        room: RoomName,
        token: Token | None,
    ) -> None:
        self._hub: Final = hub
        self._config: Final = hub.config
        self._socket: Final = socket
        self._request: Final = request
        self._room: Final = room
        self._token: Final = token
        sources = () if token is None else token.grants.canPublishSources
        self._session: Final = Session(room, hub.config, sources)
        self._loop: Final = asyncio.get_running_loop()
        self._out: Final[deque[Send | Close]] = deque()
        self._something: Final = asyncio.Event()
        self._lanes: Final[dict[Lane, asyncio.Queue[Ask]]] = {}
        self._tasks: Final[list[asyncio.Task[None]]] = []
        self._sid: ParticipantSid | None = None
        """While a leave of ours is due."""
        self._owner = NodeId("")
        self._closing = False
        self._cutting: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[None] | None = None

    async def run(self, refusal: TertuliaError | None) -> None:
        """Join, unless refused already, and talk until the socket is closed."""
        self._reader = asyncio.create_task(self._read(), name="socket reader")
        writer = asyncio.create_task(self._write(), name="socket writer")
        try:
            if refusal is None:
                self._start(self._join(), "socket join")
            else:
                self._act(self._session.fail, refusal)
            await asyncio.wait([self._reader])
        finally:
            self._depart()
            for task in (self._reader, *self._tasks):
                task.cancel()
            if self._closing:
                await asyncio.wait([writer], timeout=2 * self._config.close_timeout_s)
            writer.cancel()
            await asyncio.gather(self._reader, writer, *self._tasks, return_exceptions=True)
            if self._cutting is not None:
                self._cutting.cancel()

    def _start(self, coroutine: Coroutine[None, None, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(coroutine, name=name))

    # --- in ---------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.TEXT:
                self._hub.counters["messages_received"] += 1
                self._act(self._session.receive_text, message.data, self._loop.time())
            elif message.type is WSMsgType.BINARY:
                self._hub.counters["messages_received"] += 1
                self._act(self._session.receive_binary, self._loop.time())
            else:
                return  # closed by either side, or broken

    async def _join(self) -> None:
        token = self._token
        assert token is not None, "who was not refused has a token"
        assert token.identity is not None, "the right to join needs an identity"
        try:
            await self._hub.admit(
                self._room,
                identity=Identity(token.identity),
                display_name=token.shown_name(),
                kind="standard",
                permissions=token.grants.permissions(),
                metadata=token.metadata,
                hear=self._hear,
            )
        except TertuliaError as error:
            self._act(self._session.fail, error)
        except Exception:
            self._act(self._session.fail, internal("a join"))

    def _hear(self, heard: Heard) -> None:
        if isinstance(heard, JoinResult):
            self._sid, self._owner = heard.participant.sid, heard.owner
            if self._session.state is State.OVER:
                self._depart()  # it went while it was being let in
        elif isinstance(heard, Over):
            self._sid = None  # on the ledger already, or the hub sees to it
        self._act(self._session.hear, heard)

    def _depart(self) -> None:
        """Have the leave recorded, once."""
        sid, self._sid = self._sid, None
        if sid is not None:
            self._hub.depart(self._room, sid, "left")

    # --- what the session says --------------------------------------------------------------------

    def _act(self, decide: Callable[P, list[Action]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Carry out what *decide* returns; a fault of ours ends this conversation alone."""
        try:
            actions = decide(*args, **kwargs)
        except Exception:
            actions = self._session.fail(internal("a participant's session"))
        for action in actions:
            if isinstance(action, Ask):
                self._ask(action)
            else:
                self._put(action)

    def _put(self, action: Send | Close) -> None:
        if self._closing:
            return
        if isinstance(action, Close):
            self._closing = True
            self._depart()
            # A peer that neither reads nor closes keeps nothing: the socket is cut.
            self._cutting = self._loop.call_later(2 * self._config.close_timeout_s, self._cut)
        elif isinstance(action.message, Goodbye | ErrorMessage):
            kind = "goodbyes" if isinstance(action.message, Goodbye) else "errors"
            self._hub.counters[f"{kind}_{action.message.code}"] += 1
        overflow = len(self._out) >= self._config.send_queue_messages
        if overflow and self._session.state is not State.OVER:
            # What waits is of no use to who will join anew.
            self._out.clear()
            self._act(self._session.fail, InfrastructureError("slow_consumer"))
            return
        self._out.append(action)
        self._something.set()

    def _ask(self, ask: Ask) -> None:
        lane = self._lanes.get(ask.lane)
        if lane is None:
            lane = self._lanes[ask.lane] = asyncio.Queue(self._config.request_queue)
            self._start(self._run_lane(lane), f"socket {ask.lane}")
        try:
            lane.put_nowait(ask)
        except asyncio.QueueFull:
            error = PeerError("rate_limited", "Too many requests wait for the media node.")
            self._act(self._session.refused, ask, error, self._loop.time())

    async def _run_lane(self, lane: "asyncio.Queue[Ask]") -> None:
        while True:
            ask = await lane.get()
            try:
                reply = await self._hub.center.request(self._owner, ask.request)
            except TertuliaError as error:
                self._act(self._session.refused, ask, error, self._loop.time())
            except Exception:
                # Without this the lane would be dead, and the participant wait for ever.
                self._act(self._session.fail, internal("a participant's request"))
            else:
                self._act(self._session.answered, ask, reply)

    # --- out --------------------------------------------------------------------------------------

    async def _write(self) -> None:
        try:
            while True:
                await self._something.wait()
                self._something.clear()
                while self._out:
                    action = self._out.popleft()
                    if isinstance(action, Close):
                        await self._close(action.close_code)
                        return
                    await self._socket.send_str(_encode(action.message).decode())
                    self._hub.counters["messages_sent"] += 1
        except (ConnectionError, RuntimeError, WSMessageTypeError) as error:
            # The socket is closed under us; the reader sees that too.
            _log.debug("a participant's socket is gone: %s", type(error).__name__)

    async def _close(self, code: int) -> None:
        """Close, and wait for the peer's close. A server that hangs up without it (as aiohttp does
        while somebody reads) may reset the connection, and then the goodbye is lost."""
        assert self._reader is not None
        self._reader.cancel()
        await asyncio.wait([self._reader])
        await self._socket.close(code=code)

    def _cut(self) -> None:
        transport = self._request.transport
        if transport is not None:
            transport.abort()
