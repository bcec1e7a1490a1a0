"""What is measured: a whole Tertulia of our own, any WHIP/WHEP server, or the bare loop."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

from tests.bench.accounting import ProcessTree
from tests.bench.bare import BareProcess
from tests.bench.doors import BareDoor, Door, WhipWhepDoor
from tests.bench.engine import Engine
from tests.fakes.running_server import RunningServer


class Target(Struct, frozen=True, kw_only=True):
    """Which server, in words that travel to the measuring process."""

    kind: Literal["tertulia", "urls", "bare"]
    name: str
    flags: tuple[str, ...] = ()
    """Of ``tertulia serve``."""
    media_nodes: int = 0
    """0: one for each core."""
    whip: str = ""
    whep: str = ""
    token: str = ""
    pids: tuple[int, ...] = ()
    match: str = ""
    """Regular expression on command lines: more of the server's processes."""
    gso: bool = True


class Server(Protocol):
    """Started before the measurement, asked for its processes, stopped after it."""

    async def start(self) -> None: ...

    def door(self, engine: Engine, srtp: str) -> Door: ...

    def pids(self) -> list[int]:
        """All its processes, as they are now."""

    def media_pids(self) -> Iterable[int]:
        """Those that forward media; empty where that cannot be told."""

    async def stop(self) -> None: ...


class TertuliaServer:
    """``tertulia serve`` in a directory of its own, on ports of its own."""

    def __init__(self, target: Target, cores: int) -> None:
        self._target = target
        self._nodes = target.media_nodes or cores
        self._directory = tempfile.TemporaryDirectory(prefix="tertulia-bench-")
        self._server: RunningServer | None = None

    @property
    def _running(self) -> RunningServer:
        assert self._server is not None, "start() comes first"
        return self._server

    async def start(self) -> None:
        data = Path(self._directory.name)
        flags = self._target.flags
        self._server = await RunningServer.start(data, *flags, media_nodes=self._nodes)

    def door(self, engine: Engine, srtp: str) -> Door:
        server = self._running
        base = server.url + "/v1/rooms/{room}"

        def authorize(room: str, identity: str, publishes: bool) -> str:
            return server.token(
                identity,
                roomJoin=True,
                roomCreate=True,
                room=room,
                canPublish=publishes,
                canSubscribe=not publishes,
            )

        return WhipWhepDoor(
            engine,
            whip=base + "/whip",
            whep=base + "/whep?from={publisher}",
            srtp=srtp,
            authorize=authorize,
        )

    def pids(self) -> list[int]:
        return ProcessTree([self._running.process.pid]).pids()

    def media_pids(self) -> Iterable[int]:
        children = self._running.children().items()
        return [pid for name, pid in children if name.startswith("media")]

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
        self._directory.cleanup()


class UrlServer:
    """A server that somebody else started."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._tree = ProcessTree(target.pids, target.match)

    async def start(self) -> None:
        if not self._tree.pids():
            raise RuntimeError(
                "no process of the server found: give --server-pid or --server-match"
            )

    def door(self, engine: Engine, srtp: str) -> Door:
        return WhipWhepDoor(
            engine,
            whip=self._target.whip,
            whep=self._target.whep,
            srtp=srtp,
            authorize=lambda room, identity, publishes: self._target.token,
        )

    def pids(self) -> list[int]:
        return self._tree.pids()

    def media_pids(self) -> Iterable[int]:
        return ()

    async def stop(self) -> None:
        """It goes on."""


class BareServer:
    """The bare loop's process."""

    def __init__(self, target: Target, srtp: str) -> None:
        self._target, self._srtp = target, srtp
        self._process: BareProcess | None = None

    @property
    def process(self) -> BareProcess:
        assert self._process is not None, "start() comes first"
        return self._process

    async def start(self) -> None:
        self._process = await BareProcess.start(self._srtp, gso=self._target.gso)

    def door(self, engine: Engine, srtp: str) -> Door:
        return BareDoor(engine, process=self.process, srtp=srtp)

    def pids(self) -> list[int]:
        return [self.process.pid]

    def media_pids(self) -> Iterable[int]:
        return self.pids()

    async def stop(self) -> None:
        if self._process is not None:
            await self._process.stop()


def make_server(target: Target, *, srtp: str, cores: int) -> Server:
    match target.kind:
        case "tertulia":
            return TertuliaServer(target, cores)
        case "urls":
            return UrlServer(target)
        case "bare":
            return BareServer(target, srtp)
