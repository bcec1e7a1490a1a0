"""The public surface is written down: what changes it is seen in a diff, and meant.

Made anew by ``python -m tests.architecture.test_surface``.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from msgspec.structs import FieldInfo, fields

import tertulia
from coordinator.errors import CODES
from coordinator.events import AnyEvent
from coordinator.requests import AnyRequest
from signaling.messages import AnyFromClient, AnyFromServer
from web.app import OPERATIONS

SURFACE = Path(__file__).with_name("surface.txt")


def shape(kind: type, family: str) -> str:
    """``event room.created(sid, settings)``; what may be left out ends with a question mark."""
    found: tuple[FieldInfo, ...] = fields(kind)
    words = ", ".join(field.name + ("" if field.required else "?") for field in found)
    return f"{family} {kind.__struct_config__.tag}({words})"  # type: ignore[attr-defined]


def commands(parser: argparse.ArgumentParser, path: str) -> Iterator[str]:
    """Every command with its flags."""
    flags = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from commands(child, f"{path} {name}")
        elif action.dest != "help":
            flags.append(action.option_strings[0] if action.option_strings else action.dest.upper())
    yield f"command {path}({' '.join(flags)})"


def surface() -> list[str]:
    """All of it, a line each, sorted."""
    lines = [shape(kind, "event") for kind in get_args(AnyEvent)]
    lines += [shape(kind, "request") for kind in get_args(AnyRequest)]
    lines += [shape(kind, "from client") for kind in get_args(AnyFromClient)]
    lines += [shape(kind, "from server") for kind in get_args(AnyFromServer)]
    lines += [f"error {code} {kind.status} {kind.close_code}" for code, kind in CODES.items()]
    lines += [f"http {each.method} {each.path}" for each in OPERATIONS]
    lines += commands(tertulia.make_parser(), "tertulia")
    return sorted(lines)


def test_the_public_surface_is_the_one_written_down() -> None:
    assert SURFACE.read_text().splitlines() == surface()


def test_no_two_codes_share_a_close_code() -> None:
    closes = [kind.close_code for kind in CODES.values()]
    assert len(closes) == len(set(closes))


if __name__ == "__main__":
    SURFACE.write_text("\n".join(surface()) + "\n")
