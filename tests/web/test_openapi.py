"""The OpenAPI document is valid, whole, and true of the answers."""

import json
import re
from typing import Any

import jsonschema
import msgspec
from openapi_spec_validator import validate

from coordinator.errors import CODES
from coordinator.ids import RoomName
from tests.fakes.web_door import Carrier, Door, JoinAs
from web.app import OPERATIONS
from web.error_list import PATH, error_list
from web.foreign import FOREIGN
from web.openapi import codes_of, document


async def test_the_document_is_valid_and_served(door: Door) -> None:
    answer = await door.call("GET", "/openapi.json", token="")
    assert answer.status == 200
    validate(answer.json)
    assert answer.json == json.loads(msgspec.json.encode(document(OPERATIONS)))


async def test_every_route_is_in_the_document_and_the_other_way_round(door: Door) -> None:
    routes = set()
    for route in door.server.app.router.routes():
        assert route.resource is not None
        path = re.sub(r":[^{}]*(?=\})", "", route.resource.canonical)
        if route.method in ("HEAD", "OPTIONS", "*"):  # what describes others, or refuses
            continue
        if path.startswith(("/assets/", "/r/", "/watch/")) or path.endswith("/{rest}"):
            continue
        routes.add((route.method, path))
    routes -= {("GET", "/"), ("GET", "/admin")}
    described = {
        (method.upper(), path)
        for path, methods in document(OPERATIONS)["paths"].items()
        for method in methods
    }
    assert described == routes


def test_every_code_of_an_operation_exists_and_names_are_unique() -> None:
    rows = (*OPERATIONS, *FOREIGN)
    assert {code for row in rows for code in codes_of(row)} <= set(CODES)
    names = [row.name for row in rows]
    assert len(names) == len(set(names))


def check(path: str, method: str, status: int, value: Any) -> None:
    whole = document(OPERATIONS)
    response = whole["paths"][path][method]["responses"][str(status)]
    schema = response["content"]["application/json"]["schema"]
    jsonschema.validate(
        value,
        {**schema, "components": whole["components"]},
        cls=jsonschema.Draft202012Validator,
    )


async def test_answers_are_as_the_document_says(
    door: Door, carrier: Carrier, join_as: JoinAs
) -> None:
    room = "/v1/rooms/{room}"
    made = await door.call("POST", "/v1/rooms", {"name": "tea"})
    check("/v1/rooms", "post", 201, made.json)
    await carrier.publish(RoomName("tea"), await join_as("tea", "ada"), "TR_1")
    await door.call("POST", "/v1/rooms/tea/broadcast")
    person = room + "/participants/{identity}"
    for template, path in (
        ("/v1/rooms", "/v1/rooms"),
        ("/v1/nodes", "/v1/nodes"),
        (room, "/v1/rooms/tea"),
        (room + "/broadcast", "/v1/rooms/tea/broadcast"),
        (room + "/events", "/v1/rooms/tea/events"),
        (room + "/participants", "/v1/rooms/tea/participants"),
        (person, "/v1/rooms/tea/participants/ada"),
        (person + "/tracks/{track}", "/v1/rooms/tea/participants/ada/tracks/TR_1"),
    ):
        answer = await door.call("GET", path)
        assert answer.status == 200
        check(template, "get", 200, answer.json)
    problem = await door.call("GET", "/v1/rooms/none")
    jsonschema.validate(problem.json, document(OPERATIONS)["components"]["schemas"]["Problem"])


def test_the_list_of_error_codes_is_up_to_date() -> None:
    assert PATH.read_text() == error_list(), "run python -m web.error_list"
