"""``python -m tests.bench``: measure, print a table, judge. See README.md beside this file."""

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from tests.bench.endpoint import SRTP_PROFILES
from tests.bench.measure import Measurement
from tests.bench.outcome import Conditions, Outcome
from tests.bench.report import BARE, line, table, verdicts
from tests.bench.servers import Target
from tests.bench.shapes import parse_shape
from tests.bench.yardstick import DESIGN_US, yardstick_us
from tests.fakes.running_server import ROOT

SHAPES = "1x5,1x30,1x100,room6,10xroom6"
RUN_LIMIT_S = 180.0
END_LIMIT_S = 60.0
"""A run that is told to stop drains its server first."""


ATTEMPTS = 3
"""Runs until one was undisturbed."""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    p.add_argument("--shapes", default=SHAPES, help=f"comma list (default {SHAPES})")
    p.add_argument("--pacing", default="even", help="even, bursts or even,bursts")
    p.add_argument("--srtp", choices=sorted(SRTP_PROFILES), default="gcm128")
    p.add_argument("--seconds", type=float, default=10.0, help="of the counted window")
    p.add_argument("--repeat", type=int, default=3, help="repetitions, interleaved")
    p.add_argument("--rate", type=float, default=200.0, help="packets/s of each publisher")
    p.add_argument("--payload-bytes", type=int, default=1100)
    p.add_argument("--media-nodes", type=int, default=0, help="of tertulia serve; 0: one per core")
    p.add_argument("--flag", action="append", default=[], help="one more word for tertulia serve")
    p.add_argument("--no-bare", action="store_true", help="do not measure the bare loop beside")
    p.add_argument("--only-bare", action="store_true", help="measure nothing but the bare loop")
    p.add_argument("--no-gso", action="store_true", help="let the bare loop send without GSO")
    p.add_argument("--whip", default="", help="another server: {room} and {publisher} are replaced")
    p.add_argument("--whep", default="", help="... and {viewer}")
    p.add_argument("--token", default="", help="bearer token for --whip and --whep")
    p.add_argument("--server-pid", type=int, action="append", default=[], help="of that server")
    p.add_argument("--server-match", default="", help="regular expression on its command lines")
    p.add_argument("--name", default="", help="of the measured server in the table")
    p.add_argument("--server-cpus", type=_numbers, default=(), help="pin it, e.g. 0")
    p.add_argument("--generator-cpus", type=_numbers, default=(), help="pin the generator, e.g. 1")
    p.add_argument("--awake", action="store_true", help="keep the cores from being halted")
    p.add_argument(
        "--max-other",
        type=float,
        default=0.0,
        help="repeat a run (twice at most) in which others used more %% of a core than this",
    )
    p.add_argument("--targets", action="store_true", help="judge; exit 1 when one is missed")
    p.add_argument("--json", type=Path, help="append each outcome to this file, one line each")
    p.add_argument("--table", type=Path, help="print the table of such a file and exit")
    p.add_argument("--yardstick", action="store_true", help="print the core's figure and exit")
    p.add_argument("--one", help=argparse.SUPPRESS)  # conditions as JSON: measure once
    return p


def targets(args: argparse.Namespace) -> list[Target]:
    """The servers to measure in turn."""
    found = []
    if args.whip or args.whep:
        found.append(
            Target(
                kind="urls",
                name=args.name or "server",
                whip=args.whip,
                whep=args.whep,
                token=args.token,
                pids=tuple(args.server_pid),
                match=args.server_match,
            )
        )
    else:
        found.append(
            Target(
                kind="tertulia",
                name=args.name or "tertulia",
                flags=tuple(args.flag),
                media_nodes=args.media_nodes,
            )
        )
    bare = Target(kind="bare", name=BARE, gso=not args.no_gso)
    if args.only_bare:
        return [bare]
    return found if args.no_bare else [*found, bare]


