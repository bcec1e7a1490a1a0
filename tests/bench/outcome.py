"""What a measurement is told and what it found: the words between the measuring process and us."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from tests.bench.accounting import Usage
from tests.bench.engine import Lateness
from tests.bench.servers import Target


class Conditions(Struct, frozen=True, kw_only=True):
    """All that a measuring process is told."""

    target: Target
    shape: str
    srtp: str = "gcm128"
    bursts: bool = False
    packets_per_s: float = 200.0
    payload_bytes: int = 1100
    frames_per_s: float = 25.0
    seconds: float = 10.0
    settle_s: float = 1.0
    drain_s: float = 0.7
    sampled: int = 3
    """Connections whose packets are decrypted afterwards, for latency."""
    joins_at_once: int = 4
    join_timeout_s: float = 20.0
    server_cpus: tuple[int, ...] = ()
    generator_cpus: tuple[int, ...] = ()
    awake: bool = False
    """Keep the cores busy at idle priority, so that a hypervisor does not take them away."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What one measurement found. Microseconds are per forwarded packet."""

    target: str
    shape: str
    pacing: str
    srtp: str
    awake: bool
    connections: int
    sent: int
    expected: int
    """Sent times those who should receive it."""
    forwarded: int
    loss_pct: float
    worst_loss_pct: float
    """Of the connection that lost most."""
    cpu_us: float
    cpu_user_us: float
    cpu_system_us: float
    media_cpu_us: float | None
    """The media nodes alone; None where they cannot be told apart."""
    server_cpu_pct: float
    """Of one core."""
    latency_p50_us: float | None
    latency_p99_us: float | None
    latency_samples: int
    first_media_p50_ms: float
    first_media_p95_ms: float
    join_cpu_ms: float
    """The server's CPU for one join: signaling, ICE, DTLS."""
    rss_mb: float
    pss_mb: float
    """Shared pages divided among those who share them."""
    media_rss_mb: float | None
    rss_idle_mb: float
    bare_hot_us: float | None
    """The bare loop's sending half, back to back; of the bare target only."""
    server_drops: int
    """Datagrams that found the server's socket buffers full."""
    generator_drops: int
    late_p99_us: int
    """Packets left the generator at most this late."""
    generator_cpu_pct: float
    other_cpu_pct: float
    """What neither server nor generator used, of one core: a busy neighbour costs 10-20 %."""
    notes: tuple[str, ...] = ()


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest rank (the smallest value with at least *percent* of all at or below it)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Instant:
    """What everybody had used and dropped until one moment."""

    at_s: float
    server: Usage
    media: Usage
    generator_s: float
    busy_s: float
    """All processors together, without what only kept them awake."""
    server_drops: int
    generator_drops: int


@dataclass(frozen=True, slots=True)
class Found:
    """What the window held beside its two instants."""

    delivered: Sequence[tuple[int, int]]
    """Per connection: packets that should have come, packets that came."""
    sent: int
    sent_in_s: float
    latencies_us: Sequence[float]
    first_media_ms: Sequence[float]
    joins_cpu_s: float
    idle: Usage
    bare_hot_us: float | None
    late: Lateness
    notes: Sequence[str]


def summarize(conditions: Conditions, before: Instant, after: Instant, found: Found) -> Outcome:
    """RuntimeError when nothing arrived: there is no cost per packet then."""
    expected = sum(e for e, _ in found.delivered)
    forwarded = sum(r for _, r in found.delivered)
    if not forwarded:
        raise RuntimeError("nothing arrived in the window")
    notes = list(found.notes)
    if before.server.processes != after.server.processes:
        notes.append("processes of the server came or went in the window")
    wall_s = after.at_s - before.at_s
    server_s = after.server.cpu_s - before.server.cpu_s
    user_s = after.server.user_ticks_s - before.server.user_ticks_s
    system_s = after.server.system_ticks_s - before.server.system_ticks_s
    user_share = user_s / (user_s + system_s) if user_s + system_s else 0.0
    generator_s = after.generator_s - before.generator_s
    other_s = after.busy_s - before.busy_s - generator_s - server_s

    def each_us(seconds: float) -> float:
        return round(1e6 * seconds / forwarded, 3)

    def latency_us(percent: float) -> float | None:
        values = found.latencies_us
        return round(percentile(values, percent), 1) if values else None

    media_s = after.media.cpu_s - before.media.cpu_s
    return Outcome(
        target=conditions.target.name,
        shape=conditions.shape,
        pacing="bursts" if conditions.bursts else "even",
        srtp=conditions.srtp,
        awake=conditions.awake,
        connections=len(found.delivered),
        sent=found.sent,
        expected=expected,
        forwarded=forwarded,
        loss_pct=round(100 * (1 - forwarded / expected), 4),
        worst_loss_pct=round(100 * (1 - min(r / e for e, r in found.delivered)), 4),
        cpu_us=each_us(server_s),
        cpu_user_us=each_us(server_s * user_share),
        cpu_system_us=each_us(server_s * (1 - user_share)),
        media_cpu_us=each_us(media_s) if after.media.processes else None,
        server_cpu_pct=round(100 * server_s / found.sent_in_s, 1),
        latency_p50_us=latency_us(50),
        latency_p99_us=latency_us(99),
        latency_samples=len(found.latencies_us),
        first_media_p50_ms=round(percentile(found.first_media_ms, 50), 1),
        first_media_p95_ms=round(percentile(found.first_media_ms, 95), 1),
        join_cpu_ms=round(1e3 * found.joins_cpu_s / len(found.delivered), 2),
        rss_mb=round(after.server.rss_bytes / 2**20, 1),
        pss_mb=round(after.server.pss_bytes / 2**20, 1),
        media_rss_mb=round(after.media.rss_bytes / 2**20, 1) if after.media.processes else None,
        rss_idle_mb=round(found.idle.rss_bytes / 2**20, 1),
        bare_hot_us=round(found.bare_hot_us, 3) if found.bare_hot_us is not None else None,
        server_drops=after.server_drops - before.server_drops,
        generator_drops=after.generator_drops - before.generator_drops,
        late_p99_us=found.late.p99_us_at_most,
        generator_cpu_pct=round(100 * generator_s / wall_s, 1),
        other_cpu_pct=round(100 * other_s / wall_s, 1),
        notes=tuple(notes),
    )
