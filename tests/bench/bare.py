"""The bare loop's process as the generator sees it, and the messages between the two."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from typing import TypeVar

import msgspec
from msgspec import Struct

from coordinator.supervisor import dying_with_parent
from tests.fakes.running_server import ROOT

ANSWER_TIMEOUT_S = 30.0


class AddPublisher(Struct, frozen=True, tag="add_publisher"):
    """Packets from this loopback port are this publisher's."""

    name: str
    key: str
    port: int


class AddSubscriber(Struct, frozen=True, tag="add_subscriber"):
    """This publisher's packets go to this loopback port."""

    publisher: str
    key: str
    port: int


class Hot(Struct, frozen=True, tag="hot"):
    """Send batches of so many packets back to back."""

    seconds: float
    packets: int
    packet_bytes: int
    """RTP header and payload."""
    gso: bool = True


Command = AddPublisher | AddSubscriber | Hot


class Ready(Struct, frozen=True, tag="ready"):
    port: int


class Done(Struct, frozen=True, tag="done"):
    pass


class HotFigure(Struct, frozen=True, tag="hot_figure"):
    packets: int
    user_s: float
    system_s: float

    @property
    def us_per_packet(self) -> float:
        return 1e6 * (self.user_s + self.system_s) / self.packets


AnswerT = TypeVar("AnswerT", Ready, Done, HotFigure)


class BareProcess:
    """Started, told, asked, ended."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self.port = 0

    @classmethod
    async def start(cls, srtp: str, *, gso: bool = True) -> "BareProcess":
        words = ["-m", "tests.bench.bare_loop", srtp, *(["gso"] if gso else [])]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            stdin=PIPE,
            stdout=PIPE,
            cwd=ROOT,
            preexec_fn=dying_with_parent(),
        )
        bare = cls(process)
        bare.port = (await bare._answer(Ready)).port
        return bare

    @property
    def pid(self) -> int:
        return self._process.pid

    async def tell(self, command: AddPublisher | AddSubscriber) -> None:
        await self._exchange(command, Done)

    async def hot(self, command: Hot) -> HotFigure:
        return await self._exchange(command, HotFigure)

    async def _exchange(self, command: Command, kind: type[AnswerT]) -> AnswerT:
        assert self._process.stdin is not None
        async with self._turn:
            self._process.stdin.write(msgspec.json.encode(command) + b"\n")
            return await self._answer(kind)

    async def _answer(self, kind: type[AnswerT]) -> AnswerT:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_TIMEOUT_S)
        if not line:
            raise RuntimeError(f"the bare loop ended instead of saying {kind.__name__}")
        return msgspec.json.decode(line, type=kind)

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # its loop ends at the end of stdin
        await asyncio.wait_for(self._process.wait(), ANSWER_TIMEOUT_S)
