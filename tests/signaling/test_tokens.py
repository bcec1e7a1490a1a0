"""Access tokens: LiveKit's claims, HS256 alone, and nothing of a token in an error."""

import base64
import json
import random
from typing import Any

import jwt
import pytest

from coordinator.errors import PeerError
from coordinator.ids import RoomName
from coordinator.model import Permissions
from signaling.config import SignalingConfig
from signaling.tokens import (
    LEEWAY_S,
    MAX_TOKEN_BYTES,
    VideoGrants,
    find_token,
    mint,
    require_admin,
    require_create,
    require_join,
    require_list,
    verify,
)

KEY, SECRET = "APItests", "a secret of the tests, of more than 32 bytes"
KEYS = {KEY: SECRET, "other": "another secret, it too has more than 32 bytes"}
NOW = 1_772_366_400.0
ROOM = RoomName("demo")


def minted(**more: Any) -> str:
    arguments: dict[str, Any] = {
        "identity": "ana",
        "grants": VideoGrants(roomJoin=True, room=ROOM),
        "ttl_s": 60.0,
        "now": NOW,
        **more,
    }
    return mint(KEY, SECRET, **arguments)


def signed(claims: dict[str, Any], *, secret: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, secret, algorithm=algorithm)


def refusal(token: str, now: float = NOW) -> str:
    with pytest.raises(PeerError) as caught:
        verify(token, KEYS, now=now)
    assert not token or token[-20:] not in caught.value.detail
    assert SECRET not in caught.value.detail
    return caught.value.code


def test_what_was_minted_is_verified() -> None:
    token = verify(minted(name="Ana", metadata="m"), KEYS, now=NOW + 59)
    assert (token.identity, token.name, token.metadata) == ("ana", "Ana", "m")
    assert (token.api_key, token.expires_at) == (KEY, NOW + 60)
    assert require_join(token, ROOM) == "ana"


def test_a_token_as_livekits_libraries_mint_it_is_taken_with_what_we_do_not_know() -> None:
    claims = {
        "iss": KEY,
        "sub": "ana",
        "nbf": int(NOW),
        "exp": int(NOW) + 60,
        "jti": "ana",
        "kind": "standard",
        "attributes": {"a": "b"},
        "sha256": "",
        "video": {"roomJoin": True, "room": "demo", "canSubscribe": False, "agent": False},
        "sip": {"admin": True},
    }
    token = verify(signed(claims), KEYS, now=NOW)
    assert token.grants.permissions() == Permissions(can_subscribe=False)
    assert token.shown_name() == "ana"


@pytest.mark.parametrize(
    ("grants", "permissions"),
    [
        (VideoGrants(), Permissions()),
        (VideoGrants(canPublish=False), Permissions(can_publish=False, can_publish_data=False)),
        (
            VideoGrants(canPublish=False, canPublishData=True),
            Permissions(can_publish=False, can_publish_data=True),
        ),
        (VideoGrants(hidden=True), Permissions(hidden=True)),
    ],
)
def test_what_is_not_said_has_livekits_default(
    grants: VideoGrants, permissions: Permissions
) -> None:
    assert grants.permissions() == permissions


def test_time_bounds_hold_with_a_little_leeway() -> None:
    token = minted()
    verify(token, KEYS, now=NOW - LEEWAY_S)
    verify(token, KEYS, now=NOW + 60 + LEEWAY_S - 0.1)
    assert refusal(token, NOW - LEEWAY_S - 1) == "token_invalid"
    assert refusal(token, NOW + 60 + LEEWAY_S) == "token_expired"
    assert verify(token, KEYS, now=NOW + 1000, allow_expired=True).identity == "ana"


