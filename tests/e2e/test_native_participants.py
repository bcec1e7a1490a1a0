"""Participants made with aiortc meet over the real sockets of a real server."""

import asyncio
import itertools
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiortc import MediaStreamTrack

from tests.fakes.moving_picture import MovingPicture, Tone
from tests.fakes.participant import Participant
from tests.fakes.running_server import RunningServer, StartServer

pytestmark = pytest.mark.e2e


def join(server: RunningServer, identity: str, room: str = "plaza") -> Participant:
    return Participant(server.http, server.url, room, server.join_token(identity, room))


async def moving_pictures(track: MediaStreamTrack, count: int = 8) -> list[Any]:
    """Decode *count* frames; they must not all be the same picture."""
    frames: list[Any] = [await asyncio.wait_for(track.recv(), 10) for _ in range(count)]
    pictures = [frame.to_ndarray(format="gray").astype(int) for frame in frames]
    changes = [np.abs(a - b).mean() for a, b in itertools.pairwise(pictures)]
    assert max(changes) > 1.0, "the picture stands still"
    return frames


async def loudness(track: MediaStreamTrack, count: int = 50) -> float:
    """Root mean square of the loudest of *count* decoded frames, full scale 1."""
    loudest = 0.0
    for _ in range(count):
        frame: Any = await asyncio.wait_for(track.recv(), 10)
        samples = frame.to_ndarray().astype(float) / 32768
        loudest = max(loudest, float(np.sqrt((samples**2).mean())))
    return loudest


async def test_each_decodes_the_moving_picture_and_the_sound_of_the_other(
    server: RunningServer,
) -> None:
    async with join(server, "ana") as ana, join(server, "ben") as ben:
        await ana.wait_for("participant_joined", lambda m: m["participant"]["identity"] == "ben")
        ana_sids = await ana.publish(MovingPicture(), Tone())
        ben_sids = await ben.publish(MovingPicture(), Tone())
        for receiver, (picture, sound) in ((ben, ana_sids), (ana, ben_sids)):
            await moving_pictures(await receiver.wait_for_track(picture))
            assert await loudness(await receiver.wait_for_track(sound)) > 0.1


async def test_a_late_subscriber_gets_a_picture_within_a_second_of_its_transport(
    server: RunningServer,
) -> None:
    async with join(server, "ana") as ana:
        (picture,) = await ana.publish(MovingPicture())
        async with join(server, "ben") as ben:
            track = await ben.wait_for_track(picture)
            loop = asyncio.get_running_loop()
            up = loop.create_future()

            @ben.subscriber.on("connectionstatechange")
            def changed() -> None:
                if ben.subscriber.connectionState == "connected" and not up.done():
                    up.set_result(loop.time())

            changed()
            connected_at = await asyncio.wait_for(up, 10)
            await asyncio.wait_for(track.recv(), 10)
            assert loop.time() - connected_at < 1.0


async def test_who_leaves_is_seen_to_leave_once_and_the_ledger_tells_it_in_order(
    server: RunningServer,
) -> None:
    async with join(server, "ana") as ana:
        async with join(server, "ben") as ben:
            await ben.publish(Tone())
            await ana.wait_for("track_published")
            await ben.send(type="leave")
            assert await ben.wait_closed() == 1000
        left = await ana.wait_for("participant_left")
        assert (left["identity"], left["reason"]) == ("ben", "left")
        types = [event["type"] for event in await server.events("plaza")]
    assert types == [
        "room.created",
        "room.placed",
        "participant.joined",
        "participant.joined",
        "track.published",
        "participant.left",
    ]


async def test_an_operator_mutes_a_track_and_only_an_operator_unmutes_it(
    server: RunningServer,
) -> None:
    async with join(server, "ana") as ana, join(server, "ben") as ben:
        (sound,) = await ana.publish(Tone())
        await loudness(await ben.wait_for_track(sound), count=5)
        path = f"/v1/rooms/plaza/participants/ana/tracks/{sound}"
        await server.api("PATCH", path, {"muted": True})
        told = await ana.wait_for("track_muted", lambda m: m["muted"])
        assert (told["track"], told["by"]) == (sound, "admin")
        await ana.send(type="mute", id=7, track=sound, muted=False)
        refused = await ana.wait_for("error", lambda m: m.get("id") == 7)
        assert refused["code"] == "permission_denied"
        await server.api("PATCH", path, {"muted": False})
        await ben.wait_for("track_muted", lambda m: not m["muted"])


