"""Who may do what: every grant opens its doors and no other."""

import time
from typing import Any

import pytest

from signaling.tokens import verify
from tests.fakes.web_door import KEY, SECRET, Door, OpenDoor

ROOM: dict[str, Any] = {"roomAdmin": True, "room": "tea"}


async def test_each_call_needs_its_grant(door: Door) -> None:
    await door.call("POST", "/v1/rooms", {"name": "tea"})
    await door.call("POST", "/v1/rooms", {"name": "rum"})
    tokens = {
        "create": door.token(roomCreate=True),
        "list": door.token(roomList=True),
        "admin": door.token(**ROOM),
        "other": door.token(roomAdmin=True, room="rum"),
        "join": door.token("ada", roomJoin=True, room="tea"),
        "nothing": door.token("ada"),
    }
    table = [
        ("GET", "/v1/rooms", None, {"list"}),
        ("GET", "/v1/nodes", None, {"list"}),
        ("GET", "/v1/rooms/tea", None, {"list", "admin"}),
        ("GET", "/v1/rooms/tea/broadcast", None, {"list", "admin"}),
        ("GET", "/v1/rooms/tea/participants", None, {"admin"}),
        ("GET", "/v1/rooms/tea/participants/ada", None, {"admin"}),
        ("DELETE", "/v1/rooms/tea/participants/ada", None, {"admin"}),
        ("GET", "/v1/rooms/tea/participants/ada/tracks/TR_1", None, {"admin"}),
        ("PATCH", "/v1/rooms/tea/participants/ada/tracks/TR_1", {"muted": True}, {"admin"}),
        ("GET", "/v1/rooms/tea/events", None, {"admin"}),
        ("POST", "/v1/rooms/tea/broadcast", {}, {"admin"}),
        ("DELETE", "/v1/rooms/tea/broadcast", None, {"admin"}),
        ("POST", "/v1/rooms", {"name": "tea"}, {"create"}),
        ("POST", "/v1/tokens", {"room": "tea"}, {"admin"}),
        ("DELETE", "/v1/rooms/tea", None, {"create", "admin"}),
    ]
    for method, path, body, granted in table:
        for name, token in tokens.items():
            if name in granted:
                continue
            answer = await door.call(method, path, body, token=token)
            assert (answer.status, answer.code) == (403, "permission_denied"), (name, method, path)
        for name in granted:
            answer = await door.call(method, path, body, token=tokens[name])
            assert answer.status not in (401, 403), (name, method, path)


@pytest.mark.parametrize(("room", "status"), [("*", 200), ("", 403)])
async def test_only_an_admin_of_every_room_administers_all(
    door: Door, room: str, status: int
) -> None:
    await door.call("POST", "/v1/rooms", {"name": "tea"})
    token = door.token(roomAdmin=True, room=room)
    assert (await door.call("GET", "/v1/rooms/tea/participants", token=token)).status == status


async def test_tokens_that_are_missing_wrong_or_old_are_told_apart(door: Door) -> None:
    cases = {
        "": "token_missing",
        "rubbish": "token_invalid",
        door.token(ttl_s=-60, roomList=True): "token_expired",
    }
    for token, code in cases.items():
        answer = await door.call("GET", "/v1/rooms", token=token)
        assert (answer.status, answer.code) == (401, code)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_token_may_stand_in_the_query(door: Door) -> None:
    token = door.token(roomList=True)
    answer = await door.call("GET", f"/v1/rooms?access_token={token}", token="")
    assert answer.status == 200


async def test_guests_get_tokens_only_while_rooms_are_open(open_door: OpenDoor) -> None:
    shut = await open_door()
    answer = await shut.call("POST", "/v1/tokens", {"room": "tea"}, token="")
    assert (answer.status, answer.code) == (401, "token_missing")
    door = await open_door(open_rooms=True)
    guest = await door.call("POST", "/v1/tokens", {"room": "tea", "name": "Ada"}, token="")
    assert guest.status == 201
    token = verify(guest.json["token"], {KEY: SECRET}, now=time.time())
    assert (token.identity, token.name) == (guest.json["identity"], "Ada")
    assert token.identity is not None
    assert token.identity.startswith("guest-")
    assert (token.grants.room, token.grants.roomJoin, token.grants.roomAdmin) == (
        "tea",
        True,
        False,
    )
    second = await door.call("POST", "/v1/tokens", {"room": "tea", "name": "Ada"}, token="")
    assert second.json["identity"] != guest.json["identity"]
    viewer = await door.call("POST", "/v1/tokens", {"room": "tea", "watch": True}, token="")
    assert viewer.json["video"] == {"roomJoin": True, "room": "tea", "canPublish": False}


@pytest.mark.parametrize(
    "more",
    [{"identity": "boss"}, {"video": {"roomAdmin": True}}, {"ttl_s": 9e9}, {"metadata": "x"}],
)
async def test_a_guest_cannot_ask_for_more(open_door: OpenDoor, more: dict[str, object]) -> None:
    door = await open_door(open_rooms=True)
    answer = await door.call("POST", "/v1/tokens", {"room": "tea", **more}, token="")
    assert (answer.status, answer.code) == (403, "permission_denied")


async def test_an_operator_mints_what_they_may_give(door: Door) -> None:
    wanted = {"room": "tea", "identity": "ada", "name": "Ada", "ttl_s": 60, "metadata": "m"}
    answer = await door.call("POST", "/v1/tokens", wanted, token=door.token(**ROOM))
    token = verify(answer.json["token"], {KEY: SECRET}, now=time.time())
    assert (token.identity, token.metadata, token.grants.room) == ("ada", "m", "tea")
    video = {"roomAdmin": True, "roomList": True}
    every = await door.call("POST", "/v1/tokens", {"room": "*", "video": video})
    assert every.json["identity"] is None
    assert every.json["video"] == {**video, "room": "*"}
    body: dict[str, Any]
    for body in (
        {"room": "rum"},
        {"room": "tea", "video": {"roomCreate": True}},
        {"room": "tea", "video": {"roomList": True}},
    ):
        refused = await door.call("POST", "/v1/tokens", body, token=door.token(**ROOM))
        assert (refused.status, refused.code) == (403, "permission_denied"), body
    for body in (
        {"room": "tea", "video": {"roomAdmin": True, "room": "rum"}},
        {"room": "tea", "video": {"roomAdmim": True}},
        {"room": "tea", "ttl_s": 0},
        {"room": "*"},
    ):
        refused = await door.call("POST", "/v1/tokens", body)
        assert (refused.status, refused.code) == (422, "invalid_field"), body
    for room in ("*", ""):
        refused = await door.call("POST", "/v1/tokens", {"room": room}, token=door.token(**ROOM))
        assert (refused.status, refused.code) == (422, "invalid_name")