def all_conditions(args: argparse.Namespace) -> Iterator[Conditions]:
    """Repetition by repetition, so that a drift of the machine meets all alike."""
    for _ in range(args.repeat):
        for shape in args.shapes.split(","):
            parse_shape(shape)
            for pacing in args.pacing.split(","):
                if pacing not in ("even", "bursts"):
                    raise ValueError(f"{pacing!r} is no pacing: say even or bursts")
                for target in targets(args):
                    yield Conditions(
                        target=target,
                        shape=shape,
                        srtp=args.srtp,
                        bursts=pacing == "bursts",
                        packets_per_s=args.rate,
                        payload_bytes=args.payload_bytes,
                        seconds=args.seconds,
                        server_cpus=args.server_cpus,
                        generator_cpus=args.generator_cpus,
                        awake=args.awake,
                    )


def measure_apart(conditions: Conditions) -> Outcome:
    """In a process of its own: no engine, socket or heap is left from the run before.

    RuntimeError with what it printed when it fails or takes too long.
    """
    words = ["-m", "tests.bench", "--one", msgspec.json.encode(conditions).decode()]
    child = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    try:
        out, err = child.communicate(timeout=RUN_LIMIT_S + conditions.seconds)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=END_LIMIT_S)
    except KeyboardInterrupt:  # the terminal told the child as well
        child.communicate(timeout=END_LIMIT_S)
        raise
    if child.returncode != 0:
        raise RuntimeError(err.decode(errors="replace").strip()[-3000:])
    return msgspec.json.decode(out.splitlines()[-1], type=Outcome)


def yardstick_apart() -> float:
    """In a process of its own, as every measurement."""
    words = [sys.executable, "-m", "tests.bench", "--yardstick"]
    done = subprocess.run(words, stdout=subprocess.PIPE, cwd=ROOT, check=True, timeout=RUN_LIMIT_S)
    return float(done.stdout)


def measure_undisturbed(conditions: Conditions, max_other_pct: float) -> Outcome:
    """The first run that others left alone; the last of a few when none was (0: any will do)."""
    for _ in range(ATTEMPTS):
        outcome = measure_apart(conditions)
        if not max_other_pct or outcome.other_cpu_pct <= max_other_pct:
            break
    return outcome


def measure_here(text: str) -> int:
    conditions = msgspec.json.decode(text, type=Conditions)
    outcome = asyncio.run(Measurement(conditions).run())
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    return 0


def measure_all(args: argparse.Namespace) -> tuple[list[Outcome], int]:
    """The outcomes, and how many runs failed."""
    outcomes, failed = [], 0
    with contextlib.ExitStack() as stack:
        record = stack.enter_context(args.json.open("ab")) if args.json else None
        for conditions in all_conditions(args):
            try:
                outcome = measure_undisturbed(conditions, args.max_other)
            except RuntimeError as error:
                failed += 1
                print(f"{conditions.target.name} {conditions.shape} FAILED\n{error}", flush=True)
                continue
            outcomes.append(outcome)
            print(line(outcome), flush=True)
            if record is not None:
                record.write(msgspec.json.encode(outcome) + b"\n")
                record.flush()
    return outcomes, failed


def main(argv: Sequence[str] | None = None) -> int:
    p = parser()
    args = p.parse_args(argv)
    if args.one:
        return measure_here(args.one)
    if args.yardstick:
        print(asyncio.run(yardstick_us()))
        return 0
    core_us: list[float] = []
    if args.table:
        lines = args.table.read_bytes().splitlines()
        outcomes, failed = [msgspec.json.decode(x, type=Outcome) for x in lines], 0
    else:
        if bool(args.whip) != bool(args.whep):
            p.error("--whip and --whep go together")
        try:
            list(all_conditions(args))
        except ValueError as error:
            p.error(str(error))
        print(
            f"{os.cpu_count()} cores; {args.srtp}; {args.payload_bytes}-byte payloads", flush=True
        )
        core_us.append(yardstick_apart())
        outcomes, failed = measure_all(args)
        core_us.append(yardstick_apart())
    print("\n" + table(outcomes) + "\n")
    core = statistics.mean(core_us) / DESIGN_US if core_us else 1.0
    judged = verdicts(outcomes, core=core)
    if judged and core_us:
        print(f"this core: {core:.2f} times the design's ({core_us} us, there {DESIGN_US})")
    for verdict in judged:
        print(verdict)
    missed = args.targets and not all(verdict.holds for verdict in judged)
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
