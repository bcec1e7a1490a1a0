"""The follower core against literal inputs, and against a seeded wire that does its worst."""

import random
from collections import deque

import pytest

from coordinator.follower import (
    MAX_BUFFERED,
    Deliver,
    Follower,
    FollowerOutput,
    LedgerEvent,
    LedgerPage,
    Recover,
    ResyncNeeded,
    position_key,
)
from coordinator.ids import START, EventId, RoomName

ROOM = RoomName("demo")


def at(ms: int, seq: int) -> EventId:
    return EventId(f"{ms}-{seq}")


def event(seq: int, *, prev: EventId | None = None, ms: int = 1000) -> LedgerEvent:
    """Event *seq* of a history in which all happens in one millisecond."""
    before = prev if prev is not None else (at(ms, seq - 1) if seq > 1 else START)
    return LedgerEvent(at(ms, seq), before, "e", b"%d" % seq)


def page(*events: LedgerEvent, head: EventId | None = None, more: bool = False) -> LedgerPage:
    last = head if head is not None else (events[-1].id if events else START)
    return LedgerPage("e", last, events, more)


def delivered(outputs: list[FollowerOutput]) -> list[bytes]:
    return [output.event.body for output in outputs if isinstance(output, Deliver)]


def live_follower(seq: int = 3, *, ms: int = 1000) -> Follower:
    """A follower in step with a ledger whose head is event *seq*."""
    follower = Follower(ROOM, at(ms, seq))
    assert follower.subscribed() == [Recover(at(ms, seq))]
    assert follower.recovered(page(head=at(ms, seq))) == []
    assert follower.live
    return follower


def test_events_in_chain_are_delivered() -> None:
    follower = live_follower(3)
    assert delivered(follower.take(event(4))) == [b"4"]
    assert delivered(follower.take(event(5))) == [b"5"]


def test_without_a_position_it_follows_from_the_head() -> None:
    follower = Follower(ROOM, None)
    assert follower.subscribed() == [Recover(None)]
    assert follower.recovered(page(head=at(1000, 3))) == []
    assert delivered(follower.take(event(4))) == [b"4"]


def test_what_was_missed_before_the_confirmation_is_replayed() -> None:
    follower = Follower(ROOM, at(1000, 1))
    follower.subscribed()
    assert delivered(follower.recovered(page(event(2), event(3)))) == [b"2", b"3"]


def test_a_gap_is_recovered_and_the_live_event_comes_after_what_was_missed() -> None:
    follower = live_follower(3)
    assert follower.take(event(6)) == [Recover(at(1000, 3))]
    assert delivered(follower.recovered(page(event(4), event(5), event(6)))) == [
        b"4",
        b"5",
        b"6",
    ]
    assert delivered(follower.take(event(7))) == [b"7"]


def test_events_that_come_while_recovering_wait_their_turn() -> None:
    follower = live_follower(3)
    follower.take(event(5))
    assert follower.take(event(6)) == []
    assert delivered(follower.recovered(page(event(4), event(5)))) == [b"4", b"5", b"6"]


def test_a_second_copy_is_dropped() -> None:
    follower = live_follower(3)
    follower.take(event(4))
    follower.take(event(5))
    assert follower.take(event(5)) == []
    assert follower.take(event(4)) == []
    assert follower.live


def test_a_full_page_is_read_on() -> None:
    follower = live_follower(1)
    follower.take(event(4))
    outputs = follower.recovered(page(event(2), head=at(1000, 4), more=True))
    assert delivered(outputs) == [b"2"]
    assert outputs[-1] == Recover(at(1000, 2))
    assert delivered(follower.recovered(page(event(3), event(4)))) == [b"3", b"4"]


def test_a_confirmation_during_a_recovery_asks_once_more() -> None:
    """The read that was under way may be older than the confirmation."""
    follower = live_follower(3)
    follower.take(event(5))
    assert follower.subscribed() == []
    outputs = follower.recovered(page(event(4), event(5)))
    assert outputs[-1] == Recover(at(1000, 5))
    assert not follower.live
    assert delivered(follower.recovered(page(event(6)))) == [b"6"]
    assert follower.live


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (page(), "empty"),
        (page(head=at(900, 2)), "rollback"),
        (page(event(9)), "trimmed"),
        (page(head=at(1000, 9)), "trimmed"),
        (page(event(6, prev=at(900, 5), ms=2000)), "fork"),
        (page(event(5, prev=at(900, 4), ms=2000)), "fork"),
        (LedgerPage("other", at(1000, 5), ()), "fork"),
    ],
)
def test_what_the_ledger_cannot_give_is_told(answer: LedgerPage, reason: str) -> None:
    follower = live_follower(4)
    follower.take(event(5))
    follower.subscribed()
    outputs = follower.recovered(answer)
    assert outputs == [ResyncNeeded(ROOM, reason, answer.head)]  # type: ignore[arg-type]
    assert follower.last == answer.head
    assert follower.live


