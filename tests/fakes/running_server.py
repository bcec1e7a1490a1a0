"""`tertulia serve` as a real process of its own, with an admin's hands on its API."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import aiohttp

from signaling.tokens import VideoGrants, mint

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0


def free_ports(kind: socket.SocketKind, count: int) -> int:
    """A port with *count* free ones in a row, as media nodes take them."""
    for _ in range(100):
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket(type=kind))
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                for offset in range(1, count):
                    stack.enter_context(socket.socket(type=kind)).bind(("127.0.0.1", port + offset))
            except OSError:
                continue
            return port
    raise AssertionError("no free ports")


class RunningServer:
    """Started by ``start``, ended by ``stop``. ``log`` is what it printed, for failures."""

    api_key = "TKtests"
    api_secret = "a secret of the tests, of more than thirty-two characters"

    def __init__(self, data_dir: Path, media_nodes: int, extra: tuple[str, ...]) -> None:
        self.data_dir = data_dir
        self.log_path = data_dir / "serve.log"
        self.port = free_ports(socket.SOCK_STREAM, 1)
        self.media_port = free_ports(socket.SOCK_DGRAM, media_nodes)
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = (
            *("--data-dir", str(data_dir), "--port", str(self.port)),
            *("--media-port", str(self.media_port), "--media-nodes", str(media_nodes)),
            *extra,
        )
        self._process: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None

    @classmethod
    async def start(cls, data_dir: Path, *extra: str, media_nodes: int = 1) -> Self:
        server = cls(data_dir, media_nodes, extra)
        data_dir.mkdir(parents=True, exist_ok=True)
        # The key goes by the environment, as an operator's would: not onto the command line.
        environment = {
            **os.environ,
            "TERTULIA_API_KEY": f"{cls.api_key}:{cls.api_secret}",
        }
        with server.log_path.open("ab") as log:
            server._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tertulia", "serve", *server._arguments),
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )
        server._http = aiohttp.ClientSession()
        await server._until_ready()
        return server

    async def _until_ready(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_S
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with self.http.get(self.url + "/readyz") as answer:
                    if answer.status == 200:
                        return
            assert self.process.returncode is None, f"the server ended:\n{self.log}"
            assert loop.time() < deadline, f"the server is not ready:\n{self.log}"
            # Nothing announces a port that begins to listen; ask ten times a second.
            await asyncio.wait([asyncio.ensure_future(self.process.wait())], timeout=0.1)

    @property
    def http(self) -> aiohttp.ClientSession:
        assert self._http is not None
        return self._http

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def children(self) -> dict[str, int]:
        """Name of role (``media-0``, ``web-0``, ``valkey``) -> pid, from the process table."""
        found = {}
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            names = [Path(os.fsdecode(word)).stem for word in words if word.endswith(b".json")]
            found[names[0] if names else "valkey"] = int(child)
        return found

    async def stop(self) -> int:
        """SIGINT, as Ctrl-C would. Returns the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        code = await asyncio.wait_for(self.process.wait(), 45)
        if self._http is not None:
            await self._http.close()
        return code

    def token(self, identity: str, **grants: Any) -> str:
        return mint(
            self.api_key,
            self.api_secret,
            identity=identity,
            grants=VideoGrants(**grants),
            name=identity.title(),
            ttl_s=3600,
            now=time.time(),
        )

    def join_token(self, identity: str, room: str) -> str:
        return self.token(identity, roomJoin=True, room=room)

    def admin_token(self) -> str:
        return self.token("operator", room="*", roomAdmin=True, roomCreate=True, roomList=True)

    async def api(self, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
        """Call the admin API; asserts the status and returns the JSON, if there is any."""
        headers = {"Authorization": f"Bearer {self.admin_token()}"}
        async with self.http.request(method, self.url + path, json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status == expect, f"{method} {path}: {answer.status} {text}"
            return await answer.json() if text else None

    async def events(self, room: str) -> list[dict[str, Any]]:
        """The whole ledger of *room*."""
        found: list[dict[str, Any]] = []
        after = "0-0"
        while True:
            page = await self.api("GET", f"/v1/rooms/{room}/events?after={after}&limit=500")
            found += page["events"]
            if not page["events"]:
                return found
            after = page["events"][-1]["id"]


StartServer = Callable[..., Awaitable[RunningServer]]
"""The fixture ``start_server``: (*extra flags, media_nodes=1) -> a running server."""
