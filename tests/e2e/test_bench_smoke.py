"""The load generator against a whole server: a small shape, for a moment."""

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from tests.bench.outcome import Outcome
from tests.bench.report import BARE
from tests.fakes.running_server import ROOT

SECONDS, RATE, VIEWERS = 2, 100, 2


@pytest.mark.e2e
@pytest.mark.timeout(150)
async def test_counts_what_a_server_forwards_and_what_it_costs(tmp_path: Path) -> None:
    record = tmp_path / "outcomes.jsonl"
    words = [
        *("--shapes", f"1x{VIEWERS}@{RATE}", "--seconds", str(SECONDS), "--repeat", "1"),
        *("--media-nodes", "1", "--json", str(record)),
    ]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench", *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    lines = record.read_bytes().splitlines()
    tertulia, bare = (msgspec.json.decode(line, type=Outcome) for line in lines)
    assert (tertulia.target, bare.target) == ("tertulia", BARE)
    for outcome in (tertulia, bare):
        assert outcome.sent == SECONDS * RATE
        assert outcome.expected == outcome.forwarded == VIEWERS * outcome.sent, outcome
        assert outcome.connections == VIEWERS
        assert outcome.cpu_us == pytest.approx(
            outcome.cpu_user_us + outcome.cpu_system_us, abs=0.01
        )
        # Every sampled packet was decrypted and found in the log of send times.
        assert outcome.latency_samples == outcome.forwarded
        assert outcome.latency_p50_us is not None
        assert outcome.latency_p99_us is not None
        assert 0 < outcome.latency_p50_us <= outcome.latency_p99_us < 1e6 * SECONDS
        assert 0 < outcome.first_media_p50_ms <= outcome.first_media_p95_ms
    # Valkey, web and supervisor are counted, and the media node is told apart.
    assert tertulia.media_cpu_us is not None
    assert 0 < tertulia.media_cpu_us < tertulia.cpu_us
    assert 0 < bare.cpu_us == bare.media_cpu_us
    assert bare.bare_hot_us is not None
    assert 0 < bare.bare_hot_us < bare.cpu_us
    assert f"1x{VIEWERS}@{RATE}" in out.decode().split("\n\n")[1], "no table"