def test_reused_numbers_after_a_rollback_are_no_silence() -> None:
    """Who checks numbers alone drops these: 5 was seen before, with other content."""
    follower = live_follower(3)
    for seq in (4, 5, 6):
        follower.take(event(seq))
    again = event(5, prev=at(1000, 4), ms=2000)
    assert follower.take(again) == [Recover(at(1000, 6))]
    outputs = follower.recovered(page(again))
    assert outputs == [ResyncNeeded(ROOM, "fork", again.id)]
    assert delivered(follower.take(event(6, prev=again.id, ms=2000))) == [b"6"]


def test_what_waited_from_a_lost_branch_is_dropped_after_a_resync() -> None:
    """Without this the follower would recover from its own buffer for ever."""
    follower = live_follower(3)
    follower.take(event(5))
    outputs = follower.recovered(page(head=at(2000, 3)))
    assert [type(output) for output in outputs] == [ResyncNeeded]
    assert follower.live
    assert follower.counters["drained"] == 1


def test_a_stray_message_costs_one_read_and_is_dropped() -> None:
    follower = live_follower(3)
    assert follower.take(event(99)) == [Recover(at(1000, 3))]
    assert follower.recovered(page(head=at(1000, 3))) == []
    assert follower.live
    assert follower.counters["stray"] == 1
    assert delivered(follower.take(event(4))) == [b"4"]


def test_a_lost_tail_is_found_by_comparing_heads() -> None:
    follower = live_follower(3)
    assert follower.head(at(1000, 3), "e", at(1000, 3)) == []
    assert follower.head(at(1000, 4), "e", at(1000, 3)) == [Recover(at(1000, 3))]
    assert delivered(follower.recovered(page(event(4)))) == [b"4"]


def test_a_head_that_was_asked_before_an_event_came_is_ignored() -> None:
    follower = live_follower(3)
    follower.take(event(4))
    assert follower.head(at(1000, 3), "e", at(1000, 3)) == []


def test_another_epoch_with_the_same_head_is_found() -> None:
    follower = live_follower(3)
    follower.take(event(4))
    assert follower.head(at(1000, 4), "other", at(1000, 4)) == [Recover(at(1000, 4))]


def test_the_buffer_is_bounded_and_what_it_dropped_is_read_again() -> None:
    follower = live_follower(1)
    count = MAX_BUFFERED + 10
    for seq in range(3, count + 1):
        follower.take(event(seq))
    assert follower.counters["buffer_overflow"] == 1
    outputs = follower.recovered(page(event(2), event(3)))
    assert outputs[-1] == Recover(at(1000, 3))
    rest = [event(seq) for seq in range(4, count + 1)]
    assert len(delivered(follower.recovered(page(*rest)))) == len(rest)
    assert follower.live


@pytest.mark.parametrize(
    "first", [1, 8, 9, 98, 99, 999, 65534, 65535, 2**31 - 1, 2**32 - 1, 2**53 - 3]
)
def test_positions_are_compared_as_numbers_wherever_they_begin(first: int) -> None:
    ms = 9_999_999_999_999 if first == 9 else 1000
    follower = live_follower(first, ms=ms)
    follower.take(event(first + 3, ms=ms))
    follower.take(event(first + 4, ms=ms))
    outputs = follower.recovered(
        page(event(first + 1, ms=ms), event(first + 2, ms=ms), event(first + 3, ms=ms))
    )
    assert delivered(outputs) == [b"%d" % (first + n) for n in (1, 2, 3, 4)]
    assert position_key(at(ms, first)) < position_key(at(ms + 1, 1))