def test_only_our_signature_counts() -> None:
    claims = {"iss": KEY, "sub": "ana", "exp": int(NOW) + 60}
    assert refusal(signed(claims, secret=KEYS["other"])) == "token_invalid"
    assert refusal(signed({**claims, "iss": "stranger"})) == "token_invalid"
    long = SECRET * 2
    assert refusal(signed(claims, secret=long, algorithm="HS512")) == "token_invalid"
    unsigned = jwt.encode(claims, "", algorithm="none")
    assert refusal(unsigned) == "token_invalid"
    head, body, tail = minted().split(".")
    other = json.loads(base64.urlsafe_b64decode(body + "=="))
    other["sub"] = "eve"
    forged = base64.urlsafe_b64encode(json.dumps(other).encode()).decode().rstrip("=")
    assert refusal(f"{head}.{forged}.{tail}") == "token_invalid"


@pytest.mark.parametrize(
    "wrong",
    [
        {"exp": None},
        {"exp": "tomorrow"},
        {"sub": 5},
        {"sub": "a\nb"},
        {"sub": "x" * 129},
        {"name": "n" * 65},
        {"video": []},
        {"video": {"roomJoin": "yes"}},
        {"iss": None},
    ],
)
def test_a_wrong_claim_is_refused(wrong: dict[str, Any]) -> None:
    claims = {"iss": KEY, "sub": "ana", "exp": int(NOW) + 60, **wrong}
    token = signed({name: value for name, value in claims.items() if value is not None})
    assert refusal(token) == "token_invalid"


def test_noise_is_refused_and_nothing_else_happens() -> None:
    rng = random.Random(20260301)
    good = minted()
    for _ in range(500):
        if rng.random() < 0.5:
            noise = "".join(rng.choice("abcXYZ019-_.={}\u00e9") for _ in range(rng.randrange(200)))
        else:
            at = rng.randrange(len(good) - 2)
            noise = good[:at] + rng.choice("-_aZ9.") + good[at + 1 :]
        if noise != good:
            assert refusal(noise) == "token_invalid", noise
    assert refusal("a" * (MAX_TOKEN_BYTES + 1)) == "token_invalid"


def test_grants_are_about_one_room() -> None:
    def token(**grants: Any) -> Any:
        return verify(minted(grants=VideoGrants(**grants)), KEYS, now=NOW)

    require_admin(token(roomAdmin=True, room="demo"), ROOM)
    require_create(token(roomCreate=True))
    require_list(token(roomList=True))
    for check in (
        lambda: require_join(token(roomJoin=True, room="other"), ROOM),
        lambda: require_join(token(roomJoin=True), ROOM),
        lambda: require_join(token(room="demo"), ROOM),
        lambda: require_admin(token(roomJoin=True, room="demo"), ROOM),
        lambda: require_create(token(roomJoin=True, room="demo")),
        lambda: require_list(token(roomCreate=True)),
    ):
        with pytest.raises(PeerError) as caught:
            check()
        assert caught.value.code == "permission_denied"
    nobody = verify(minted(identity=None), KEYS, now=NOW)
    with pytest.raises(PeerError, match="identity"):
        require_join(nobody, ROOM)


def test_a_token_is_found_in_the_header_before_the_query() -> None:
    assert find_token("Bearer abc", None) == "abc"
    assert find_token("bearer  abc ", "def") == "abc"
    assert find_token(None, "def") == "def"
    for header, query, code in (
        (None, None, "token_missing"),
        (None, "", "token_missing"),
        ("Bearer ", None, "token_missing"),
        ("Basic YTpi", "def", "token_invalid"),
    ):
        with pytest.raises(PeerError) as caught:
            find_token(header, query)
        assert caught.value.code == code


def test_what_cannot_be_verified_is_not_minted() -> None:
    for wrong in ({"identity": "a\tb"}, {"name": "n" * 65}, {"metadata": "m" * MAX_TOKEN_BYTES}):
        with pytest.raises(PeerError):
            minted(**wrong)


def test_secrets_are_long_and_are_not_shown() -> None:
    assert SECRET not in repr(SignalingConfig(api_keys=KEYS))
    with pytest.raises(ValueError, match="32 bytes") as caught:
        SignalingConfig(api_keys={"key": "too short"})
    assert "too short" not in str(caught.value)
