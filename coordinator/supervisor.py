"""Child processes of one machine: started in order, restarted when they crash, ended in reverse.

The supervisor knows nothing of what its children do. Children are put into sessions of their own,
so that a Ctrl-C at the terminal reaches the supervisor alone and the order of ending is ours; if
the supervisor itself dies, the kernel ends them (PR_SET_PDEATHSIG).
"""

import asyncio
import ctypes
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def dying_with_parent(death_signal: int = signal.SIGTERM) -> Callable[[], None]:
    """A ``preexec_fn`` that makes the kernel send *death_signal* when the parent dies.

    Closes the race in which the parent is gone before the call was made.
    """
    parent = os.getpid()

    def prepare() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child: its name in logs, its command line, and how long it may take to end."""

    name: str
    argv: Sequence[str]
    stop_timeout_s: float = 15.0
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Restart delays: doubling from *first_s* to *most_s*; a child that lived *steady_s* starts
    again at *first_s*."""

    first_s: float = 0.2
    most_s: float = 5.0
    steady_s: float = 30.0

    def next_delay_s(self, last_delay_s: float, lived_s: float) -> float:
        if last_delay_s == 0 or lived_s >= self.steady_s:
            return self.first_s
        return min(self.most_s, last_delay_s * 2)


class Supervisor:
    """Runs children until ``stop``; a child that ends by itself is started again.

    Call ``start`` in the order in which children depend on one another; ``stop`` ends them in
    groups, the last started group first.
    """

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._groups: list[list[_Keeper]] = []
        self.restarts = 0

    async def start(self, *group: ChildSpec) -> None:
        """Start a group of children. Returns once all are running (not yet ready)."""
        keepers = [_Keeper(spec, self) for spec in group]
        self._groups.append(keepers)
        for keeper in keepers:
            await keeper.spawn()
            keeper.task = asyncio.create_task(keeper.keep(self._backoff), name=keeper.spec.name)

    def pids(self) -> dict[str, int]:
        """Name -> process id of the children that run now."""
        return {
            keeper.spec.name: keeper.process.pid
            for group in self._groups
            for keeper in group
            if keeper.process is not None and keeper.process.returncode is None
        }

    async def stop(self) -> None:
        """End all children, group by group: SIGTERM, then after ``stop_timeout_s`` SIGKILL."""
        while self._groups:
            await asyncio.gather(*(keeper.stop() for keeper in self._groups.pop()))


class _Keeper:
    """Keeps one child alive."""

    def __init__(self, spec: ChildSpec, supervisor: Supervisor) -> None:
        self.spec = spec
        self.process: asyncio.subprocess.Process | None = None
        self.task: asyncio.Task[None] | None = None
        self._supervisor = supervisor
        self._stopping = False

    async def spawn(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *self.spec.argv,
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, **self.spec.environment},
            start_new_session=True,
            preexec_fn=dying_with_parent(),
        )

    async def keep(self, backoff: Backoff) -> None:
        loop = asyncio.get_running_loop()
        delay_s = 0.0
        while True:
            assert self.process is not None
            started = loop.time()
            status = await self.process.wait()
            if self._stopping:
                return
            delay_s = backoff.next_delay_s(delay_s, loop.time() - started)
            log.warning(
                "%s ended with status %s; starting again in %.1f s", self.spec.name, status, delay_s
            )
            await asyncio.sleep(delay_s)
            self._supervisor.restarts += 1
            await self.spawn()

    async def stop(self) -> None:
        self._stopping = True
        process, task = self.process, self.task
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), self.spec.stop_timeout_s)
            except TimeoutError:
                log.warning("%s did not end in time; killing it", self.spec.name)
                process.kill()
                await process.wait()
        if task is not None:
            # It may be in its back-off, with nothing to wait for.
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