def is_new(known: list[dict[str, Any]], message: dict[str, Any]) -> bool:
    """Whether *message* is none of the (identical) *known* ones."""
    return all(message is not other for other in known)


async def test_nonsense_on_the_socket_is_refused_with_a_code_and_ends_nothing(
    server: RunningServer,
) -> None:
    async with join(server, "ana") as ana, join(server, "ben") as ben:
        await ana.wait_for("joined")
        for text, code in (
            ("{", "malformed_json"),
            ('{"type":"dance"}', "unknown_message"),
            ('{"type":"ping"}', "invalid_field"),
            ('{"type":"ping","id":1,"extra":2}', "invalid_field"),
            ('{"type":"subscriber_answer","offer_id":99,"sdp":"v=0"}', "wrong_state"),
            ('{"type":"publisher_offer","id":1,"sdp":"not sdp"}', "invalid_sdp"),
        ):
            known = list(ana.messages)
            await ana.send_text(text)
            error = await ana.wait_for("error", partial(is_new, known))
            assert error["code"] == code, text
        (sound,) = await ana.publish(Tone())
        assert await loudness(await ben.wait_for_track(sound)) > 0.1


async def test_a_media_node_that_dies_loses_nobody_twice_and_the_room_lives_on_elsewhere(
    start_server: StartServer,
) -> None:
    server = await start_server(media_nodes=2)
    async with join(server, "ana") as ana, join(server, "ben") as ben:
        room = (await ana.wait_for("joined"))["room"]
        await ben.wait_for("joined")
        name = room["node"].split(".")[0]
        os.kill(server.children()[name], signal.SIGKILL)
        for participant in (ana, ben):
            goodbye = await participant.wait_for("goodbye")
            assert (goodbye["code"], goodbye["reconnect"]) == ("node_lost", "now")
            assert await participant.wait_closed() == 4100
    async with join(server, "ana") as ana, join(server, "ben") as ben:
        again = (await ana.wait_for("joined"))["room"]
        assert again["node"] != room["node"]
        (sound,) = await ana.publish(Tone())
        assert await loudness(await ben.wait_for_track(sound)) > 0.1
        left = [
            event["data"]["identity"]
            for event in await server.events("plaza")
            if event["type"] == "participant.left"
        ]
    assert sorted(left) == ["ana", "ben"]


async def test_ctrl_c_ends_every_process(start_server: StartServer) -> None:
    server = await start_server(media_nodes=2)
    pids = server.children()
    assert set(pids) == {"media-0", "media-1", "web-0", "valkey"}
    async with join(server, "ana") as ana:
        await ana.wait_for("joined")
        assert await server.stop() == 0
        goodbye = await ana.wait_for("goodbye")
        assert goodbye["code"] == "server_draining"
    assert [pid for pid in pids.values() if Path(f"/proc/{pid}").exists()] == []


async def test_killing_the_supervisor_leaves_no_process_behind(start_server: StartServer) -> None:
    server = await start_server(media_nodes=2)
    pids = server.children()
    assert len(pids) == 4
    server.process.kill()
    await server.process.wait()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 15
    while any(Path(f"/proc/{pid}").exists() for pid in pids.values()):
        assert loop.time() < deadline, f"still there: {pids}"
        os.sched_yield()


async def test_a_crashed_media_node_is_started_again(start_server: StartServer) -> None:
    server = await start_server(media_nodes=1)
    before = {node["id"] for node in await media_nodes(server)}
    os.kill(server.children()["media-0"], signal.SIGKILL)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 20
    while True:
        now = {node["id"] for node in await media_nodes(server)}
        if now and not now & before:
            break
        assert loop.time() < deadline, server.log
    async with join(server, "ana") as ana, join(server, "ben") as ben:
        (sound,) = await ana.publish(Tone())
        assert await loudness(await ben.wait_for_track(sound)) > 0.1


async def media_nodes(server: RunningServer) -> list[dict[str, Any]]:
    nodes = (await server.api("GET", "/v1/nodes"))["nodes"]
    return [node for node in nodes if node["kind"] == "media"]