class Ledger:
    """What Redis does, as far as a follower can tell."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now_ms = 1_000_000
        self.epoch = "a"
        self.events: list[LedgerEvent] = []
        self.seq = 0
        self.last = START
        self.written = 0

    def append(self) -> LedgerEvent:
        self.now_ms += self.rng.choice((0, 0, 1, 7))
        self.seq += 1
        self.written += 1
        ms = max(self.now_ms, position_key(self.last)[0])
        new = LedgerEvent(at(ms, self.seq), self.last, self.epoch, b"%d" % self.written)
        self.events.append(new)
        self.last = new.id
        return new

    def trim(self) -> None:
        del self.events[: self.rng.randrange(len(self.events) + 1)]

    def roll_back(self) -> None:
        """An older copy is restored; time has passed meanwhile."""
        keep = self.rng.randrange(len(self.events) + 1)
        dropped = self.events[keep:]
        del self.events[keep:]
        if dropped:
            self.last, self.seq = dropped[0].prev, position_key(dropped[0].id)[1] - 1
        self.now_ms += 5

    def lose_all(self) -> None:
        self.events.clear()
        self.last, self.seq = START, 0
        self.epoch += "x"
        self.now_ms += 5

    def read(self, wanted: Recover) -> LedgerPage:
        if wanted.after is None:
            return LedgerPage(self.epoch if self.seq else "", self.last)
        after = position_key(wanted.after)
        found = [event for event in self.events if position_key(event.id) > after][:4]
        epoch = self.epoch if self.last != START else ""
        return LedgerPage(epoch, self.last, tuple(found), more=len(found) == 4)


class Run:
    """One follower on one bad wire."""

    def __init__(self, seed: int, position: EventId | None) -> None:
        self.rng = random.Random(seed)
        self.ledger = Ledger(self.rng)
        self.follower = Follower(ROOM, position)
        self.wire: deque[LedgerEvent] = deque()
        self.asked: deque[Recover] = deque()
        self.pages: deque[LedgerPage] = deque()
        self.out: list[Deliver | ResyncNeeded] = []
        self.subscribed = False

    def carry_out(self, outputs: list[FollowerOutput]) -> None:
        for output in outputs:
            if isinstance(output, Recover):
                self.asked.append(output)
            else:
                self.out.append(output)

    def say(self, event: LedgerEvent) -> None:
        if self.subscribed:
            self.wire.append(event)

    def append(self) -> None:
        self.say(self.ledger.append())

    def confirm(self) -> None:
        self.subscribed = True
        self.carry_out(self.follower.subscribed())

    def hear(self) -> None:
        if self.wire:
            self.carry_out(self.follower.take(self.wire.popleft()))

    def read(self) -> None:
        if self.asked:
            self.pages.append(self.ledger.read(self.asked.popleft()))

    def answer(self) -> None:
        if self.pages:
            self.carry_out(self.follower.recovered(self.pages.popleft()))

    def damage(self) -> None:
        """Lose, double, hold back or forge one message, or break the connection."""
        kind = self.rng.randrange(5)
        if kind == 0 and self.wire:
            del self.wire[self.rng.randrange(len(self.wire))]
        elif kind == 1 and self.wire:
            self.wire.append(self.rng.choice(self.wire))
        elif kind == 2 and self.wire:
            self.wire.rotate(1)
        elif kind == 3:
            self.wire.clear()
            self.subscribed = False
        else:
            forged = at(self.ledger.now_ms + 1000, self.ledger.seq + 50)
            self.wire.append(LedgerEvent(forged, at(5, 5), "z", b"forged"))

    def settle(self) -> None:
        """The wire is good again: confirm, and compare heads until all is quiet."""
        self.confirm()
        for _ in range(10_000):
            if self.wire or self.asked or self.pages:
                self.read()
                self.answer()
                self.hear()
            else:
                asked = self.follower.last
                self.carry_out(self.follower.head(self.ledger.last, self.ledger.epoch, asked))
                if not self.asked:
                    return
        raise AssertionError("the follower never came to rest")


@pytest.mark.parametrize("batch", range(10))
def test_every_event_once_in_order_whatever_the_wire_does(batch: int) -> None:
    for seed in range(batch * 40, batch * 40 + 40):
        run = Run(seed, START)
        for _ in range(200):
            step = run.rng.choices(
                (
                    run.append,
                    run.hear,
                    run.read,
                    run.answer,
                    run.confirm,
                    run.damage,
                ),
                (6, 6, 3, 3, 1, 2),
            )[0]
            step()
        run.settle()
        bodies = delivered(list(run.out))
        assert not any(isinstance(output, ResyncNeeded) for output in run.out), f"seed {seed}"
        assert bodies == [event.body for event in run.ledger.events], f"seed {seed}"


@pytest.mark.parametrize("batch", range(10))
def test_whatever_the_ledger_loses_is_told(batch: int) -> None:
    """Between two resyncs the events form one chain; what the ledger holds at the end was either
    delivered or lies before a resync's position."""
    for seed in range(batch * 40, batch * 40 + 40):
        run = Run(seed, START)
        for _ in range(200):
            step = run.rng.choices(
                (
                    run.append,
                    run.hear,
                    run.read,
                    run.answer,
                    run.confirm,
                    run.damage,
                    run.ledger.trim,
                    run.ledger.roll_back,
                    run.ledger.lose_all,
                ),
                (60, 60, 30, 30, 10, 20, 2, 3, 1),
            )[0]
            step()
        run.settle()
        position = START
        since: set[bytes] = set()
        for output in run.out:
            if isinstance(output, ResyncNeeded):
                position = output.position
                since.clear()
            else:
                assert output.event.prev == position, f"seed {seed}: a silent gap"
                position = output.event.id
                since.add(output.event.body)
        assert position == run.ledger.last, f"seed {seed}: not at the head"
        resyncs = [output for output in run.out if isinstance(output, ResyncNeeded)]
        covered = position_key(resyncs[-1].position) if resyncs else (0, 0)
        for event in run.ledger.events:
            if position_key(event.id) > covered:
                assert event.body in since, f"seed {seed}: {event.id} was lost in silence"
