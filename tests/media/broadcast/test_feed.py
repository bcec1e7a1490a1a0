"""A feed and its real worker process, with real media on the real socket."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import m3u8
import numpy as np
import pytest

from coordinator.ids import BroadcastSid, Identity, RoomName, TrackSid
from media.broadcast.announcement import Change, State, decode_line
from media.broadcast.directory import SOCKET_NAME
from media.broadcast.feed import MAX_WAITING_BYTES, BroadcastFeed, FeedTrack
from media.config import MediaConfig

ROOM, SID = RoomName("tea"), BroadcastSid("BC_abcdefghijkm")
ROOT = Path(__file__).parents[3]


class Node:
    """An observer that remembers, and lets a test wait."""

    def __init__(self) -> None:
        self.keyframes: list[TrackSid] = []
        self.directories: list[str] = []
        self.reasons: list[str] = []
        self._changed = asyncio.Event()

    def keyframe_wanted(self, track: TrackSid) -> None:
        self.keyframes.append(track)
        self._changed.set()

    def live(self, directory: str) -> None:
        self.directories.append(directory)
        self._changed.set()

    def ended(self, reason: str) -> None:
        self.reasons.append(reason)
        self._changed.set()

    async def wait(self, what: str, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(15):
            while not condition():
                self._changed.clear()
                try:
                    await self._changed.wait()
                except asyncio.CancelledError:
                    print(f"waited for {what}")
                    raise


class Web:
    """A listener that keeps the latest change of each rendition and all texts."""

    def __init__(self) -> None:
        self.latest: dict[str, Change] = {}
        self.texts: list[str] = []
        self.states: list[State] = []
        self.live_delays_s: list[float] = []

    async def listen(self, directory: str) -> None:
        """Until the worker hangs up."""
        path = Path(directory) / SOCKET_NAME
        reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
        try:
            while line := await reader.readline():
                self._hear(decode_line(line))
        finally:
            writer.close()
            await writer.wait_closed()

    def _hear(self, message: State | Change) -> None:
        if isinstance(message, State):
            self.states.append(message)
        changes = message.renditions if isinstance(message, State) else (message,)
        for change in changes:
            self.latest[change.rendition] = change
            self.texts += [change.playlist] + ([change.delta] if change.delta else [])
            if isinstance(message, Change) and change.rendition == "video":
                self._measure(change)

    def _measure(self, change: Change) -> None:
        if change.ended:
            return
        _, _, last = change.playlist.rpartition("#EXT-X-PROGRAM-DATE-TIME:")
        begin = datetime.fromisoformat(last.splitlines()[0])
        parts_s = sum(float(text) for text in re.findall(r"PART:DURATION=([\d.]+)", last))
        end_s = begin.timestamp() + parts_s
        self.live_delays_s.append(time.time() - end_s)

    def joined(self, directory: str, rendition: str, init: int = 0) -> bytes:
        body = (Path(directory) / f"{rendition}-init-{init}.mp4").read_bytes()
        for segment in m3u8.loads(self.latest[rendition].playlist).segments:
            if segment.init_section.uri.startswith(f"{rendition}-init-{init}."):
                body += (Path(directory) / segment.uri.removesuffix("{{query}}")).read_bytes()
        return body


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
async def feed(tmp_path: Path, node: Node) -> AsyncIterator[BroadcastFeed]:
    feed = await BroadcastFeed.start(MediaConfig(broadcast_dir=str(tmp_path)), ROOM, SID, node)
    yield feed
    await feed.stop()
    assert len(node.reasons) == 1, "the end is told once"


async def gone(pid: int) -> None:
    """Wait until process *pid* has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def add(feed: BroadcastFeed, sid: str, identity: str, track: Any) -> None:
    audio = track.mime == "audio/opus"
    feed.add_track(
        FeedTrack(
            sid=TrackSid(sid),
            identity=Identity(identity),
            kind="audio" if audio else "video",
            source="microphone" if audio else "camera",
            mime=track.mime,
            payload_type=track.payload_type,
            clock_rate_hz=track.clock_rate_hz,
            channels=2 if audio else None,
        )
    )


async def test_a_broadcast_from_the_first_packet_to_the_end(
    feed: BroadcastFeed, node: Node, studio: Any
) -> None:
    tracks = {
        "TR_a": studio.video("video/VP8", duration_s=5.0, brightness=150),
        "TR_b": studio.video("video/H264", duration_s=5.0, brightness=40, ssrc=7),
        "TR_c": studio.tone(duration_s=5.0),
    }
    for sid, identity in (("TR_a", "ann"), ("TR_b", "ben"), ("TR_c", "ann")):
        add(feed, sid, identity, tracks[sid])
    web = Web()
    sending = asyncio.create_task(
        studio.send_on_time(tracks, lambda sid, p, at: feed.packets(TrackSid(sid), p, at))
    )
    await node.wait("the broadcast to be live", lambda: node.directories)
    [directory] = node.directories
    listening = asyncio.create_task(web.listen(directory))
    feed.set_speaker(Identity("ben"))
    await sending
    await feed.stop()
    await listening

    assert node.reasons == ["stopped"]
    assert "TR_b" in node.keyframes
    assert [state.broadcast for state in web.states] == [SID]
    assert all(change.ended for change in web.latest.values())
    assert web.latest["video"].playlist.endswith("#EXT-X-ENDLIST\n")
    assert studio.hls_faults(web.texts) == []
    # A part is told when it and one frame more are there, the delay of the composition later.
    assert float(np.median(web.live_delays_s)) < 0.5

    video = studio.decode(web.joined(directory, "video"))
    levels = [float(np.median(picture)) for picture in video.pictures]
    assert levels[0] > 130
    assert levels[-1] < 60, "the speaker's picture"
    bars = [int(picture.astype(int).sum(axis=0).argmax()) for picture in video.pictures]
    assert np.count_nonzero(np.diff(bars)) > 0.7 * len(bars), "the picture advances"
    audio = studio.decode(web.joined(directory, "audio"))
    assert abs(audio.times_s[0] - video.times_s[0]) < 0.06
    assert float(np.sqrt(np.mean(np.square(audio.sound)))) > 0.15
    await gone(feed.pid)


