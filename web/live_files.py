"""The bytes of init sections, segments and parts, kept while many players ask for the same."""

import asyncio
import errno
import os
from collections import OrderedDict
from pathlib import Path
from typing import Final

MAX_CACHED_BYTES: Final = 64 * 1024 * 1024
"""Some ten seconds of a hundred broadcasts at 0.5 Mbit/s, or of sixteen at 3 Mbit/s."""
MAX_INLINE_READ_BYTES: Final = 1024 * 1024
"""A larger file is read in a thread: 1 MiB from memory takes about 0.2 ms, a thread hop 0.1 ms."""


class FileCache:
    """Least recently used files, by path. Files never change once they exist (ANNOUNCE.md)."""

    def __init__(self, max_bytes: int = MAX_CACHED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._files: OrderedDict[Path, bytes] = OrderedDict()
        self.held_bytes = 0
        self.hits = 0
        self.misses = 0

    async def read(self, path: Path) -> bytes:
        """Return the file's bytes. Raises FileNotFoundError."""
        data = self._files.get(path)
        if data is not None:
            self.hits += 1
            self._files.move_to_end(path)
            return data
        self.misses += 1
        # No link is followed: the directory is a worker's, and only its own files are served.
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise FileNotFoundError(path) from None
            raise
        size = os.fstat(descriptor).st_size
        if size <= MAX_INLINE_READ_BYTES:
            data = _read_all(descriptor)
        else:
            data = await asyncio.to_thread(_read_all, descriptor)
        self._keep(path, data)
        return data

    def forget(self, directory: Path) -> None:
        """Drop the files of *directory*."""
        for path in [path for path in self._files if path.parent == directory]:
            self.held_bytes -= len(self._files.pop(path))

    def _keep(self, path: Path, data: bytes) -> None:
        if path in self._files or len(data) > self._max_bytes // 8:
            return
        self._files[path] = data
        self.held_bytes += len(data)
        while self.held_bytes > self._max_bytes:
            _, dropped = self._files.popitem(last=False)
            self.held_bytes -= len(dropped)


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()
