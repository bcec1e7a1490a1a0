"""The OpenAPI 3.1 document, made of the operations' rows and the Structs that travel."""

import functools
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from aiohttp import web

from coordinator.errors import CODES
from web.bodies import LedgerEvent, LiveState
from web.foreign import FOREIGN
from web.operations import EVENT_STREAM, Handler, Operation, Parameter

OPENAPI: Final = "/openapi.json"
VERSION: Final = "1"

_SELF: Final = Operation(
    method="GET",
    path=OPENAPI,
    handler=None,
    name="describe",
    summary="This document.",
    tag="operation",
    answers=((200, "application/json"),),
)
_PROBLEM: Final = "application/problem+json"
_TEMPLATE: Final = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_EVERYWHERE: Final = ("internal",)
_WITH_TOKEN: Final = ("token_missing", "token_invalid", "token_expired", "permission_denied")
_WITH_BODY: Final = (
    "bad_request",
    "malformed_json",
    "invalid_field",
    "message_too_large",
    "unsupported_media",
)
_WITH_ROOM: Final = ("invalid_name",)
_WITH_CENTER: Final = ("center_unavailable",)
_DESCRIPTIONS: Final = {
    "room": "Name of the room.",
    "identity": "Identity of the participant, percent-encoded.",
    "track": "Sid of the track (`TR_...`).",
    "resource": "The session, from the answer's Location.",
    "broadcast": "Sid of the broadcast (`BC_...`).",
    "file": "An init section, segment or part.",
    "rendition": "`video` or `audio`.",
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document of *operations*, of those of other packages, and of itself."""
    rows = (*operations, *FOREIGN, _SELF)
    kinds = {kind for row in rows for kind in _structs(row)} | {LedgerEvent, LiveState}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(
        ordered, ref_template="#/components/schemas/{name}"
    )
    names = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        path = _TEMPLATE.sub(r"{\1}", row.path)
        paths.setdefault(path, {})[row.method.lower()] = _operation(row, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tertulia",
            "version": VERSION,
            "description": "Rooms, participants and broadcasts. Errors are problem documents (RFC "
            "9457) with a stable `code`; every code is described in web/ERRORS.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(row.tag for row in rows)],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _problem_schema()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "HS256; `iss` is the API key, grants stand in `video`.",
                },
                "query": {"type": "apiKey", "in": "query", "name": "access_token"},
            },
        },
    }


def _structs(row: Operation) -> list[type]:
    kinds = [kind for _, kind in row.answers] + [row.body]
    return [kind for kind in kinds if isinstance(kind, type)]


def _problem_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "RFC 9457.",
        "required": ["type", "title", "status", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "enum": sorted(CODES)},
        },
    }


def _operation(row: Operation, names: dict[type, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": row.name,
        "summary": row.summary,
        "tags": [row.tag],
        "responses": _responses(row, names),
    }
    if row.grant:
        described["description"] = f"Grant: {row.grant}."
        described["security"] = [{"token": []}, {"query": []}]
        if row.grant.startswith("none"):
            described["security"].append({})
    else:
        described["security"] = [{}]
    parameters = [_path_parameter(name) for name in _TEMPLATE.findall(row.path)]
    parameters += [_parameter(parameter) for parameter in row.parameters]
    if parameters:
        described["parameters"] = parameters
    if row.body is not None:
        content_type, schema = _content(row.body, names)
        described["requestBody"] = {
            "required": row.body_required,
            "content": {content_type: schema},
        }
    return described


def _responses(row: Operation, names: dict[type, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, kind in row.answers:
        response = responses.setdefault(str(status), {"description": _phrase(status)})
        if kind is not None:
            content_type, schema = _content(kind, names)
            response.setdefault("content", {})[content_type] = schema
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes_of(row)):
        by_status.setdefault(CODES[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        # A status that answers too keeps its description.
        responses.setdefault(
            str(status),
            {
                "description": ", ".join(f"`{code}`" for code in codes),
                "content": {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        )
    return responses


def codes_of(row: Operation) -> tuple[str, ...]:
    """All codes that *row* may answer."""
    codes = row.codes + _EVERYWHERE
    if row.grant:
        codes += _WITH_TOKEN + _WITH_CENTER
    if isinstance(row.body, type):
        codes += _WITH_BODY
    elif row.grant:
        codes += ("invalid_field",)
    if "{room}" in row.path:
        codes += _WITH_ROOM
    return codes


def _phrase(status: int) -> str:
    phrases = {101: "Switching protocols", 200: "Done", 201: "Created", 204: "Done; empty"}
    return phrases[status]


def _content(kind: type | str, names: dict[type, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(kind, type):
        return "application/json", {"schema": names[kind]}
    if kind == "application/json":
        return kind, {"schema": {"type": "object"}}
    if kind == EVENT_STREAM or kind.startswith(("text/", "application/")):
        return kind, {"schema": {"type": "string"}}
    return kind, {}


def _path_parameter(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": _DESCRIPTIONS[name],
        "schema": {"type": "string"},
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    kind = "integer" if parameter.schema is int else "string"
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": False,
        "description": parameter.description,
        "schema": {"type": kind},
    }


def serve_document(operations: Iterable[Operation]) -> Handler:
    """A handler that answers with the document, made at the first request."""
    rows = tuple(operations)

    @functools.cache
    def body() -> bytes:
        return msgspec.json.encode(document(rows))

    async def answer(_: web.Request) -> web.StreamResponse:
        response = web.Response(body=body(), content_type="application/json")
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.enable_compression()
        return response

    return answer
