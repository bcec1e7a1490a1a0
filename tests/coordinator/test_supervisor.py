"""Children are started, restarted with back-off, ended in order, and die with their parent."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from coordinator.supervisor import Backoff, ChildSpec, Supervisor

QUICK = Backoff(first_s=0.01, most_s=0.02)

WRITES_ITS_PID = "import os, pathlib, sys, time\np = pathlib.Path(sys.argv[1])\n"
WRITES_ITS_PID += "with p.open('a') as f: print(os.getpid(), file=f)\n"
SLEEPS = WRITES_ITS_PID + "time.sleep(60)\n"
CRASHES = WRITES_ITS_PID + "sys.exit(3)\n"
IGNORES_TERM = (
    "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WRITES_ITS_PID
) + "time.sleep(60)\n"


def child(name: str, program: str, path: Path, stop_timeout_s: float = 15.0) -> ChildSpec:
    argv = [sys.executable, "-c", program, str(path)]
    return ChildSpec(name, argv, stop_timeout_s=stop_timeout_s)


async def until(what: str, condition: Callable[[], bool], timeout_s: float = 10) -> None:
    """Poll a fact about another process, which can send us no event."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition():
        assert loop.time() < deadline, f"waited for {what}"
        await asyncio.sleep(0)
        os.sched_yield()


def lines(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_a_child_that_crashes_is_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor(QUICK)
    await supervisor.start(child("crasher", CRASHES, tmp_path / "pids"))
    await until("three starts", lambda: len(lines(tmp_path / "pids")) >= 3)
    await supervisor.stop()
    assert len(set(lines(tmp_path / "pids"))) >= 3
    assert supervisor.restarts >= 2


async def test_stop_ends_all_children_and_starts_none_again(tmp_path: Path) -> None:
    supervisor = Supervisor(QUICK)
    await supervisor.start(child("one", SLEEPS, tmp_path / "one"))
    await supervisor.start(child("two", SLEEPS, tmp_path / "two"))
    await until("both", lambda: bool(lines(tmp_path / "one") and lines(tmp_path / "two")))
    pids = supervisor.pids()
    await supervisor.stop()
    assert set(pids) == {"one", "two"}
    assert not any(is_running(pid) for pid in pids.values())
    assert supervisor.restarts == 0


async def test_a_child_that_ignores_sigterm_is_killed_in_time(tmp_path: Path) -> None:
    supervisor = Supervisor(QUICK)
    await supervisor.start(child("deaf", IGNORES_TERM, tmp_path / "deaf", stop_timeout_s=0.2))
    await until("the child", lambda: bool(lines(tmp_path / "deaf")))
    (pid,) = supervisor.pids().values()
    await asyncio.wait_for(supervisor.stop(), 5)
    assert not is_running(pid)


async def test_children_die_with_the_supervisor(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from coordinator.supervisor import ChildSpec, Supervisor\n"
        "async def main():\n"
        "    s = Supervisor()\n"
        f"    await s.start(ChildSpec('c', [sys.executable, '-c', {SLEEPS!r}, sys.argv[1]]))\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).resolve().parents[2]
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path / "pid"), cwd=root
    )
    await until("the grandchild", lambda: bool(lines(tmp_path / "pid")))
    (grandchild,) = lines(tmp_path / "pid")
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await until("the grandchild's end", lambda: not is_running(grandchild))


def test_backoff_doubles_up_to_its_most_and_forgets_after_a_steady_life() -> None:
    backoff = Backoff(first_s=1, most_s=5, steady_s=30)
    delays = [0.0]
    for _ in range(5):
        delays.append(backoff.next_delay_s(delays[-1], lived_s=0.1))
    assert delays[1:] == [1, 2, 4, 5, 5]
    assert backoff.next_delay_s(5, lived_s=31) == 1
