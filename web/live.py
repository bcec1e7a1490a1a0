"""Driver: the broadcasts that this process serves, and the HTTP handlers of ``/live``.

A source is opened at the first request for its room and closed when nobody has asked for a while.
The rules of what to answer stand in live_reload.py; here are clocks, sockets and files.
"""

import asyncio
import gzip
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, cast

from aiohttp import web

from coordinator.errors import InfrastructureError, PeerError
from coordinator.ids import BroadcastSid, RoomName
from coordinator.requests import MetricFamily
from coordinator.rooms import Rooms
from signaling.config import SignalingConfig
from web.access import check_watch, room_of
from web.live_announcement import FILE_NAME, QUERY_MARKER, Change
from web.live_files import FileCache
from web.live_reload import (
    BLOCK_TARGETS,
    Directives,
    Verdict,
    advance_part_limit,
    carried_query,
    judge,
    parse_directives,
)
from web.live_source import LiveSource
from web.tally import Tally

PLAYLIST_TYPE: Final = "application/vnd.apple.mpegurl"
OPEN_TIMEOUT_S: Final = 2.0
"""A worker answers a new listener at once; this is for a machine that is short of breath."""
REOPEN_S: Final = 1.0
"""How often players of a worker that broke off make us look for its successor."""
IDLE_S: Final = 60.0
"""A source nobody asked for this long is closed. Players ask every target duration."""
SWEEP_S: Final = 10.0
MAX_BLOCKED: Final = 4096
"""Requests that wait, in one process: a viewer has two (picture and sound), some 2 KiB each."""
MAX_RENDERED: Final = 512
"""Compressed texts kept, some 10 KiB each with what they were made of: one per change and carried
query, and viewers' tokens differ."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Live:
    """All broadcasts that are watched through this process."""

    def __init__(self, rooms: Rooms, config: SignalingConfig) -> None:
        self._rooms = rooms
        self._config = config
        self._sources: dict[BroadcastSid, LiveSource] = {}
        self._opening: dict[RoomName, asyncio.Task[LiveSource]] = {}
        self._files = FileCache()
        self._rendered: OrderedDict[tuple[Change, bool, str], bytes] = OrderedDict()
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False
        self._blocked = 0
        self._answers = Tally(
            "tertulia_live_answers_total", "Playlists and files answered, by kind and outcome."
        )

    def start(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep(), name="live sweeper")

    async def close(self) -> None:
        """Close all sources; whoever waits is answered, whoever comes is sent elsewhere."""
        self._closed = True
        tasks = [task for task in (self._sweeper, *self._opening.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(source.close() for source in self._sources.values()))
        self._sources.clear()

    def metrics(self) -> tuple[MetricFamily, ...]:
        gauges = (
            ("tertulia_live_sources", "Broadcasts listened to.", len(self._sources)),
            ("tertulia_live_blocked", "Requests that wait for a part.", self._blocked),
            ("tertulia_live_cached_bytes", "Bytes of files kept.", self._files.held_bytes),
        )
        families = [self._answers.family()]
        for name, text, value in gauges:
            tally = Tally(name, text, kind="gauge")
            tally.add(value)
            families.append(tally.family())
        return tuple(families)

    # ------------------------------------------------------------------ sources

    async def source(self, room: RoomName, sid: BroadcastSid | None) -> LiveSource:
        """The source of *room*'s broadcast; of the one named *sid*, even if it has ended.

        Raises PeerError("room_not_found", "broadcast_not_found"), or InfrastructureError(
        "broadcast_stalled") when the worker's socket cannot be reached from here, and
        "server_draining" after ``close``.
        """
        if self._closed:
            raise InfrastructureError("server_draining")
        known = self._sources.get(sid) if sid is not None else self._current(room)
        if known is not None and known.room != room:
            known = None
        # Without a sid the room is asked each time: it may have another broadcast by now.
        if known is None or sid is None or self._may_be_again(known):
            found = await self._ask(room, known)
            # One that broke off and has a successor under another name keeps its last files.
            known = found if known is None or sid in (None, found.sid) else known
        if sid is not None and known.sid != sid:
            raise PeerError("broadcast_not_found")
        known.last_used_s = time.monotonic()
        return known

    def _current(self, room: RoomName) -> LiveSource | None:
        """The source of *room* that still hears its worker."""
        for source in self._sources.values():
            if source.room == room and not source.gone:
                return source
        return None

    def _may_be_again(self, source: LiveSource) -> bool:
        """Whether it is time to look if a worker that broke off is there again."""
        if not source.gone or source.heard.ended:
            return False
        return time.monotonic() - source.asked_s >= REOPEN_S

    async def _ask(self, room: RoomName, known: LiveSource | None) -> LiveSource:
        """Open the room's broadcast. What is *known* serves on while that does not work: it has
        the files, and broadcasts go on while Redis is away."""
        if known is not None:
            known.asked_s = time.monotonic()
        task = self._opening.get(room)
        if task is None:
            # Many viewers begin at the same moment: one of them asks for all.
            task = asyncio.create_task(self._open(room), name=f"open live {room}")
            self._opening[room] = task
            task.add_done_callback(lambda _: self._opening.pop(room, None))
        try:
            return await asyncio.shield(task)
        except InfrastructureError:
            if known is None:
                raise
            return known
        except PeerError:
            # Not live any more; but whoever names the broadcast gets what there was.
            if known is None or not known.gone:
                raise
            return known

    async def _open(self, room: RoomName) -> LiveSource:
        snapshot = await self._rooms.snapshot(room)
        broadcast, directory = snapshot.room.broadcast, snapshot.broadcast_dir
        if broadcast is None or not directory:
            raise PeerError("broadcast_not_found", "The broadcast is not live.")
        known = self._sources.get(broadcast.sid)
        if (
            known is not None
            and known.directory == Path(directory)
            and (known.heard.ended or not known.gone)
        ):
            return known
        source = LiveSource(room, broadcast.sid, Path(directory))
        if not await source.open(OPEN_TIMEOUT_S):
            await source.close()
            raise InfrastructureError("broadcast_stalled", "The broadcast's worker is away.")
        if known is not None:
            await self._drop(known)
        source.last_used_s = time.monotonic()
        self._sources[broadcast.sid] = source
        return source

    async def _drop(self, source: LiveSource) -> None:
        self._sources.pop(source.sid, None)
        self._files.forget(source.directory)
        await source.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for source in list(self._sources.values()):
                if now - source.last_used_s > IDLE_S:
                    await self._drop(source)

    # ------------------------------------------------------------------ handlers

    async def multivariant(self, request: web.Request) -> web.StreamResponse:
        """``/live/{room}/index.m3u8``"""
        room = room_of(request)
        check_watch(request, self._config, room)
        source = await self.source(room, None)
        await self._wait_for_first(source, "multivariant")
        return await self._playlist(request, source, "multivariant", Directives())

    async def playlist(self, request: web.Request) -> web.StreamResponse:
        """``/live/{room}/{broadcast}/video.m3u8`` and ``audio.m3u8`` (RFC 8216bis 6.2.5.2)."""
        room = room_of(request)
        check_watch(request, self._config, room)
        rendition = request.match_info["rendition"]
        directives = parse_directives(request.query.items())
        source = await self.source(room, BroadcastSid(request.match_info["broadcast"]))
        await self._wait_for_reload(source, rendition, directives)
        return await self._playlist(request, source, rendition, directives)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """``/live/{room}/{broadcast}/{file}``: an init section, a segment or a part."""
        room = room_of(request)
        check_watch(request, self._config, room)
        name = request.match_info["file"]
        if FILE_NAME.fullmatch(name) is None:
            raise PeerError("not_found")
        source = await self.source(room, BroadcastSid(request.match_info["broadcast"]))
        body = await self._file(source, name)
        kind = "video/mp4" if name.startswith("video") else "audio/mp4"
        self._answers.add(kind="file", outcome="ok")
        # A file never changes (ANNOUNCE.md). Without open rooms a shared cache must not keep it:
        # it would answer those who have no token.
        scope = "public" if self._config.open_rooms else "private"
        return web.Response(
            body=body,
            content_type=kind,
            headers={"Cache-Control": f"{scope}, max-age=3600, immutable"},
        )

    async def _file(self, source: LiveSource, name: str) -> bytes:
        path = source.directory / name
        try:
            return await self._files.read(path)
        except FileNotFoundError:
            if not source.heard.is_hinted(name):
                raise PeerError("not_found", "There is no such part.") from None
        # 6.2.6: the hinted part is answered when it is there.
        rendition = name.partition("-")[0]
        await self._wait(source, rendition, lambda: not source.heard.is_hinted(name))
        try:
            return await self._files.read(path)
        except FileNotFoundError:
            raise PeerError("not_found", "The part never came.") from None

    # ------------------------------------------------------------------ waiting

    async def _wait_for_first(self, source: LiveSource, rendition: str) -> None:
        await self._wait(source, rendition, lambda: rendition in source.heard.changes)

    async def _wait_for_reload(
        self, source: LiveSource, rendition: str, directives: Directives
    ) -> None:
        part_limit = advance_part_limit(source.heard.part_target_s)

        def answerable() -> bool:
            verdict = judge(source.heard.position(rendition), directives, part_limit)
            if verdict is Verdict.TOO_DISTANT:
                self._answers.add(kind="playlist", outcome="too_distant")
                raise PeerError("bad_request", "The request is too far ahead.")
            return verdict is Verdict.ANSWER

        await self._wait(source, rendition, answerable)

    async def _wait(self, source: LiveSource, rendition: str, enough: Callable[[], bool]) -> None:
        """Wait until *enough* holds after a change of *rendition*.

        Raises InfrastructureError("broadcast_stalled") after three target durations (6.2.5.2) or
        when the worker is gone, PeerError("rate_limited") when too many wait already.
        """
        if enough():
            return
        if self._blocked >= MAX_BLOCKED:
            self._answers.add(kind="blocked", outcome="refused")
            raise PeerError("rate_limited", "Too many requests wait for the broadcast.")
        deadline_s = time.monotonic() + BLOCK_TARGETS * source.heard.target_duration_s
        self._blocked += 1
        try:
            while not enough():
                left_s = deadline_s - time.monotonic()
                if source.gone or left_s <= 0:
                    self._answers.add(kind="blocked", outcome="stalled")
                    raise InfrastructureError("broadcast_stalled")
                await asyncio.wait({source.changed(rendition)}, timeout=left_s)
        finally:
            self._blocked -= 1

    # ------------------------------------------------------------------ playlists

    async def _playlist(
        self, request: web.Request, source: LiveSource, rendition: str, directives: Directives
    ) -> web.Response:
        change = source.heard.changes[rendition]
        query = carried_query(request.query.items())
        delta = directives.skip and change.delta is not None
        zipped = "gzip" in request.headers.get("Accept-Encoding", "")
        body = self._render(change, delta, query, zipped=zipped)
        response = web.Response(body=body, content_type=PLAYLIST_TYPE)
        if zipped:
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["Cache-Control"] = self._playlist_lifetime(source, directives)
        self._answers.add(kind="playlist", outcome="ok")
        return response

    def _playlist_lifetime(self, source: LiveSource, directives: Directives) -> str:
        # 8216bis B.1: an answer to a blocking request is kept six target durations (its URL names
        # one state of the playlist), any other for half of one.
        if not self._config.open_rooms:
            return "private, no-cache"
        target_s = source.heard.target_duration_s
        return f"max-age={6 * target_s if directives.msn is not None else max(1, target_s // 2)}"

    def _render(self, change: Change, delta: bool, query: str, *, zipped: bool) -> bytes:
        """The text with the carried query; compressed once for all who ask for the same."""
        text = cast(str, change.delta) if delta else change.playlist
        if not zipped:
            return text.replace(QUERY_MARKER, query).encode()
        key = (change, delta, query)
        body = self._rendered.get(key)
        if body is None:
            body = gzip.compress(text.replace(QUERY_MARKER, query).encode(), 5, mtime=0)
            self._rendered[key] = body
            while len(self._rendered) > MAX_RENDERED:
                self._rendered.popitem(last=False)
        return body


def _for_any_origin(handler: Handler) -> Handler:
    """Let players of other sites read the answer, errors included (they say what to do)."""

    async def wrapped(request: web.Request) -> web.StreamResponse:
        # The problem middleware makes errors into answers further out, where the header is set
        # by the path's prefix (see ``allow_any_origin``).
        response = await handler(request)
        allow_any_origin(response)
        return response

    return wrapped


def allow_any_origin(response: web.StreamResponse) -> None:
    """Set the CORS header of ``/live``: no cookie is ever read there, so any origin may."""
    response.headers["Access-Control-Allow-Origin"] = "*"


async def _nothing(request: web.Request) -> web.StreamResponse:
    # Without this row the preflight's would make it 405.
    raise PeerError("not_found")


async def _preflight(request: web.Request) -> web.StreamResponse:
    response = web.Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = "GET, HEAD, OPTIONS"
    response.headers["Access-Control-Allow-Headers"] = "Authorization, Range"
    response.headers["Access-Control-Max-Age"] = "86400"
    allow_any_origin(response)
    return response


def live_routes(live: Live) -> list[web.AbstractRouteDef]:
    """The routes of ``/live``. ``allow_any_origin`` belongs on their error answers too."""
    playlist = r"/live/{room}/{broadcast:BC_\w+}/{rendition:video|audio}.m3u8"
    return [
        web.get("/live/{room}/index.m3u8", _for_any_origin(live.multivariant)),
        web.get(playlist, _for_any_origin(live.playlist)),
        web.get(r"/live/{room}/{broadcast:BC_\w+}/{file}", _for_any_origin(live.file)),
        web.get("/live/{rest:.*}", _for_any_origin(_nothing)),
        web.options("/live/{rest:.*}", _preflight),
    ]
