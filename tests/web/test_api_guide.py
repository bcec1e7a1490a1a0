"""The examples of web/API.md, run as they stand."""

import asyncio
import os
import re
import time
from pathlib import Path

import pytest

from coordinator.ids import RoomName
from tests.fakes.web_door import Carrier, Door, JoinAs
from web.access import admin_token

GUIDE = Path(__file__).resolve().parents[2] / "web" / "API.md"
WAIT_S = 20.0


def examples(kind: str) -> list[str]:
    """The commands of all ``sh`` blocks of one kind, one a line."""
    blocks = re.findall(rf"^```sh{kind and ' ' + kind}\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    text = "".join(blocks).replace("\\\n", " ")
    text = re.sub(r"--json\s+", "--json ", text)
    return [line for line in text.splitlines() if line.startswith("curl")]


async def run(door: Door, command: str, *, exit_code: int = 0, **variables: str) -> str:
    environment = {
        **os.environ,
        "SERVER": door.server.url,
        "TOKEN": admin_token(door.config, now=time.time()),
        **variables,
    }
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", command.replace("curl", "curl --fail-with-body --noproxy '*'", 1)),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(WAIT_S):
        output, _ = await process.communicate()
    assert process.returncode == exit_code, f"{command}\n{output.decode()}"
    return output.decode()


@pytest.mark.usefixtures("carrier")
async def test_the_examples_work_in_their_order(door: Door) -> None:
    commands = examples("")
    assert len(commands) >= 14
    outputs = [await run(door, command) for command in commands]
    assert any('"room.created"' in output for output in outputs)


async def test_the_examples_about_a_participant_work(
    door: Door, carrier: Carrier, join_as: JoinAs
) -> None:
    await carrier.publish(RoomName("tea"), await join_as("tea", "ada"), "TR_1")
    for command in examples("participant"):
        await run(door, command, TRACK="TR_1")
    assert (await door.call("GET", "/v1/rooms/tea/participants")).json["participants"] == []


async def test_the_example_that_follows_shows_events(door: Door) -> None:
    await door.call("POST", "/v1/rooms", {"name": "tea"})
    (command,) = examples("follow")
    # 28: curl's own time limit ends what would go on.
    output = await run(door, command, exit_code=28)
    assert "event: room.created\n" in output
