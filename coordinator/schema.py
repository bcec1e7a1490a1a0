"""The JSON Schema of all messages: ``schema.json``, written by ``python -m coordinator.schema``.

One schema for every envelope; its ``type`` says which shape ``data`` has. Unknown types and members
are allowed, as the protocol allows them.
"""

import json
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from coordinator.envelope import EVENT_TYPES, REQUEST_TYPES, Envelope
from coordinator.inbox import ERROR_TYPE, REPLY_TYPE, ErrorData
from coordinator.requests import REPLY

FILE: Final = Path(__file__).with_name("schema.json")


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12."""
    shapes: dict[str, type[Struct]] = {**EVENT_TYPES, **REQUEST_TYPES, ERROR_TYPE: ErrorData}
    replies = sorted({kind for kind in REPLY.values() if kind is not None}, key=_name)
    _, defs = msgspec.json.schema_components(
        (Envelope, *shapes.values(), *replies), ref_template="#/$defs/{name}"
    )
    for kind in shapes.values():
        _without_tag(defs[kind.__name__], kind)
    cases = [
        {"if": _has_type(name), "then": _has_data([kind.__name__])}
        for name, kind in sorted(shapes.items())
    ]
    cases.append({"if": _has_type(REPLY_TYPE), "then": _has_data([_name(k) for k in replies])})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Messages of Tertulia's message center",
        "$ref": "#/$defs/Envelope",
        "allOf": cases,
        "$defs": dict(sorted(defs.items())),
    }


def _name(kind: type) -> str:
    return kind.__name__


def _has_type(name: str) -> dict[str, Any]:
    return {"properties": {"type": {"const": name}}}


def _has_data(names: list[str]) -> dict[str, Any]:
    shapes = [{"$ref": f"#/$defs/{name}"} for name in names]
    return {"properties": {"data": shapes[0] if len(shapes) == 1 else {"anyOf": shapes}}}


def _without_tag(shape: dict[str, Any], kind: type[Struct]) -> None:
    """The tag is the envelope's type and does not stand in the data."""
    tag_field = kind.__struct_config__.tag_field
    if tag_field is not None:
        del shape["properties"][tag_field]
        shape["required"].remove(tag_field)


def render() -> str:
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(render(), "utf-8")
