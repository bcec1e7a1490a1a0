"""Work for the outside: in order, patient or not, bounded."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from coordinator.errors import Fenced, InfrastructureError, PeerError
from media.errands import Errands


class Work:
    """Errands that fail as told and remember what was carried out."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.failures: dict[str, list[Exception]] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    def errand(self, name: str, *failures: Exception) -> Any:
        self.failures[name] = list(failures)

        async def run() -> None:
            await self.gate.wait()
            if self.failures[name]:
                raise self.failures[name].pop(0)
            self.done.append(name)

        return run


@pytest.fixture
def work() -> Work:
    return Work()


async def test_errands_keep_their_order_through_failures(work: Work) -> None:
    counters: Counter[str] = Counter()
    errands = Errands("writes", limit=10, patient=True, counters=counters)
    away = InfrastructureError("center_unavailable")
    errands.add(work.errand("a", away, away))
    errands.add(work.errand("b"))
    await errands.settled(5.0)
    assert work.done == ["a", "b"]
    assert counters["writes_failed"] == 2
    await errands.close()


async def test_the_impatient_drop_what_fails(work: Work) -> None:
    counters: Counter[str] = Counter()
    errands = Errands("notices", limit=10, patient=False, counters=counters)
    errands.add(work.errand("a", InfrastructureError("center_unavailable")))
    errands.add(work.errand("b"))
    await errands.settled(5.0)
    assert work.done == ["b"]
    await errands.close()


async def test_what_is_refused_is_over_and_the_next_goes_on(work: Work) -> None:
    counters: Counter[str] = Counter()
    errands = Errands("writes", limit=10, patient=True, counters=counters)
    errands.add(work.errand("a", PeerError("participant_not_found")))
    errands.add(work.errand("b"))
    await errands.settled(5.0)
    assert work.done == ["b"]
    assert counters["writes_refused"] == 1
    await errands.close()


async def test_a_full_queue_drops_its_oldest_and_says_so(work: Work) -> None:
    counters: Counter[str] = Counter()
    overflows: list[int] = []
    errands = Errands(
        "writes",
        limit=3,
        patient=True,
        counters=counters,
        overflowed=lambda: overflows.append(1),
    )
    work.gate.clear()
    for name in "abcde":
        errands.add(work.errand(name))
    work.gate.set()
    await errands.settled(5.0)
    assert work.done == ["c", "d", "e"]
    assert counters["writes_dropped"] == len(overflows) == 2
    await errands.close()


async def test_a_fence_is_told_and_nothing_runs_after_the_end(work: Work) -> None:
    fenced = asyncio.Event()
    errands = Errands("writes", limit=10, patient=True, counters=Counter(), fenced=fenced.set)
    errands.add(work.errand("a", Fenced()))
    await asyncio.wait_for(fenced.wait(), 5)
    work.gate.clear()
    errands.add(work.errand("b"))
    await errands.close()
    errands.add(work.errand("c"))
    await errands.settled(1.0)
    assert work.done == []
