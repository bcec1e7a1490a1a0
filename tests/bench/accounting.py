"""What processes cost: CPU, memory and dropped datagrams, read from /proc."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")
_GONE = (OSError, ValueError, IndexError)
"""A process may end while it is read."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over some processes since each began."""

    cpu_s: float = 0.0
    """The scheduler's nanoseconds where it keeps them, else the ticks."""
    user_ticks_s: float = 0.0
    """In steps of 10 ms: good for the division between user and system only."""
    system_ticks_s: float = 0.0
    rss_bytes: int = 0
    pss_bytes: int = 0
    """Shared pages divided among those who share them."""
    processes: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.cpu_s + other.cpu_s,
            self.user_ticks_s + other.user_ticks_s,
            self.system_ticks_s + other.system_ticks_s,
            self.rss_bytes + other.rss_bytes,
            self.pss_bytes + other.pss_bytes,
            self.processes + other.processes,
        )


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/pid/stat from the third on (the second may hold anything)."""
    text = (PROC / str(pid) / "stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def command_line(pid: int) -> str:
    """Its arguments joined by spaces; empty when it is gone."""
    with suppress(*_GONE):
        raw = (PROC / str(pid) / "cmdline").read_bytes()
        return raw.replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def _exact_cpu_s(pid: int) -> float:
    """The scheduler's own sum over live threads; 0 where the kernel does not keep it."""
    total_ns = 0
    for thread in (PROC / str(pid) / "task").iterdir():
        with suppress(*_GONE):
            total_ns += int((thread / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def usage_of(pid: int) -> Usage:
    """One process; nothing when it is gone."""
    with suppress(*_GONE):
        fields = _stat_fields(pid)
        user_s, system_s = int(fields[11]) / TICKS_PER_S, int(fields[12]) / TICKS_PER_S
        ticks_s, exact_s = user_s + system_s, _exact_cpu_s(pid)
        # Threads that ended are in the ticks alone: then those are nearer to the truth.
        cpu_s = exact_s if abs(exact_s - ticks_s) <= 2.5 / TICKS_PER_S else ticks_s
        rollup = (PROC / str(pid) / "smaps_rollup").read_text()
        pss = re.search(r"^Pss:\s+(\d+)", rollup, re.M)
        pss_bytes = int(pss[1]) * 1024 if pss else 0
        return Usage(cpu_s, user_s, system_s, int(fields[21]) * PAGE_BYTES, pss_bytes, 1)
    return Usage()


class ProcessTree:
    """Processes, their descendants, and those whose command line matches."""

    def __init__(self, roots: Iterable[int], match: str = "") -> None:
        self._roots = set(roots)
        self._match = re.compile(match) if match else None

    def pids(self) -> list[int]:
        parents: dict[int, int] = {}
        for entry in PROC.iterdir():
            if entry.name.isdigit():
                with suppress(*_GONE):
                    parents[int(entry.name)] = int(_stat_fields(int(entry.name))[1])
        ours, pid = set(), os.getpid()
        while pid in parents:  # never count the generator, nor who started it
            ours.add(pid)
            pid = parents[pid]
        found = {pid for pid in self._roots if pid in parents}
        if self._match is not None:
            found |= {p for p in parents if self._match.search(command_line(p))} - ours
        grew = True
        while grew:
            more = {p for p, parent in parents.items() if parent in found} - found - ours
            found |= more
            grew = bool(more)
        return sorted(found)


def total(pids: Iterable[int]) -> Usage:
    return sum((usage_of(pid) for pid in pids), Usage())


def socket_inodes(pids: Iterable[int]) -> set[int]:
    """The sockets these processes hold."""
    inodes = set()
    for pid in pids:
        with suppress(*_GONE):
            for descriptor in (PROC / str(pid) / "fd").iterdir():
                with suppress(*_GONE):
                    link = str(descriptor.readlink())
                    if link.startswith("socket:["):
                        inodes.add(int(link[8:-1]))
    return inodes


def udp_drops() -> dict[int, int]:
    """Datagrams dropped at full receive buffers, by socket inode."""
    drops = {}
    for name in ("udp", "udp6"):
        with suppress(OSError):
            for line in (PROC / "net" / name).read_text().splitlines()[1:]:
                columns = line.split()
                drops[int(columns[9])] = int(columns[12])
    return drops


def machine_busy_s() -> float:
    """CPU time that all processors together spent not idle since boot."""
    fields = [int(x) for x in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS_PER_S
