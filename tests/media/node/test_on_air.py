"""A room's broadcast, with a real worker process."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from coordinator.events import BroadcastEnded, BroadcastLive, BroadcastRequested, RoomClosed
from coordinator.ids import RoomName
from media.node import MediaNode
from media.on_air import OnAir
from tests.fakes.center import until
from tests.fakes.moving_picture import MovingPicture, Tone

ROOM = RoomName("plaza")


def on_air(node: MediaNode) -> OnAir:
    return node._hosted[ROOM]._on_air


def worker_pid(node: MediaNode) -> int:
    run = on_air(node)._run
    assert run is not None
    assert run._feed is not None
    return run._feed.pid


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_broadcast_goes_live_follows_the_room_and_stops(
    node: MediaNode, edge: Any, ledger: Any
) -> None:
    anna = await edge.join("anna")
    sound, picture = await anna.publish((Tone(), "microphone"), (MovingPicture(), "camera"))
    requested = await edge.rooms.request_broadcast(ROOM)
    live = await ledger.until_event(BroadcastLive, sid=requested.sid)
    assert live.url == "/live/plaza/index.m3u8"
    directory = Path((await edge.rooms.snapshot(ROOM)).broadcast_dir)
    assert (directory / "announce.sock").is_socket()
    run = on_air(node)._run
    assert run is not None
    assert set(run._taps) == {sound, picture}
    pid = worker_pid(node)

    ben = await edge.join("ben")
    his_sound, his_picture = await ben.publish((Tone(), "microphone"), (MovingPicture(), "camera"))

    async def heard() -> bool:
        return his_sound in run._taps

    await until(heard, "the new microphone to be tapped")
    assert his_picture in run._told
    assert his_picture not in run._taps, "only the picture that is shown is tapped"
    await anna.leave()

    async def shown() -> bool:
        return his_picture in run._taps and picture not in run._told

    await until(shown, "the picture of who is left to be tapped")

    await edge.rooms.stop_broadcast(ROOM)
    ended = await ledger.until_event(BroadcastEnded)
    assert (ended.sid, ended.reason) == (requested.sid, "stopped")
    assert gone(pid)
    assert on_air(node).sid is None


async def test_a_worker_that_crashes_is_replaced_once(
    node: MediaNode, edge: Any, ledger: Any
) -> None:
    anna = await edge.join("anna")
    await anna.publish((Tone(), "microphone"))
    first = await edge.rooms.request_broadcast(ROOM)
    await ledger.until_event(BroadcastLive, sid=first.sid)
    os.kill(worker_pid(node), signal.SIGKILL)
    ended = await ledger.until_event(BroadcastEnded, sid=first.sid)
    assert ended.reason == "failed"
    await ledger.until(lambda me: len(me.of(BroadcastLive)) == 2, "a second broadcast")
    second = ledger.of(BroadcastLive)[1].sid
    os.kill(worker_pid(node), signal.SIGKILL)
    ended = await ledger.until_event(BroadcastEnded, sid=second)
    assert ended.reason == "failed"
    await node._hosted[ROOM].written(5.0)
    assert len(ledger.of(BroadcastRequested)) == 2
    assert (await edge.rooms.snapshot(ROOM)).room.broadcast is None


async def test_a_broadcast_ends_with_its_room(node: MediaNode, edge: Any, ledger: Any) -> None:
    anna = await edge.join("anna")
    await anna.publish((Tone(), "microphone"))
    await edge.rooms.request_broadcast(ROOM)
    await ledger.until_event(BroadcastLive)
    pid = worker_pid(node)
    await edge.rooms.close(ROOM)
    await ledger.until_event(RoomClosed)

    async def ended() -> bool:
        return gone(pid)

    await until(ended, "the worker to end")


@pytest.mark.parametrize("stopped", [False, True])
async def test_the_next_owner_goes_on_with_the_broadcast(
    node: MediaNode, start_node: Any, edge: Any, ledger: Any, stopped: bool
) -> None:
    anna = await edge.join("anna")
    await anna.publish((Tone(), "microphone"))
    first = await edge.rooms.request_broadcast(ROOM)
    await ledger.until_event(BroadcastLive, sid=first.sid)
    other = await start_node("media-1")
    await node.drain()
    if stopped:
        await edge.rooms.stop_broadcast(ROOM)
    await edge.rooms.nodes.placement(fresh=True)
    anna = await edge.join("anna")
    await anna.publish((Tone(), "microphone"))
    assert other.hosted == (ROOM,)
    if stopped:
        assert on_air(other).sid is None
        return
    await ledger.until(lambda me: len(me.of(BroadcastLive)) == 2, "the broadcast to go on")
    assert ledger.of(BroadcastLive)[1].sid == on_air(other).sid
