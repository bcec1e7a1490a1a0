"""What tests of the message center are made of: a listener that waits, a media process as the
coordinator sees it, a server to be broken."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from coordinator.center import Center, FollowOutput, StoredEvent
from coordinator.config import CenterConfig
from coordinator.embedded import EmbeddedValkey
from coordinator.ids import RoomName
from coordinator.nodes import NodeLease
from coordinator.requests import Ack, OpenRoom
from coordinator.rooms import JoinResult, Rooms

WAIT_S = 10.0

Connect = Callable[[str], Awaitable[Center]]


class Listener:
    """A sink that remembers, and that tests can wait on."""

    def __init__(self) -> None:
        self.outputs: list[FollowOutput] = []
        self._changed = asyncio.Event()

    def __call__(self, output: FollowOutput) -> None:
        self.outputs.append(output)
        self._changed.set()

    @property
    def events(self) -> list[StoredEvent]:
        return [output for output in self.outputs if isinstance(output, StoredEvent)]

    @property
    def types(self) -> list[str]:
        """Event types, and ``resync <reason>``."""
        return [
            output.envelope.type if isinstance(output, StoredEvent) else f"resync {output.reason}"
            for output in self.outputs
        ]

    async def until(self, done: Callable[["Listener"], bool], what: str) -> None:
        """Wait until *done*; fail saying that *what* was waited for."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not done(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"waited for {what}; heard {self.types[-20:]}") from None

    async def count(self, count: int) -> None:
        await self.until(lambda self: len(self.outputs) >= count, f"{count} outputs")

    async def heard(self, kind: str) -> None:
        await self.until(lambda self: kind in self.types, kind)


class MediaNode:
    """A media process as the coordinator sees it."""

    def __init__(self, center: Center, load: tuple[int, float] = (0, 0.0)) -> None:
        self.center = center
        self.rooms = Rooms(center)
        self.opened: list[RoomName] = []
        self.lost = asyncio.Event()
        self.load = load
        self.lease = NodeLease(
            center, kind="media", load=lambda: self.load, lost=self.lost.set, address="127.0.0.1"
        )
        center.serve({OpenRoom: self._open})

    async def _open(self, request: OpenRoom) -> Ack:
        self.opened.append(request.room)
        return Ack()


StartNode = Callable[..., Awaitable[MediaNode]]
Join = Callable[..., Awaitable[JoinResult]]


async def until(done: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask again and again until *done*; fail saying that *what* was waited for."""
    try:
        async with asyncio.timeout(WAIT_S):
            while not await done():  # noqa: ASYNC110 (another process's state has no event)
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited for {what}") from None


def counted(center: Center, part: str, kind: str) -> float:
    """The counter *kind* of *part*, as the metrics tell it."""
    for family in center.metrics():
        for sample in family.samples:
            if sample.labels.get("part") == part and sample.labels.get("kind") == kind:
                return sample.value
    return 0


class Breakable:
    """A server of one test's own, that can be killed, paused and restored from an older copy."""

    def __init__(self, data_dir: Path, valkey: EmbeddedValkey) -> None:
        self.data_dir = data_dir
        self.valkey = valkey
        self.config = CenterConfig(
            url=valkey.url,
            lease_ttl_s=1.0,
            reap_interval_s=0.1,
            request_timeout_s=2.0,
            head_check_s=0.3,
        )

    async def restart(self) -> None:
        """Start again on what lies in the data directory, at the same address."""
        self.valkey = await EmbeddedValkey.start(self.data_dir)
        assert self.valkey.url == self.config.url
