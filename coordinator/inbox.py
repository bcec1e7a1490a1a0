"""Requests and notices between processes: at most once, with a deadline.

A process's inbox is a channel. Whoever asks learns from PUBLISH at once whether anybody listens;
nothing is stored and nothing is repeated.
"""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from coordinator import keys
from coordinator.calls import Calls
from coordinator.config import CenterConfig
from coordinator.envelope import (
    MAX_REQUEST_BYTES,
    VERSION,
    Envelope,
    data_of,
    decode,
    encode,
    reply_in,
    request_in,
    type_of,
    utc_now,
)
from coordinator.errors import CODES, InfrastructureError, PeerError, TertuliaError
from coordinator.ids import NodeId, RoomName
from coordinator.link import Channel, Link
from coordinator.requests import REPLY, Ack, Reply, Request

_log: Final = logging.getLogger(__name__)

Handler = Callable[[Any], Awaitable[Reply | None]]

REPLY_TYPE: Final = "reply"
ERROR_TYPE: Final = "reply.error"
_MAX_PENDING: Final = 10_000
"""Requests of ours that wait for a reply."""
_MAX_SERVED: Final = 512
"""Requests of others in flight here."""


class ErrorData(Struct, frozen=True, kw_only=True):
    """``data`` of a ``reply.error``."""

    kind: Literal["peer", "infrastructure"]
    code: str
    detail: str
    retry: bool = False


_errors: Final = msgspec.json.Decoder(ErrorData)


def error_data(error: Exception) -> ErrorData:
    """How *error* travels; what is not meant for others becomes ``internal``."""
    if isinstance(error, PeerError):
        return ErrorData(kind="peer", code=error.code, detail=error.detail)
    if isinstance(error, InfrastructureError):
        return ErrorData(
            kind="infrastructure", code=error.code, detail=error.detail, retry=error.retry
        )
    return ErrorData(kind="infrastructure", code="internal", detail=CODES["internal"].title)


def error_from(data: ErrorData) -> TertuliaError:
    """The error that *data* carried. A code that we do not know becomes ``internal``."""
    code = data.code if data.code in CODES else "internal"
    if data.kind == "peer":
        return PeerError(code, data.detail)
    return InfrastructureError(code, data.detail, retry=data.retry)


class _Pending:
    __slots__ = ("future", "kind")

    def __init__(self, kind: type[Reply], future: "asyncio.Future[Reply]") -> None:
        self.kind = kind
        self.future = future


