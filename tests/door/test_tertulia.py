"""The command line and the configuration: what wins, what is refused, what stays secret."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tertulia

ROOT = Path(__file__).resolve().parents[2]
PAIR = "TKtest:" + "s" * 32


def settings(*words: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    args = tertulia.make_parser().parse_args(["serve", *words])
    return tertulia.gather_settings(args, environment or {})


def run(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tertulia", *words],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_flags_win_over_variables_and_these_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tertulia.toml"
    path.write_text("[web]\nport = 1\nhost = 'a'\nname = 'w'\n")
    found = settings(
        "--config",
        str(path),
        "--port",
        "3",
        environment={"TERTULIA_WEB_PORT": "2", "TERTULIA_WEB_HOST": "b"},
    )
    assert found["web"] == {"port": 3, "host": "b", "name": "w"}


def test_a_composed_configuration_has_typed_values_from_text() -> None:
    found = settings(
        "--api-key", PAIR, "--redis-url", "unix:///x", environment={"TERTULIA_WEB_PORT": "8443"}
    )
    config = tertulia.compose(found)
    assert (config.web.port, config.center.url) == (8443, "unix:///x")
    assert config.auth.api_keys == {"TKtest": "s" * 32}
    assert "s" * 32 not in repr(config)


@pytest.mark.parametrize(
    "text", ["[web]\nprot = 1\n", "[webb]\nport = 1\n", "[web]\nport = 'x'\n", "port = 1\n", "["]
)
def test_a_wrong_file_is_refused_with_exit_code_2(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    found = run("web", "--config", str(path), "--redis-url", "unix:///x", "--api-key", PAIR)
    assert found.returncode == 2, found.stderr
    assert found.stderr.startswith("tertulia: ")
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("words", "open_rooms", "media_host", "announced"),
    [
        # Firefox reaches a machine's own addresses, not its loopback.
        ((), True, "0.0.0.0", ["127.0.0.1"]),
        (("--media-host", "127.0.0.1"), True, "127.0.0.1", None),
        (("--host", "0.0.0.0"), False, None, None),
        (("--media-host", "0.0.0.0"), False, "0.0.0.0", None),
        (("--announce", "203.0.113.7"), False, None, ["203.0.113.7"]),
    ],
)
def test_rooms_are_open_by_default_only_if_all_is_for_this_machine(
    words: tuple[str, ...], open_rooms: bool, media_host: str | None, announced: list[str] | None
) -> None:
    found = settings(*words)
    tertulia.choose_for_loopback(found)
    assert found["auth"]["open_rooms"] is open_rooms
    assert found["media"].get("host") == media_host
    assert found["media"].get("announced_hosts") == announced


def test_the_api_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    first, new = tertulia.keep_api_key(tmp_path)
    again, renewed = tertulia.keep_api_key(tmp_path)
    assert (first == again, new, renewed) == (True, True, False)
    assert stat.S_IMODE((tmp_path / "api-key").stat().st_mode) == 0o600


def test_media_children_get_ports_in_a_row_and_no_keys(tmp_path: Path) -> None:
    found = settings("--api-key", PAIR, "--redis-url", "unix:///x", "--media-nodes", "3")
    children = tertulia.media_children(tertulia.compose(found), tmp_path, "info")
    files = [json.loads(Path(child.argv[-1]).read_text()) for child in children]
    assert [file["media"]["port"] for file in files] == [7880, 7881, 7882]
    assert [file["auth"]["api_keys"] for file in files] == [{}, {}, {}]
    assert all("s" * 32 not in " ".join(child.argv) for child in children)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "run").iterdir()}
    assert modes == {0o600}


def test_a_command_that_is_none_is_a_usage_error() -> None:
    assert run("dance").returncode == 2


def test_the_doctor_says_what_is_taken() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        found = run("doctor", "--json", "--port", port)
    findings = {finding["what"]: finding["good"] for finding in json.loads(found.stdout)}
    assert findings["HTTP port"] is False
    assert findings["valkey"] is True
    assert found.returncode == 1
