"""The files of a broadcast, and what a crash leaves."""

import os
import stat
import time
from pathlib import Path

import pytest

from coordinator.ids import BroadcastSid
from media.broadcast.directory import GRACE_S, BroadcastDirectory, base_directory, sweep
from media.broadcast.rendition import RemoveFile, WriteFile

SID = BroadcastSid("BC_abc")


def test_files_appear_whole_and_go(tmp_path: Path) -> None:
    directory = BroadcastDirectory(tmp_path, SID)
    assert directory.path == tmp_path / SID
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    directory.apply([WriteFile("video-1.0.m4s", b"part"), WriteFile("video-1.m4s", b"all")])
    assert sorted(p.name for p in directory.path.iterdir()) == [
        "lock",
        "video-1.0.m4s",
        "video-1.m4s",
    ]
    directory.apply([RemoveFile("video-1.0.m4s"), RemoveFile("never-was.m4s")])
    assert not (directory.path / "video-1.0.m4s").exists()
    assert (directory.path / "video-1.m4s").read_bytes() == b"all"
    directory.remove()
    assert not directory.path.exists()


def test_a_broadcast_that_begins_again_gets_another_directory(tmp_path: Path) -> None:
    first = BroadcastDirectory(tmp_path, SID)
    assert BroadcastDirectory(tmp_path, SID).path == tmp_path / f"{SID}-1"
    assert first.path.exists()


def test_only_what_has_been_dead_for_a_while_is_swept(tmp_path: Path) -> None:
    alive = BroadcastDirectory(tmp_path, BroadcastSid("BC_alive"))
    for name in ("BC_dead", "BC_fresh", "BC_notours", "photos"):
        (tmp_path / name).mkdir()
        if name != "BC_notours":
            (tmp_path / name / "lock").touch()
    long_ago = time.time() - GRACE_S - 1
    for name in ("BC_alive", "BC_dead", "BC_notours", "photos"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    assert sweep(tmp_path, unix_now=time.time()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "BC_alive",
        "BC_fresh",
        "BC_notours",
        "photos",
    ]
    assert alive.path.exists()


def test_a_configured_base_is_made(tmp_path: Path) -> None:
    assert base_directory(str(tmp_path / "a" / "b")).is_dir()


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no directory in memory")
def test_without_one_the_base_is_this_users_in_memory() -> None:
    base = base_directory("")
    assert base == Path(f"/dev/shm/tertulia-{os.getuid()}")
    assert base.stat().st_uid == os.getuid()
