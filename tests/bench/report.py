"""Outcomes as a table, and held against the targets."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.bench.outcome import Outcome

BARE = "bare loop"
TARGETS_US = {"1x30": 4.5, "1x100": 3.5, "room6": 11.0, "10xroom6": 5.0}
"""CPU per forwarded packet, all processes of the server, AES-128-GCM, even pacing, no loss."""


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    value: Callable[[Outcome], float | None]
    digits: int = 0


_COLUMNS = (
    _Column("us/packet", lambda o: o.cpu_us, 2),
    _Column("user", lambda o: o.cpu_user_us, 2),
    _Column("sys", lambda o: o.cpu_system_us, 2),
    _Column("media only", lambda o: o.media_cpu_us, 2),
    _Column("loss %", lambda o: o.loss_pct, 3),
    _Column("latency p50 us", lambda o: o.latency_p50_us),
    _Column("p99", lambda o: o.latency_p99_us),
    _Column("first media p50 ms", lambda o: o.first_media_p50_ms),
    _Column("p95", lambda o: o.first_media_p95_ms),
    _Column("join CPU ms", lambda o: o.join_cpu_ms, 1),
    _Column("RSS MB", lambda o: o.rss_mb),
    _Column("server CPU %", lambda o: o.server_cpu_pct),
    _Column("generator CPU %", lambda o: o.generator_cpu_pct),
    _Column("other CPU %", lambda o: o.other_cpu_pct),
)

Group = tuple[str, str, str]
"""Shape, pacing, target."""


def groups(outcomes: Iterable[Outcome]) -> dict[Group, list[Outcome]]:
    """Repetitions together, in order of first appearance."""
    found: dict[Group, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.shape, outcome.pacing, outcome.target), []).append(outcome)
    return found


def _cell(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    low, middle, high = (
        f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}-{high})"


def table(outcomes: Iterable[Outcome]) -> str:
    """Markdown: one line for each group, the median and the range of its repetitions."""
    titles = ["shape", "pacing", "server", "runs", *(column.title for column in _COLUMNS)]
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    for (shape, pacing, target), runs in groups(outcomes).items():
        cells = [shape, pacing, target, str(len(runs))]
        for column in _COLUMNS:
            values = [value for run in runs if (value := column.value(run)) is not None]
            cells.append(_cell(values, column.digits))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target, and whether it was reached."""

    shape: str
    server: str
    target_us: float
    cpu_us: float
    loss_pct: float
    bare_us: float | None
    bare_hot_us: float | None
    core: float
    """How many times dearer a packet is on this core than on the one the target is for."""

    @property
    def here_us(self) -> float:
        """The target for this core; never less than the target."""
        return self.target_us * max(1.0, self.core)

    @property
    def holds(self) -> bool:
        return self.cpu_us <= self.here_us and self.loss_pct <= 0

    def __str__(self) -> str:
        text = (
            f"{'holds ' if self.holds else 'MISSED'} {self.shape:>8} {self.server}: "
            f"{self.cpu_us:.2f} us/packet (target {self.target_us}, on this core "
            f"{self.here_us:.1f}), loss {self.loss_pct:.3f} %"
        )
        if self.bare_us is not None:
            ratio = self.cpu_us / self.bare_us
            text += f"; bare loop under the same load {self.bare_us:.2f}, so x{ratio:.2f}"
        if self.bare_hot_us is not None:
            text += f"; its sending half back to back {self.bare_hot_us:.2f}"
        return text


def verdicts(outcomes: Iterable[Outcome], *, core: float) -> list[Verdict]:
    """Medians of the evenly paced repetitions against the targets; any loss in any run counts."""
    found = groups(outcomes)
    judged = []
    for (shape, pacing, server), runs in found.items():
        if shape not in TARGETS_US or pacing != "even" or server == BARE:
            continue
        bare = found.get((shape, pacing, BARE), [])
        hot = [run.bare_hot_us for run in bare if run.bare_hot_us is not None]
        judged.append(
            Verdict(
                shape=shape,
                server=server,
                target_us=TARGETS_US[shape],
                cpu_us=statistics.median(run.cpu_us for run in runs),
                loss_pct=max(run.loss_pct for run in runs),
                bare_us=statistics.median(run.cpu_us for run in bare) if bare else None,
                bare_hot_us=statistics.median(hot) if hot else None,
                core=core,
            )
        )
    return judged


def line(outcome: Outcome) -> str:
    """One run in one line, for who watches."""
    latency = (
        f"latency p50 {outcome.latency_p50_us:.0f} p99 {outcome.latency_p99_us:.0f} us"
        if outcome.latency_p50_us is not None and outcome.latency_p99_us is not None
        else "latency unknown"
    )
    hot = f", back to back {outcome.bare_hot_us:.2f}" if outcome.bare_hot_us is not None else ""
    return (
        f"{outcome.target:<10} {outcome.shape:<9} {outcome.pacing:<6} "
        f"{outcome.cpu_us:6.2f} us/packet (user {outcome.cpu_user_us:.2f}, "
        f"sys {outcome.cpu_system_us:.2f}{hot}), loss {outcome.loss_pct:.3f} %, {latency}, "
        f"first media {outcome.first_media_p50_ms:.0f} ms, RSS {outcome.rss_mb:.0f} MB | "
        f"server {outcome.server_cpu_pct:.0f} %, generator {outcome.generator_cpu_pct:.0f} %, "
        f"other {outcome.other_cpu_pct:.0f} %, late p99 < {outcome.late_p99_us} us, "
        f"drops {outcome.server_drops}+{outcome.generator_drops}; {'; '.join(outcome.notes)}"
    )
