"""Live delivery over HTTP, of what a broadcast worker announces on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from coordinator.center import Center
from coordinator.errors import InfrastructureError
from coordinator.ids import BroadcastSid, Identity, RoomName, new_participant_sid
from coordinator.model import Permissions, Snapshot
from coordinator.rooms import Rooms
from signaling.config import SignalingConfig
from signaling.problem import problem_middleware
from tests.fakes.center import MediaNode
from web.live import Live, live_routes

ROOM = RoomName("tea")
Client = TestClient[web.Request, web.Application]


class Worker:
    """The writing side of the announce protocol (media/broadcast/ANNOUNCE.md)."""

    def __init__(self, directory: Path, sid: str) -> None:
        self.directory, self.sid = directory, sid
        self._changes: dict[str, dict[str, Any]] = {}
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        path = self.directory / "announce.sock"
        self._server = await asyncio.start_unix_server(self._accept, path)
        self.announce("multivariant", -1, -1, hint=None)

    async def _accept(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state = {
            "type": "state",
            "v": 1,
            "broadcast": self.sid,
            "room": ROOM,
            "target_duration_s": 1,
            "part_target_s": 0.334,
            "ended": False,
            "renditions": list(self._changes.values()),
        }
        writer.write(json.dumps(state).encode() + b"\n")
        self._writers.append(writer)

    def announce(
        self, rendition: str, msn: int, part: int, *, hint: str | None = "", ended: bool = False
    ) -> None:
        if hint == "":
            hint = f"{rendition}-{msn}.{part + 1}.m4s"
        change = {
            "type": "change",
            "rendition": rendition,
            "msn": msn,
            "part": part,
            "complete_msn": msn - 1,
            "hint": hint,
            "playlist": f'#EXTM3U\n#at {msn}.{part}\n"{rendition}-{msn}.{part}.m4s{{{{query}}}}"\n',
            "delta": f"#EXTM3U\n#delta {msn}.{part}\n",
            "ended": ended,
        }
        self._changes[rendition] = change
        for writer in self._writers:
            writer.write(json.dumps(change).encode() + b"\n")

    def write(self, name: str, data: bytes) -> None:
        (self.directory / name).write_bytes(data)

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()


@pytest.fixture
async def media_node(
    connect: Callable[[str], Awaitable[Center]],
) -> AsyncIterator[MediaNode]:
    node = MediaNode(await connect("media-0"))
    await node.lease.start()
    yield node
    await node.lease.close()


@pytest.fixture
async def worker(rooms: Rooms, media_node: MediaNode, tmp_path: Path) -> AsyncIterator[Worker]:
    """A room with a live broadcast whose worker has announced part 100.2 of the picture."""
    await rooms.join(
        ROOM,
        sid=new_participant_sid(),
        identity=Identity("ana"),
        display_name="Ana",
        kind="standard",
        permissions=Permissions(),
        metadata="",
    )
    requested = await rooms.request_broadcast(ROOM)
    snapshot = await rooms.snapshot(ROOM)
    worker = Worker(tmp_path, requested.sid)
    await worker.start()
    for part in range(3):
        worker.write(f"video-100.{part}.m4s", b"part %d" % part)
    worker.announce("video", 100, 2)
    await rooms.broadcast_live(
        ROOM,
        fence=snapshot.fence,
        sid=requested.sid,
        url=f"/live/{ROOM}/index.m3u8",
        directory=str(tmp_path),
    )
    yield worker
    await worker.stop()


@pytest.fixture
async def open_rooms() -> bool:
    return True


@pytest.fixture
async def client(rooms: Rooms, open_rooms: bool) -> AsyncIterator[Client]:
    config = SignalingConfig(api_keys={"K": "s" * 32}, open_rooms=open_rooms)
    live = Live(rooms, config)
    app = web.Application(middlewares=[problem_middleware])
    app.add_routes(live_routes(live))
    async with TestClient(TestServer(app)) as client:
        live.start()
        yield client
        await live.close()


def url(worker: Worker, rest: str) -> str:
    return f"/live/{ROOM}/{worker.sid}/{rest}"


async def code(answer: ClientResponse) -> str:
    return str((await answer.json(content_type="application/problem+json"))["code"])


async def test_a_room_that_is_not_live_says_so(client: Client, rooms: Rooms) -> None:
    assert (await client.get("/live/nowhere/index.m3u8")).status == 404
    answer = await client.get("/live/nowhere/index.m3u8")
    assert await code(answer) in ("room_not_found", "broadcast_not_found")


async def test_playlists_carry_the_query_to_their_children(client: Client, worker: Worker) -> None:
    answer = await client.get(url(worker, "video.m3u8?access_token=x%22y&_HLS_skip=NO"))
    assert answer.status == 200
    assert answer.content_type == "application/vnd.apple.mpegurl"
    assert '"video-100.2.m4s?access_token=x%22y"' in await answer.text()
    assert "{{query}}" not in await (await client.get(f"/live/{ROOM}/index.m3u8")).text()


async def test_a_blocking_reload_is_answered_by_the_part_it_waits_for(
    client: Client, worker: Worker
) -> None:
    waiting = asyncio.create_task(
        client.get(url(worker, "video.m3u8?_HLS_msn=100&_HLS_part=3&_HLS_skip=YES"))
    )
    done, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not done
    worker.announce("video", 100, 3)
    answer = await asyncio.wait_for(waiting, 5)
    assert await answer.text() == "#EXTM3U\n#delta 100.3\n"


async def test_a_reload_whose_part_never_comes_is_503_after_three_targets(
    client: Client, worker: Worker
) -> None:
    answer = await asyncio.wait_for(
        client.get(url(worker, "video.m3u8?_HLS_msn=100&_HLS_part=3")), 10
    )
    assert (answer.status, await code(answer)) == (503, "broadcast_stalled")


async def test_a_reload_too_far_ahead_is_a_bad_request(client: Client, worker: Worker) -> None:
    for query in ("_HLS_msn=104", "_HLS_part=1", "_HLS_msn=x"):
        answer = await client.get(url(worker, f"video.m3u8?{query}"))
        assert (answer.status, await code(answer)) == (400, "bad_request"), query


async def test_a_hinted_part_is_sent_when_it_is_there(client: Client, worker: Worker) -> None:
    waiting = asyncio.create_task(client.get(url(worker, "video-100.3.m4s")))
    done, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not done
    worker.write("video-100.3.m4s", b"part 3")
    worker.announce("video", 100, 3)
    answer = await asyncio.wait_for(waiting, 5)
    assert (await answer.read(), answer.content_type) == (b"part 3", "video/mp4")
    assert "immutable" in answer.headers["Cache-Control"]


@pytest.mark.parametrize(
    "name",
    ["announce.sock", "lock", "..%2Fsecret", "video-100.2.m4s%00", "video-7.0.m4s", ".", "x.mp4"],
)
async def test_nothing_but_a_broadcasts_files_is_served(
    client: Client, worker: Worker, name: str
) -> None:
    (worker.directory.parent / "secret").write_bytes(b"secret")
    answer = await client.get(url(worker, name))
    assert answer.status == 404


async def test_a_link_among_the_files_is_not_followed(client: Client, worker: Worker) -> None:
    (worker.directory / "video-99.m4s").symlink_to("/etc/hostname")
    answer = await client.get(url(worker, "video-99.m4s"))
    assert (answer.status, await code(answer)) == (404, "not_found")


async def test_after_the_end_the_last_playlist_is_served_to_all(
    client: Client, worker: Worker
) -> None:
    assert (await client.get(url(worker, "video.m3u8"))).status == 200
    waiting = asyncio.create_task(client.get(url(worker, "video.m3u8?_HLS_msn=101&_HLS_part=0")))
    await asyncio.wait({waiting}, timeout=0.1)
    worker.announce("video", 100, 3, hint=None, ended=True)
    assert "#at 100.3" in await (await asyncio.wait_for(waiting, 5)).text()
    await worker.stop()
    answer = await client.get(url(worker, "video.m3u8?_HLS_msn=105"))
    assert "#at 100.3" in await answer.text()


async def test_another_broadcasts_name_finds_nothing(client: Client, worker: Worker) -> None:
    answer = await client.get(f"/live/{ROOM}/BC_another/video.m3u8")
    assert (answer.status, await code(answer)) == (404, "broadcast_not_found")


async def test_pages_of_other_sites_may_play(client: Client, worker: Worker) -> None:
    answer = await client.get(url(worker, "video.m3u8"))
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert (await client.options(url(worker, "video.m3u8"))).status == 204


@pytest.mark.parametrize("open_rooms", [False])
async def test_without_open_rooms_a_viewer_needs_the_rooms_token(
    client: Client, worker: Worker
) -> None:
    for rest in ("video.m3u8", "video-100.2.m4s"):
        answer = await client.get(url(worker, rest))
        assert (answer.status, await code(answer)) == (401, "token_missing")


async def test_new_viewers_come_while_the_message_center_is_away(
    client: Client, worker: Worker, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await client.get(f"/live/{ROOM}/index.m3u8")).status == 200

    async def away(_: RoomName) -> Snapshot:
        raise InfrastructureError("center_unavailable")

    monkeypatch.setattr(rooms, "snapshot", away)
    assert (await client.get(f"/live/{ROOM}/index.m3u8")).status == 200
    assert (await client.get(url(worker, "video-100.2.m4s"))).status == 200
    answer = await client.get("/live/nowhere/index.m3u8")
    assert (answer.status, await code(answer)) == (503, "center_unavailable")


async def test_a_broadcast_that_went_is_not_live_for_new_viewers(
    client: Client, worker: Worker, rooms: Rooms
) -> None:
    assert (await client.get(url(worker, "video.m3u8"))).status == 200
    fence = (await rooms.snapshot(ROOM)).fence
    await rooms.broadcast_ended(ROOM, fence=fence, sid=BroadcastSid(worker.sid), reason="stopped")
    answer = await client.get(f"/live/{ROOM}/index.m3u8")
    assert (answer.status, await code(answer)) == (404, "broadcast_not_found")
    assert (await client.get(url(worker, "video.m3u8"))).status == 200


async def test_players_go_on_when_a_worker_that_broke_off_is_there_again(
    client: Client, worker: Worker
) -> None:
    assert (await client.get(url(worker, "video.m3u8"))).status == 200
    await worker.stop()
    (worker.directory / "announce.sock").unlink()
    waiting = client.get(url(worker, "video.m3u8?_HLS_msn=100&_HLS_part=3"))
    assert (await asyncio.wait_for(waiting, 10)).status == 503
    # What was heard is still answered, and the files with it.
    assert (await client.get(url(worker, "video.m3u8"))).status == 200
    assert (await client.get(url(worker, "video-100.2.m4s"))).status == 200
    await worker.start()
    worker.announce("video", 100, 3)
    async with asyncio.timeout(10):
        while (await client.get(url(worker, "video.m3u8?_HLS_msn=100&_HLS_part=3"))).status != 200:
            pass
