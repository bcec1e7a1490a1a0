"""The command line's calls, from the program's own door, of a whole web process."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import tertulia
from coordinator.ids import RoomName
from signaling.tokens import verify
from tests.fakes.web_door import KEY, SECRET, Carrier, Door, JoinAs

Ran = tuple[int, str, str]
Run = Callable[..., Awaitable[Ran]]


@pytest.fixture
def run(door: Door, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against the door; the exit code and what it wrote."""
    monkeypatch.delenv("TERTULIA_API_KEY", raising=False)

    async def call(*command: str, key: str = f"{KEY}:{SECRET}") -> Ran:
        argv = [*command, "--server", door.server.url, "--api-key", key]
        code = await asyncio.to_thread(tertulia.main, argv)
        written = capsys.readouterr()
        return code, written.out, written.err

    return call


async def as_json(run: Run, *command: str) -> Any:
    code, out, err = await run(*command, "--json")
    assert code == 0, err
    return json.loads(out)


async def test_an_operator_runs_a_room_from_the_shell(
    run: Run, carrier: Carrier, join_as: JoinAs
) -> None:
    made = await as_json(run, "rooms", "create", "tea", "--max-participants", "5")
    assert (made["name"], made["settings"]["max_participants"]) == ("tea", 5)
    await carrier.publish(RoomName("tea"), await join_as("tea", "ada b"), "TR_1")
    code, out, _ = await run("rooms", "list")
    assert code == 0
    assert out.splitlines()[0].split()[0] == "ROOM"
    assert "tea" in out
    people = await as_json(run, "participants", "list", "tea")
    assert [person["identity"] for person in people] == ["ada b"]
    assert await as_json(run, "participants", "mute", "tea", "ada b") == {"muted": ["TR_1"]}
    assert (await as_json(run, "participants", "get", "tea", "ada b"))["tracks"][0]["sid"] == "TR_1"
    assert (await as_json(run, "broadcasts", "start", "tea"))["state"] == "requested"
    assert (await as_json(run, "broadcasts", "get", "tea"))["state"] == "requested"
    assert (await run("broadcasts", "stop", "tea"))[0] == 0
    assert (await run("participants", "remove", "tea", "ada b"))[0] == 0
    assert [node["kind"] for node in await as_json(run, "nodes", "list")].count("media") == 1
    assert (await run("rooms", "close", "tea"))[0] == 0
    types = [event["type"] for event in await as_json(run, "events", "tea")]
    assert (types[0], types[-1]) == ("room.created", "room.closed")
    assert {"participant.left", "broadcast.requested"} <= set(types)


async def test_a_refusal_is_said_in_words_with_its_code(run: Run) -> None:
    code, out, err = await run("rooms", "get", "nowhere")
    assert (code, out) == (1, "")
    assert "room_not_found" in err
    code, _, err = await run("rooms", "list", key=f"{KEY}:{'another secret ' * 3}")
    assert (code, "token_invalid" in err) == (1, True)
    assert "another" not in err


async def test_a_wrong_command_line_is_usage(run: Run) -> None:
    for command in (("rooms",), ("rooms", "create"), ("token", "create", "--ttl", "soon")):
        with pytest.raises(SystemExit) as ended:
            await run(*command)
        assert ended.value.code == 2


async def test_a_server_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unused_tcp_port: int
) -> None:
    monkeypatch.setenv("TERTULIA_API_KEY", f"{KEY}:{SECRET}")
    server = f"http://127.0.0.1:{unused_tcp_port}"
    code = await asyncio.to_thread(tertulia.main, ["nodes", "list", "--server", server])
    assert code == 1
    assert f"{server} does not answer" in capsys.readouterr().err


async def test_a_proxy_of_the_environment_is_passed_by_on_this_machine(
    run: Run, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_tcp_port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert await as_json(run, "rooms", "list") == []


def test_tokens_are_made_without_a_server_from_the_key_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERTULIA_API_KEY", raising=False)
    create = ["token", "create", "--data-dir", str(tmp_path)]
    join = [*create, "--room", "tea", "--identity", "ada", "--no-publish", "--ttl", "2m"]
    assert tertulia.main(join) == 1
    assert "api-key" in capsys.readouterr().err
    (tmp_path / "api-key").write_text(f"{KEY}:{SECRET}\n")
    assert tertulia.main(join) == 0
    token = verify(capsys.readouterr().out.strip(), {KEY: SECRET}, now=time.time())
    assert (token.identity, token.grants.room, token.grants.canPublish) == ("ada", "tea", False)
    assert 100 < token.expires_at - time.time() <= 121
    assert tertulia.main([*create, "--admin"]) == 0
    token = verify(capsys.readouterr().out.strip(), {KEY: SECRET}, now=time.time())
    assert (token.identity, token.grants.roomAdmin, token.grants.room) == (None, True, "*")
    assert tertulia.main(create) == 1
    assert "--room" in capsys.readouterr().err
