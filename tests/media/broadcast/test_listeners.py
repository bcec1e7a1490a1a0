"""Web processes hear of each change, and none holds up another."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.ids import BroadcastSid, RoomName
from media.broadcast.announcement import Announcement, Change, State, decode_line
from media.broadcast.listeners import Listeners


def change(msn: int, *, playlist: str = "#EXTM3U\n") -> Change:
    return Change(
        rendition="video",
        msn=msn,
        part=0,
        complete_msn=-1,
        hint=None,
        playlist=playlist,
        delta=None,
        ended=False,
    )


@pytest.fixture
async def listeners(tmp_path: Path) -> AsyncIterator[Listeners]:
    listeners = Listeners(
        lambda renditions: State(
            broadcast=BroadcastSid("BC_x"),
            room=RoomName("tea"),
            target_duration_s=3,
            part_target_s=0.334,
            ended=False,
            renditions=renditions,
        )
    )
    await listeners.open(tmp_path / "announce.sock")
    yield listeners
    await listeners.close()


class Web:
    """A web process's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, tmp_path: Path) -> "Web":
        path = tmp_path / "announce.sock"
        return cls(*await asyncio.open_unix_connection(path, limit=1 << 20))

    async def hear(self) -> Announcement | None:
        async with asyncio.timeout(5):
            line = await self.reader.readline()
        return decode_line(line) if line else None

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def test_the_state_comes_first_and_then_each_change(
    listeners: Listeners, tmp_path: Path
) -> None:
    listeners.announce(change(1))
    listeners.announce(change(2))
    webs = [await Web.connect(tmp_path), await Web.connect(tmp_path)]
    for web in webs:
        state = await web.hear()
        assert isinstance(state, State)
        assert [c.msn for c in state.renditions] == [2]
    listeners.announce(change(3))
    listeners.announce(change(4))
    for web in webs:
        assert [await web.hear(), await web.hear()] == [change(3), change(4)]
        await web.close()


async def test_what_a_listener_says_is_ignored_and_its_going_is_noticed(
    listeners: Listeners, tmp_path: Path
) -> None:
    web, other = await Web.connect(tmp_path), await Web.connect(tmp_path)
    web.writer.write(b"hello?\n" * 1000)
    await web.hear()
    await other.hear()
    await web.close()
    listeners.announce(change(1))
    assert await other.hear() == change(1)
    await other.close()


async def test_a_slow_listener_is_cut_off_and_the_others_hear_everything(
    listeners: Listeners, tmp_path: Path
) -> None:
    slow, quick = await Web.connect(tmp_path), await Web.connect(tmp_path)
    assert isinstance(await slow.hear(), State)
    assert isinstance(await quick.hear(), State)
    heard = 0
    while listeners.slow_listeners == 0:
        # The slow one never reads: kernel, transport and queue fill up one after the other.
        heard += 1
        assert heard < 500, "a listener that does not read was kept"
        listeners.announce(change(heard, playlist="#" * 50_000))
        assert await quick.hear() == change(heard, playlist="#" * 50_000)
    assert listeners.slow_listeners == 1
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            # What had been sent before is still there; then the connection is gone.
            while await slow.reader.read(1 << 16):
                pass
    await quick.close()
    slow.writer.close()


async def test_what_waits_is_sent_before_the_end(listeners: Listeners, tmp_path: Path) -> None:
    web = await Web.connect(tmp_path)
    await web.hear()
    for msn in range(20):
        listeners.announce(change(msn))
    await listeners.close()
    for msn in range(20):
        assert await web.hear() == change(msn)
    assert await web.hear() is None
    await web.close()