class Inbox:
    """Asks others and answers them, under one node id."""

    def __init__(self, config: CenterConfig, link: Link, calls: Calls, node_id: NodeId) -> None:
        self._config: Final = config
        self._link: Final = link
        self._calls: Final = calls
        self.node_id = node_id
        self.confirmed: Final = asyncio.Event()
        self.counters: Final[Counter[str]] = Counter()
        self._handlers: dict[type[Request], Handler] = {}
        self._pending: Final[dict[str, _Pending]] = {}
        self._serving: Final[set[asyncio.Task[None]]] = set()

    def start(self) -> None:
        self._link.add(keys.inbox(self.node_id), Channel(self._message, self.confirmed.set))

    def reincarnate(self, node_id: NodeId) -> None:
        """Go on under another id; who waits for a reply to the old one gets an error."""
        self._link.discard(keys.inbox(self.node_id))
        self.confirmed.clear()
        self.node_id = node_id
        for pending in self._pending.values():
            if not pending.future.done():
                pending.future.set_exception(
                    InfrastructureError("center_unavailable", "This process begins anew.")
                )
        self.start()

    async def close(self) -> None:
        self._link.discard(keys.inbox(self.node_id))
        serving = tuple(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def serve(self, handlers: Mapping[type[Request], Handler]) -> None:
        self._handlers.update(handlers)

    def _wrap(self, type: str, data: bytes, room: RoomName, **members: Any) -> bytes:
        envelope = Envelope(
            v=VERSION,
            id=secrets.token_hex(12),
            type=type,
            src=self.node_id,
            ts=utc_now(),
            room=room,
            data=Raw(data),
            **members,
        )
        return encode(envelope, limit=MAX_REQUEST_BYTES)

    async def request(self, to: NodeId, request: Request, timeout_s: float) -> Reply:
        kind = REPLY[type(request)]
        assert kind is not None, f"{type(request).__name__} is a notice"
        if len(self._pending) >= _MAX_PENDING:
            self.counters["requests_refused"] += 1
            raise InfrastructureError("rate_limited", "Too many requests wait for replies.")
        id = secrets.token_hex(12)
        now = utc_now()
        envelope = Envelope(
            v=VERSION,
            id=id,
            type=type_of(request),
            src=self.node_id,
            ts=now,
            room=getattr(request, "room", RoomName("")),
            data=Raw(data_of(request)),
            reply_to=self.node_id,
            exp=now + timedelta(seconds=timeout_s),
        )
        body = encode(envelope, limit=MAX_REQUEST_BYTES)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[id] = _Pending(kind, future)
        self.counters["requests"] += 1
        try:
            async with asyncio.timeout(timeout_s):
                await self._publish(to, body)
                return await future
        except TimeoutError:
            self.counters["requests_timed_out"] += 1
            raise InfrastructureError(
                "deadline_exceeded", f"{type_of(request)}: no reply in {timeout_s:g} s."
            ) from None
        finally:
            del self._pending[id]
            if future.done() and not future.cancelled():
                future.exception()  # seen, even if the caller was cancelled meanwhile

    async def _publish(self, to: NodeId, body: bytes) -> None:
        """Raises InfrastructureError("no_responder") if nobody listens."""
        # Not repeatable: it may have been heard although the connection broke.
        heard = await self._calls.submit(("PUBLISH", keys.inbox(to), body), repeatable=False)
        if heard == 0:
            self.counters["requests_unheard"] += 1
            raise InfrastructureError("no_responder", f"Nobody answers as {to}.")

    async def notify(self, to: NodeId, notice: Request) -> None:
        room = getattr(notice, "room", RoomName(""))
        try:
            await self._publish(to, self._wrap(type_of(notice), data_of(notice), room))
            self.counters["notices"] += 1
        except TertuliaError as error:
            self.counters["notices_lost"] += 1
            _log.debug("notice %s to %s was lost: %s", type_of(notice), to, error)

    def _message(self, body: bytes) -> None:
        try:
            envelope = decode(body)
            if envelope.type in (REPLY_TYPE, ERROR_TYPE):
                self._settle(envelope)
            else:
                self._receive(envelope)
        except PeerError as error:
            self.counters["poison_requests"] += 1
            _log.warning("a malformed message in the inbox was dropped: %s", error.code)

    def _settle(self, envelope: Envelope) -> None:
        pending = self._pending.get(envelope.corr or "")
        if pending is None or pending.future.done():
            self.counters["replies_late"] += 1
            return
        try:
            if envelope.type == REPLY_TYPE:
                pending.future.set_result(reply_in(envelope, pending.kind))
            else:
                pending.future.set_exception(error_from(_errors.decode(envelope.data)))
        except (PeerError, msgspec.DecodeError):
            self.counters["poison_requests"] += 1
            pending.future.set_exception(
                InfrastructureError("internal", "The reply was malformed.", retry=False)
            )

    def _receive(self, envelope: Envelope) -> None:
        if envelope.exp is not None and envelope.exp < utc_now():
            self.counters["requests_expired"] += 1
            return
        if len(self._serving) >= _MAX_SERVED:
            self.counters["requests_overflow"] += 1
            self._refuse(envelope, InfrastructureError("rate_limited"))
            return
        try:
            request = request_in(envelope)
        except PeerError as error:
            self.counters["poison_requests"] += 1
            self._refuse(envelope, error)
            return
        handler = self._handlers.get(type(request)) if request is not None else None
        if handler is None:
            self.counters["requests_unknown"] += 1
            self._refuse(envelope, PeerError("unknown_message", f"No {envelope.type} here."))
            return
        task = asyncio.create_task(
            self._serve(envelope, handler, request), name=f"serve {envelope.type}"
        )
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, envelope: Envelope, handler: Handler, request: Request | None) -> None:
        self.counters["requests_served"] += 1
        try:
            reply = await handler(request)
            if envelope.reply_to is not None:
                await self._answer(envelope, REPLY_TYPE, data_of(reply or Ack()))
        except Exception as error:
            if not isinstance(error, TertuliaError):
                self.counters["handler_faults"] += 1
                _log.exception("the handler of %s failed", envelope.type)
            if envelope.reply_to is not None:
                data = msgspec.json.encode(error_data(error))
                await self._answer(envelope, ERROR_TYPE, data)

    def _refuse(self, envelope: Envelope, error: Exception) -> None:
        """Answer without a task: what is refused for want of room must cost none."""
        if envelope.reply_to is None:
            return
        body = self._wrap(
            ERROR_TYPE, msgspec.json.encode(error_data(error)), envelope.room, corr=envelope.id
        )
        try:
            future = self._calls.submit(
                ("PUBLISH", keys.inbox(NodeId(envelope.reply_to)), body), repeatable=False
            )
        except InfrastructureError:
            self.counters["replies_lost"] += 1
        else:
            future.add_done_callback(self._refused)

    def _refused(self, future: "asyncio.Future[Any]") -> None:
        if future.cancelled() or future.exception() is not None:
            self.counters["replies_lost"] += 1

    async def _answer(self, envelope: Envelope, type: str, data: bytes) -> None:
        assert envelope.reply_to is not None
        try:
            body = self._wrap(type, data, envelope.room, corr=envelope.id)
            await self._publish(NodeId(envelope.reply_to), body)
        except TertuliaError as error:
            self.counters["replies_lost"] += 1
            _log.warning("the reply to %s was lost: %s", envelope.type, error.code)
