"""signaling/PROTOCOL.md is true: examples, codes, bounds, claims."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

import signaling.session
from coordinator.errors import CODES
from signaling.config import SignalingConfig
from signaling.messages import AnyFromClient, AnyFromServer
from signaling.session import CODE_OF_REASON, reconnect_advice
from signaling.tokens import VideoGrants

TEXT = (Path(signaling.session.__file__).parent / "PROTOCOL.md").read_text("utf-8")
FromClientDecoder = msgspec.json.Decoder(AnyFromClient)
FromServerDecoder = msgspec.json.Decoder(AnyFromServer)


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def examples(title: str) -> list[tuple[str, str]]:
    """(heading, JSON) of each message."""
    return re.findall(r"^### (\w+)\n.*?^```json\n(.*?)^```$", section(title), re.M | re.S)


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of the table whose first heading is *first*."""
    table = text.split(f"| {first} |", 1)[1].split("\n\n", 1)[0]
    return [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]
    ]


def tags(union: Any) -> set[str]:
    return {kind.__struct_config__.tag for kind in get_args(union)}


@pytest.mark.parametrize(("kind", "example"), examples("From the client"))
def test_what_a_client_says_is_as_described(kind: str, example: str) -> None:
    message = FromClientDecoder.decode(example)
    written = json.loads(example)
    assert written["type"] == kind
    again = json.loads(msgspec.json.encode(message))
    # Defaults may be left out by the client.
    for field, value in written.items():
        if field != "tracks":
            assert again[field] == value
    assert FromClientDecoder.decode(msgspec.json.encode(message)) == message


@pytest.mark.parametrize(("kind", "example"), examples("From the server"))
def test_what_the_server_says_is_as_described(kind: str, example: str) -> None:
    message = FromServerDecoder.decode(example)
    assert json.loads(msgspec.json.encode(message)) == json.loads(example)
    assert json.loads(example)["type"] == kind


def test_every_message_has_an_example() -> None:
    assert {kind for kind, _ in examples("From the client")} == tags(AnyFromClient)
    assert {kind for kind, _ in examples("From the server")} == tags(AnyFromServer)


def test_the_codes_are_those_of_the_code() -> None:
    described = {row[0].strip("`"): (int(row[1]), row[2]) for row in rows(section("Codes"), "code")}
    assert described == {code: (kind.close_code, kind.title) for code, kind in CODES.items()}


def test_the_ranges_of_close_codes_say_whether_to_reconnect() -> None:
    for span, advice in rows(section("Codes"), "close codes"):
        first, last = (int(code) for code in span.split("-"))
        for code in range(first, last + 1):
            assert advice.startswith(f"`{reconnect_advice(code)}`")


def test_every_end_of_a_stay_is_described() -> None:
    described = {row[1].strip("`") for row in rows(section("What ends a stay"), "what happened")}
    assert described == {code for code in CODE_OF_REASON.values() if code is not None}


def test_the_bounds_are_the_defaults() -> None:
    config = SignalingConfig(api_keys={})
    bound = {row[0]: row[1] for row in rows(section("Bounds"), "what")}
    assert bound["a message"] == f"{config.max_message_bytes // 1024} KiB"
    assert (
        bound["messages of a socket"]
        == f"{config.messages_per_s:g}/s, {config.message_burst} at once"
    )
    assert bound["refused messages of a socket"] == f"1/s, {config.error_burst} at once"
    assert bound["messages that wait for a client to read"] == str(config.send_queue_messages)
    waiting = next(value for key, value in bound.items() if key.startswith("requests of a"))
    assert waiting == str(config.request_queue)
    assert bound["time for a socket to close"].startswith(f"{config.close_timeout_s:g} s")
    assert f"every {config.ping_interval_s:g} s" in section("The conversation")


def test_the_grants_are_those_of_the_code() -> None:
    described = {row[0].strip("`") for row in rows(section("Tokens"), "grant")}
    assert described == set(VideoGrants.__struct_fields__)
