"""The directory of a broadcast: made, written to, removed, and swept after a crash."""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from coordinator.ids import BroadcastSid
from media.broadcast.rendition import Effect, RemoveFile, WriteFile

GRACE_S: Final = 30.0
"""How long files stay after the end: the longest playlist a viewer may still play."""
LOCK_NAME: Final = "lock"
SOCKET_NAME: Final = "announce.sock"
_MEMORY: Final = Path("/dev/shm")  # noqa: S108  (a directory of our own is made in it)


def base_directory(configured: str) -> Path:
    """Return the directory for broadcasts, made if it is not there.

    Without a configured one it is a directory of this user's in memory. Raises PermissionError if
    that name is taken by someone else.
    """
    if configured:
        base = Path(configured)
        base.mkdir(parents=True, exist_ok=True)
        return base
    root = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    base = root / f"tertulia-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(f"{base} belongs to someone else")
    return base


def sweep(base: Path, *, unix_now: float) -> int:
    """Remove the directories of workers that have been dead for ``GRACE_S``; return how many."""
    removed = 0
    for directory in base.glob("BC_*"):
        try:
            with (directory / LOCK_NAME).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if unix_now - directory.stat().st_mtime < GRACE_S:
                    continue
                shutil.rmtree(directory)
                removed += 1
        except OSError:
            continue  # no broadcast's, still alive, or swept by another
    return removed


class BroadcastDirectory:
    """Owned by one worker as long as it lives."""

    def __init__(self, base: Path, sid: BroadcastSid) -> None:
        self.path: Final = self._make(base, sid)
        # Not closed on purpose: the lock is held until the process is gone.
        self._lock = os.open(self.path / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.bytes_written = 0

    @staticmethod
    def _make(base: Path, sid: BroadcastSid) -> Path:
        """The sid's own name, or with a number where an earlier worker's directory stands."""
        for attempt in range(1000):
            path = base / (f"{sid}-{attempt}" if attempt else sid)
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return path
        raise FileExistsError(f"too many directories of {sid}")

    @property
    def socket_path(self) -> Path:
        return self.path / SOCKET_NAME

    def apply(self, effects: Sequence[Effect]) -> None:
        """Write and remove; each name appears with its whole content. Raises OSError."""
        for effect in effects:
            match effect:
                case WriteFile(name, body):
                    aside = self.path / f".{name}"
                    aside.write_bytes(body)
                    aside.rename(self.path / name)
                    self.bytes_written += len(body)
                case RemoveFile(name):
                    (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def touch(self) -> None:
        """Let the grace begin now."""
        os.utime(self.path, (time.time(), time.time()))