async def test_ffprobe_reads_the_files_without_a_word(
    feed: BroadcastFeed, node: Node, tmp_path: Path
) -> None:
    await node.wait("the broadcast to be live", lambda: node.directories)
    [directory] = node.directories
    web = Web()
    listening = asyncio.create_task(web.listen(directory))
    await feed.stop()
    await listening
    for rendition, codec in (("video", "h264"), ("audio", "aac")):
        file = tmp_path / f"{rendition}.mp4"
        file.write_bytes(web.joined(directory, rendition))
        probe = await asyncio.create_subprocess_exec(
            *("ffprobe", "-v", "warning", "-show_entries", "stream=codec_name", "-of", "csv=p=0"),
            str(file),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, complaints = await asyncio.wait_for(probe.communicate(), 20)
        assert (out.decode().strip(), complaints.decode()) == (codec, "")


async def test_a_worker_that_is_killed_is_told_as_failed(
    feed: BroadcastFeed, node: Node, studio: Any
) -> None:
    add(feed, "TR_v", "ann", studio.video("video/VP8", duration_s=0.5))
    os.kill(feed.pid, signal.SIGKILL)
    await node.wait("the end", lambda: node.reasons)
    assert node.reasons == ["failed"]
    feed.packets(TrackSid("TR_v"), [b"\x80" * 20], 0.0)
    feed.set_speaker(None)
    feed.remove_track(TrackSid("TR_v"))


async def test_a_worker_that_hangs_holds_up_nobody(
    feed: BroadcastFeed, node: Node, studio: Any
) -> None:
    add(feed, "TR_v", "ann", studio.video("video/VP8", duration_s=0.5))
    add(feed, "TR_a", "ann", studio.tone(duration_s=0.5))
    os.kill(feed.pid, signal.SIGSTOP)
    packet = studio.rtp(bytes(1100), sequence_number=0, timestamp=0)
    frames = 0
    begin = time.perf_counter()
    while feed.stats.dropped_frames < 3:
        frames += 1
        assert frames < 20_000, "the queue has no bound"
        burst = [packet[:4] + (frames * 3000).to_bytes(4, "big") + packet[8:]] * 5
        feed.packets(TrackSid("TR_v"), burst[:3], 0.0)
        feed.packets(TrackSid("TR_v"), burst[3:], 0.0)
    elapsed_s = time.perf_counter() - begin
    assert elapsed_s / frames < 0.001, "a call never blocks"
    assert feed.stats.dropped_packets % 5 == 0, "whole frames"
    assert MAX_WAITING_BYTES <= feed.waiting_bytes + 6000 <= MAX_WAITING_BYTES + 12_000
    assert node.keyframes == [TrackSid("TR_v")] * 3, "asked after each drop"
    before = feed.stats.dropped_packets
    feed.packets(TrackSid("TR_a"), [packet], 0.0)
    assert feed.stats.dropped_packets == before, "sound is the last to go"
    os.kill(feed.pid, signal.SIGCONT)
    await node.wait("the broadcast to be live", lambda: node.directories)


async def test_a_feed_that_is_stopped_at_once_leaves_nothing(
    feed: BroadcastFeed, node: Node, tmp_path: Path
) -> None:
    await feed.stop()
    assert node.reasons == ["stopped"]
    assert node.directories == []
    assert list(tmp_path.iterdir()) == []
    await feed.stop()


async def test_a_worker_dies_with_its_node_and_takes_its_files_along(tmp_path: Path) -> None:
    program = f"""
import asyncio
from media.broadcast.feed import BroadcastFeed
from media.config import MediaConfig

class Node:
    def keyframe_wanted(self, track): pass
    def live(self, directory): print(feed.pid, directory, flush=True)
    def ended(self, reason): pass

async def main():
    global feed
    feed = await BroadcastFeed.start(
        MediaConfig(broadcast_dir={str(tmp_path)!r}), "tea", "BC_x", Node())
    await asyncio.Event().wait()

asyncio.run(main())
"""
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert node.stdout is not None
    pid, directory = (await asyncio.wait_for(node.stdout.readline(), 15)).decode().split()
    assert Path(directory).is_dir()
    with contextlib.suppress(ProcessLookupError):
        node.kill()
    await node.wait()
    await gone(int(pid))
    assert not Path(directory).exists()
