"""What is wrong gets its own code, as a problem document, and leaks nothing."""

import asyncio
import contextlib
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.errors import PeerError
from tests.fakes.web_door import SECRET, WAIT_S, Door
from web import bodies
from web.bodies import MAX_BODY_BYTES, NewRoom, NewToken, TrackUpdate, decode_body


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b"\xff", 400, "malformed_json"),
        (b"[" * 5000, 422, "invalid_field"),
        (b"", 422, "invalid_field"),
        (b"[]", 422, "invalid_field"),
        (b'{"name": 1}', 422, "invalid_field"),
        (b'{"name": "tea", "nam": "x"}', 422, "invalid_field"),
        (b'{"name": "tea", "settings": {"max": 1}}', 422, "invalid_field"),
        (b'{"name": "tea", "settings": {"max_participants": -1}}', 422, "invalid_field"),
        (b'{"name": "tea", "settings": {"max_participants": 1e9}}', 422, "invalid_field"),
        (b'{"name": "tea", "settings": {"empty_timeout_s": 9999999}}', 422, "invalid_field"),
        (
            json.dumps({"name": "tea", "settings": {"metadata": "x" * 4097}}).encode(),
            422,
            "invalid_field",
        ),
        (b'{"name": ""}', 422, "invalid_name"),
        (json.dumps({"name": "x" * 65}).encode(), 422, "invalid_name"),
        (b'{"name": "a\\u0007b"}', 422, "invalid_name"),
        (b'{"name": "*"}', 422, "invalid_name"),
        (b'{"name": "a/b"}', 422, "invalid_name"),
        (b" " * (MAX_BODY_BYTES + 1), 413, "message_too_large"),
    ],
)
async def test_a_bad_body_is_told_what_is_wrong(
    door: Door, body: bytes, status: int, code: str
) -> None:
    headers = {**door.headers(None), "Content-Type": "application/json"}
    url = door.server.url + "/v1/rooms"
    async with door.http.post(url, data=body, headers=headers) as answer:
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["code"]) == (status, code)


async def test_an_endless_body_is_cut_off(door: Door) -> None:
    token = door.token(roomCreate=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.server.port)
    head = f"POST /v1/rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}"
    writer.write(head.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(5):
        writer.write(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
    async with asyncio.timeout(WAIT_S):
        line = await reader.readline()
    assert b" 413 " in line
    writer.close()
    await writer.wait_closed()


async def test_a_body_that_does_not_come_is_given_up(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.05)
    token = door.token(roomCreate=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.server.port)
    head = f"POST /v1/rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    writer.write(head.encode() + b"Content-Length: 10\r\n\r\n{")
    async with asyncio.timeout(WAIT_S):
        line = await reader.readline()
    assert b" 400 " in line
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("PUT", "/v1/rooms", 405, "method_not_allowed"),
        ("GET", "/v1/rooms/%00", 422, "invalid_name"),
        ("GET", "/v1/rooms/%FF", 422, "invalid_name"),
        ("GET", "/v1/rooms/" + "x" * 65, 422, "invalid_name"),
        ("GET", "/v1/rooms?limit=0", 422, "invalid_field"),
        ("GET", "/v1/rooms?limit=1001", 422, "invalid_field"),
        ("GET", "/v1/rooms?limit=x", 422, "invalid_field"),
        ("GET", "/v1/rooms?limit=1&limit=2", 422, "invalid_field"),
        ("GET", "/v1/rooms?filter=x", 422, "invalid_field"),
        ("GET", "/v1/rooms/tea/participants/%0a", 422, "invalid_name"),
        ("GET", "/v1/rooms/tea/participants?cursor=%ff", 404, "room_not_found"),
    ],
)
async def test_a_bad_address_is_told_what_is_wrong(
    door: Door, method: str, path: str, status: int, code: str
) -> None:
    answer = await door.call(method, path)
    assert (answer.status, answer.code) == (status, code)
    if status == 405:
        assert "POST" in answer.headers["Allow"]


async def test_another_content_type_is_refused(door: Door) -> None:
    url = door.server.url + "/v1/rooms"
    async with door.http.post(url, data={"name": "tea"}, headers=door.headers(None)) as answer:
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["code"]) == (415, "unsupported_media")


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tbed"])
async def test_a_bad_idempotency_key_is_refused(door: Door, key: str) -> None:
    headers = {"Idempotency-Key": key}
    answer = await door.call("POST", "/v1/rooms", {"name": "tea"}, headers=headers)
    assert (answer.status, answer.code) == (400, "bad_request")


async def test_the_access_log_and_the_answers_hold_no_secret(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = door.token(roomList=True)
    broken = token[:-4] + "AAAA"
    for sent in (token, broken):
        answer = await door.call("GET", f"/v1/rooms/%0Ax?access_token={sent}", token="")
        assert sent not in answer.body.decode()
    assert "GET /v1/rooms/%0Ax 422" in caplog.text
    for secret in (token, broken, SECRET):
        assert secret not in caplog.text


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(["name", "settings", "muted", "room", "video", "ttl_s"]), inner
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_any_body_is_read_or_refused(body: bytes) -> None:
    for kind in (NewRoom, NewToken, TrackUpdate):
        # Nothing else may be raised.
        with contextlib.suppress(PeerError):
            assert isinstance(decode_body(body, kind), kind)
