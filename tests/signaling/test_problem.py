"""Problem documents: every exception of a handler becomes one, and leaks nothing."""

import json
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from coordinator.errors import CODES, InfrastructureError, PeerError
from signaling.problem import PROBLEM_TYPE, problem_middleware

Client = TestClient[web.Request, web.Application]


async def raise_known(request: web.Request) -> web.Response:
    code = request.match_info["code"]
    raise PeerError(code, "What went wrong.")


async def fail(_: web.Request) -> web.Response:
    raise ValueError("the password is hunter2")


async def away(_: web.Request) -> web.Response:
    raise InfrastructureError("center_unavailable")


async def take(request: web.Request) -> web.Response:
    return web.json_response(await request.json())


async def elsewhere(_: web.Request) -> web.Response:
    raise web.HTTPFound("/away")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application(middlewares=[problem_middleware], client_max_size=100)
    app.add_routes(
        [
            web.get("/known/{code}", raise_known),
            web.get("/fail/{name}", fail),
            web.get("/away", away),
            web.post("/take", take),
            web.get("/elsewhere", elsewhere),
        ]
    )
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize("code", sorted(CODES))
async def test_every_code_is_a_problem_document(client: Client, code: str) -> None:
    async with client.get(f"/known/{code}") as answer:
        assert answer.status == CODES[code].status
        assert answer.content_type == PROBLEM_TYPE
        assert json.loads(await answer.text()) == {
            "type": f"urn:tertulia:problem:{code}",
            "title": CODES[code].title,
            "status": CODES[code].status,
            "detail": "What went wrong.",
            "code": code,
        }
        assert ("WWW-Authenticate" in answer.headers) == (answer.status == 401)
        assert ("Retry-After" in answer.headers) == (answer.status in (429, 503))


async def test_a_fault_of_ours_is_logged_under_a_reference_and_not_told(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with client.get("/fail/ana?access_token=very.secret.token") as answer:
            body = await answer.text()
    assert answer.status == 500
    assert "hunter2" not in body
    reference = json.loads(body)["detail"].rstrip(".").split()[-1]
    assert reference in caplog.text
    assert "hunter2" in caplog.text
    assert "very.secret.token" not in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", None, 404, "not_found"),
        ("PUT", "/take", None, 405, "method_not_allowed"),
        ("POST", "/take", b"x" * 101, 413, "message_too_large"),
        ("GET", "/away", None, 503, "center_unavailable"),
    ],
)
async def test_what_aiohttp_refuses_is_a_problem_document_too(
    client: Client, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    async with client.request(method, path, data=body) as answer:
        assert (answer.status, answer.content_type) == (status, PROBLEM_TYPE)
        assert json.loads(await answer.text())["code"] == code
        if status == 405:
            assert answer.headers["Allow"] == "POST"


async def test_redirects_pass(client: Client) -> None:
    async with client.get("/elsewhere", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/away")
