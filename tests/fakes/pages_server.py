"""A small server under the pages: it speaks the outer doors' protocols as the tests tell it to.

The pages are the real ones, media goes to real aiortc peers; only what rooms would decide is
scripted. Everything is served with the content security policy that the real server sends at its
strictest, so that a page that needs more fails here.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack

from tests.fakes.live_playlist import LivePlaylist

Message = dict[str, Any]

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "web" / "pages"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
WAIT_S = 15.0
TIME = "2026-01-02T03:04:05Z"


def participant(identity: str, name: str, *tracks: Message, **other: Any) -> Message:
    """A ParticipantInfo; its sid follows from *identity*."""
    return {
        "sid": f"PA_{identity}",
        "identity": identity,
        "name": name,
        "joined_at": TIME,
        "kind": "standard",
        "permissions": {"can_publish": True, "can_subscribe": True, "hidden": False},
        "metadata": "",
        "tracks": list(tracks),
        **other,
    }


def track(sid: str, source: str, *, muted: bool = False) -> Message:
    """A TrackInfo."""
    audio = source in ("microphone", "screen_share_audio")
    return {
        "sid": sid,
        "kind": "audio" if audio else "video",
        "source": source,
        "mime": "audio/opus" if audio else "video/VP8",
        "muted": muted,
        "name": "",
    }


def room_info(name: str, people: int = 0, broadcast: Message | None = None) -> Message:
    """A RoomInfo."""
    settings = {
        "max_participants": 0,
        "empty_timeout_s": 300,
        "departure_timeout_s": 20,
        "metadata": "",
    }
    return {
        "sid": "RM_one",
        "name": name,
        "created_at": TIME,
        "settings": settings,
        "num_participants": people,
        "node": "media-0.abc",
        "broadcast": broadcast,
    }


class Stay:
    """One WebSocket of one browser."""

    def __init__(self, socket: web.WebSocketResponse, number: int, token: str) -> None:
        self.socket = socket
        self.number = number
        self.token = token
        self.sid = f"PA_me{number}"
        self.heard: list[Message] = []
        self.tracks: dict[str, Message] = {}
        """What the browser published, by source."""
        self.frames = 0
        """Video frames of the browser's that were decoded here."""
        self._changed = asyncio.Condition()
        self._publisher = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._subscriber = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._tasks: list[asyncio.Task[None]] = []
        self._publisher.on("track", self._count_frames)

    async def say(self, message: Message) -> None:
        await self.socket.send_str(json.dumps(message))

    async def goodbye(self, code: str, reconnect: str, close_code: int) -> None:
        detail = f"detail of {code}"
        await self.say({"type": "goodbye", "code": code, "detail": detail, "reconnect": reconnect})
        await self.socket.close(code=close_code)

    async def wait(self, what: str, check: Callable[[], bool]) -> None:
        """Wait until *check* holds; it is asked after each message and frame."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(check), WAIT_S)
            except TimeoutError:
                raise AssertionError(f"waited in vain for {what}; heard {self.types}") from None

    async def wait_for(self, kind: str, **fields: Any) -> Message:
        """The first message of type *kind* with *fields*."""

        def find() -> list[Message]:
            wanted = {"type": kind, **fields}
            return [m for m in self.heard if wanted.items() <= m.items()]

        await self.wait(f"{kind} {fields}", lambda: bool(find()))
        return find()[0]

    @property
    def types(self) -> list[str]:
        return [m["type"] for m in self.heard]

    async def offer(self, sender: MediaStreamTrack, sid: str) -> None:
        """Send *sender* to the browser as the track *sid*."""
        self._subscriber.addTrack(sender)
        await self._subscriber.setLocalDescription(await self._subscriber.createOffer())
        mids = {self._subscriber.getTransceivers()[-1].mid: sid}
        await self.say(
            {
                "type": "subscriber_offer",
                "offer_id": 1,
                "sdp": self._subscriber.localDescription.sdp,
                "tracks": mids,
            }
        )
        answer = await self.wait_for("subscriber_answer", offer_id=1)
        await self._subscriber.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))

    async def run(self, handle: Callable[["Stay", Message], Any]) -> None:
        async for frame in self.socket:
            if frame.type is not WSMsgType.TEXT:
                break
            message = json.loads(frame.data)
            self.heard.append(message)
            await handle(self, message)
            await self._notify()
        await self.close()

    async def answer(self, message: Message) -> None:
        """Answer a publisher_offer with a real peer, and tell of the tracks."""
        await self._publisher.setRemoteDescription(RTCSessionDescription(message["sdp"], "offer"))
        await self._publisher.setLocalDescription(await self._publisher.createAnswer())
        sids = []
        live = {announced["source"] for announced in message["tracks"]}
        for source in [s for s in self.tracks if s not in live]:
            gone = self.tracks.pop(source)["sid"]
            await self.say({"type": "track_unpublished", "participant": self.sid, "track": gone})
        for announced in message["tracks"]:
            source, sid = announced["source"], f"TR_{announced['mid']}_{announced['source']}"
            sids.append({"mid": announced["mid"], "sid": sid})
            if source in self.tracks:
                continue
            info = track(sid, source, muted=announced["muted"])
            self.tracks[source] = info
            await self.say({"type": "track_published", "participant": self.sid, "track": info})
        await self.say(
            {
                "type": "publisher_answer",
                "id": message["id"],
                "sdp": self._publisher.localDescription.sdp,
                "tracks": sids,
            }
        )

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._publisher.close()
        await self._subscriber.close()

    def _count_frames(self, received: MediaStreamTrack) -> None:
        if received.kind == "video":
            self._tasks.append(asyncio.create_task(self._receive(received)))

    async def _receive(self, received: MediaStreamTrack) -> None:
        while True:
            await received.recv()
            self.frames += 1
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class PagesServer:
    """What the pages talk to. Tests set the attributes before, and look at them after."""

    def __init__(self) -> None:
        self.url = ""
        self.port = 0
        self.open_rooms = True
        self.vendor = True
        """Whether hls.js is there."""
        self.people: list[Message] = []
        """Who is in the room when somebody joins."""
        self.permissions = {"can_publish": True, "can_subscribe": True, "hidden": False}
        self.refuse_join: tuple[str, str, int] | None = None
        """(code, reconnect, close code) of the goodbye to the next one who joins."""
        self.keep_muted = False
        """Whether an operator's mute outweighs the participant's unmute."""
        self.answers_pings = True
        self.live: Message = {"room": "tea", "state": "none", "sid": None, "url": ""}
        self.live_status = 200
        self.rooms: dict[str, Message] = {}
        self.room_people: dict[str, list[Message]] = {}
        self.nodes: list[Message] = []
        self.events: list[Message] = []
        self.admin_token = "admin"
        self.calls: list[tuple[str, str, Any]] = []
        """(method, path, body) of the admin calls that change something."""
        self.playlist: LivePlaylist | None = None
        """What /live/ serves."""
        self.media_requests: list[str] = []
        self.media_status = 200
        self.stays: list[Stay] = []
        self.tokens_minted = 0
        self._joined = asyncio.Condition()
        self._feeds: set[tuple[str, asyncio.Queue[Message | None]]] = set()

    async def stay(self, number: int = 0) -> Stay:
        """The WebSocket number *number* (from 0), once it is open."""
        async with self._joined:
            try:
                await asyncio.wait_for(
                    self._joined.wait_for(lambda: len(self.stays) > number), WAIT_S
                )
            except TimeoutError:
                raise AssertionError(f"waited in vain for join {number}") from None
        return self.stays[number]

    async def set_live(self, state: str, sid: str | None = None, url: str = "") -> None:
        self.live = {"room": "tea", "state": state, "sid": sid, "url": url}
        self._feed("broadcast", self.live)

    async def append(self, kind: str, data: Message) -> None:
        """An event on the ledger."""
        number = len(self.events) + 1
        event = {
            "id": f"{number}-0",
            "prev": f"{number - 1}-0",
            "type": kind,
            "ts": TIME,
            "src": "media-0.abc",
            "data": data,
        }
        self.events.append(event)
        self._feed("event", event)

    def _feed(self, channel: str, message: Message) -> None:
        for name, queue in self._feeds:
            if name == channel:
                queue.put_nowait(message)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["PagesServer"]:
        app = web.Application(middlewares=[_strict])
        app.add_routes(
            [
                web.get("/", _page("start.html")),
                web.get("/r/{room}", _page("room.html")),
                web.get("/watch/{room}", _page("watch.html")),
                web.get("/admin", _page("admin.html")),
                web.get("/assets/vendor/{name}", self._vendor),
                web.get("/assets/{path:.+}", _asset),
                web.post("/v1/tokens", self._tokens),
                web.get("/v1/rooms/{room}/join", self._join),
                web.get("/v1/rooms/{room}/live", self._live),
                web.get("/live/{path:.+}", self._media),
                web.get("/v1/rooms", self._list),
                web.get("/v1/nodes", self._list_nodes),
                web.get("/v1/rooms/{room}/events", self._events),
                web.get("/v1/rooms/{room}/participants", self._list_people),
                web.get("/v1/rooms/{room}", self._room),
                web.route("*", "/v1/{path:.+}", self._change),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        try:
            yield self
        finally:
            for _, queue in self._feeds:
                queue.put_nowait(None)
            for stay in self.stays:
                await stay.socket.close()
                await stay.close()
            await runner.cleanup()

    async def _vendor(self, request: web.Request) -> web.StreamResponse:
        files = json.loads((PAGES / "vendor.json").read_text())
        if not self.vendor or request.match_info["name"] not in files:
            raise web.HTTPNotFound
        path = ROOT / files[request.match_info["name"]]
        return web.FileResponse(path, headers={"Content-Type": "text/javascript"})

    async def _tokens(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not self.open_rooms:
            return problem(403, "permission_denied", "Rooms are not open.")
        self.tokens_minted += 1
        return web.json_response({"token": f"guest-{self.tokens_minted}", **body})

    async def _join(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=["tertulia.v1"])
        await socket.prepare(request)
        stay = Stay(socket, len(self.stays), request.query["access_token"])
        refusal, self.refuse_join = self.refuse_join, None
        if refusal is None:
            room = room_info(request.match_info["room"], len(self.people) + 1)
            me = participant(f"me{stay.number}", "Ada", permissions=self.permissions)
            await stay.say(
                {
                    "type": "joined",
                    "room": room,
                    "participant": me,
                    "participants": self.people,
                    "ice_servers": [],
                    "position": "1-0",
                }
            )
        async with self._joined:
            self.stays.append(stay)
            self._joined.notify_all()
        if refusal is not None:
            await stay.goodbye(*refusal)
        await stay.run(self._answer)
        return socket

    async def _answer(self, stay: Stay, message: Message) -> None:
        if message["type"] == "publisher_offer":
            await stay.answer(message)
        elif message["type"] == "mute":
            await stay.say(self._muted(message))
        elif message["type"] == "ping" and self.answers_pings:
            await stay.say({"type": "pong", "id": message["id"]})
        elif message["type"] == "leave":
            await stay.socket.close(code=1000)

    def _muted(self, message: Message) -> Message:
        if self.keep_muted and not message["muted"]:
            detail = "An operator muted this track."
            refusal = {"type": "error", "code": "permission_denied", "detail": detail}
            return {**refusal, "id": message["id"]}
        return {**message, "type": "muted"}

    async def _live(self, request: web.Request) -> web.StreamResponse:
        if self.live_status != 200:
            return problem(self.live_status, "token_missing", "A token is needed.")
        return await self._stream(request, "broadcast", [self.live], "broadcast")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self._refuse(request)) is not None:
            return refusal
        if "event-stream" not in request.headers["Accept"]:
            after = int(request.query["after"].split("-")[0])
            events = self.events[after : after + int(request.query["limit"])]
            last = events[-1]["id"] if events else request.query["after"]
            return web.json_response({"events": events, "next_after": last})
        after = int(request.query["after"].split("-")[0])
        return await self._stream(request, "event", self.events[after:], None)

    async def _stream(
        self, request: web.Request, channel: str, first: list[Message], name: str | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        queue: asyncio.Queue[Message | None] = asyncio.Queue()
        for message in first:
            queue.put_nowait(message)
        entry = (channel, queue)
        self._feeds.add(entry)
        try:
            while (told := await queue.get()) is not None:
                kind = name or told["type"]
                text = f"event: {kind}\ndata: {json.dumps(told)}\n\n"
                await response.write(text.encode())
        except ConnectionResetError:
            pass
        finally:
            self._feeds.discard(entry)
        return response

    async def _media(self, request: web.Request) -> web.StreamResponse:
        self.media_requests.append(request.path_qs)
        if self.playlist is None or self.media_status != 200:
            return problem(self.media_status, "internal", "Out of order.")
        name = request.match_info["path"].rsplit("/", 1)[-1]
        if name.endswith(".m3u8"):
            text = self.playlist.text()
            return web.Response(text=text, content_type="application/vnd.apple.mpegurl")
        return web.FileResponse(self.playlist.directory / name)

    def _refuse(self, request: web.Request) -> web.Response | None:
        header = request.headers.get("Authorization", "")
        given = header.removeprefix("Bearer ") or request.query.get("access_token", "")
        if given == self.admin_token:
            return None
        return problem(401, "token_invalid", "The token is not valid.")

    async def _list(self, request: web.Request) -> web.Response:
        answer = {"rooms": list(self.rooms.values()), "next_cursor": None}
        return self._refuse(request) or web.json_response(answer)

    async def _list_nodes(self, request: web.Request) -> web.Response:
        answer = {"nodes": self.nodes, "next_cursor": None}
        return self._refuse(request) or web.json_response(answer)

    async def _room(self, request: web.Request) -> web.Response:
        room = self.rooms.get(request.match_info["room"])
        if room is None:
            return problem(404, "room_not_found", "There is no such room.")
        return self._refuse(request) or web.json_response(room)

    async def _list_people(self, request: web.Request) -> web.Response:
        people = self.room_people.get(request.match_info["room"])
        if people is None:
            return problem(404, "room_not_found", "There is no such room.")
        answer = {"participants": people, "next_cursor": None}
        return self._refuse(request) or web.json_response(answer)

    async def _change(self, request: web.Request) -> web.Response:
        if (refusal := self._refuse(request)) is not None:
            return refusal
        body: Any = await request.json() if request.can_read_body else None
        path = request.path.removeprefix("/v1")
        self.calls.append((request.method, path, body))
        if (request.method, path) == ("POST", "/rooms"):
            self.rooms[body["name"]] = room_info(body["name"])
            self.room_people[body["name"]] = []
            return web.json_response(self.rooms[body["name"]], status=201)
        return web.json_response({})


@web.middleware
async def _strict(request: web.Request, handler: Any) -> web.StreamResponse:
    response: web.StreamResponse = await handler(request)
    if not response.prepared:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _page(name: str) -> Callable[[web.Request], Any]:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(PAGES / name)

    return handle


async def _asset(request: web.Request) -> web.StreamResponse:
    path = (PAGES / request.match_info["path"]).resolve()
    if not path.is_relative_to(PAGES) or not path.is_file():
        raise web.HTTPNotFound
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    return web.FileResponse(path, headers={"Content-Type": kinds[path.suffix]})


def problem(status: int, code: str, detail: str) -> web.Response:
    """An RFC 9457 answer."""
    body = {"type": "about:blank", "title": detail, "status": status, "code": code}
    return web.json_response(
        {**body, "detail": detail}, status=status, content_type="application/problem+json"
    )
