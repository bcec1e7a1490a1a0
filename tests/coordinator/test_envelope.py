"""The envelope: what is unknown is kept, what cannot be read is refused."""

import json
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from coordinator.envelope import (
    EVENT_TYPES,
    MAX_EVENT_BYTES,
    REQUEST_TYPES,
    Envelope,
    data_of,
    decode,
    encode,
    event_in,
    request_in,
    stored_event,
    type_of,
    unknown_members,
)
from coordinator.errors import PeerError
from coordinator.events import ParticipantLeft, RoomPlaced
from coordinator.ids import (
    START,
    EventId,
    Identity,
    NodeId,
    ParticipantSid,
    RoomName,
)
from coordinator.requests import OpenRoom

LEFT = ParticipantLeft(sid=ParticipantSid("PA_1"), identity=Identity('a"é\n'), reason="left")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def wrap(type: str, data: bytes) -> Envelope:
    return Envelope(
        v=1, id="m.1", type=type, src="web-0.x", room=RoomName("demo"), ts=NOW, data=Raw(data)
    )


def body_of(envelope: Envelope) -> bytes:
    return encode(envelope, limit=MAX_EVENT_BYTES)


def test_an_event_survives_the_round_trip() -> None:
    body = body_of(wrap(type_of(LEFT), data_of(LEFT)))
    envelope = decode(body)
    assert event_in(envelope) == LEFT
    assert envelope.ts == NOW
    assert b'"type"' not in data_of(LEFT), "the type stands in the envelope alone"


def test_a_request_survives_the_round_trip() -> None:
    request = OpenRoom(room=RoomName("demo"))
    envelope = decode(body_of(wrap(type_of(request), data_of(request))))
    assert request_in(envelope) == request


def test_absent_members_are_not_written() -> None:
    written = json.loads(body_of(wrap("room.placed", b"{}")))
    assert set(written) == {"v", "id", "type", "src", "room", "ts", "data"}


def test_unknown_members_are_kept_when_passed_on() -> None:
    body = body_of(wrap(type_of(LEFT), data_of(LEFT)))[:-1] + b',"later":{"a":[1,2]},"x":null}'
    envelope, extra = decode(body), unknown_members(body)
    assert set(extra) == {"later", "x"}
    again = encode(envelope, extra, limit=MAX_EVENT_BYTES)
    assert json.loads(again) == json.loads(body)


def test_unknown_types_are_passed_on() -> None:
    body = body_of(wrap("later.invented", b'{"deep":{"er":1}}'))
    stored = stored_event(EventId("5-1"), START, body)
    assert stored.event is None
    assert stored.envelope.type == "later.invented"
    assert bytes(stored.envelope.data) == b'{"deep":{"er":1}}'


def test_unknown_fields_of_known_events_do_no_harm() -> None:
    event = event_in(decode(body_of(wrap("room.placed", b'{"node":"n","fence":7,"later":1}'))))
    assert event == RoomPlaced(node=NodeId("n"), fence=7)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b'{"data":' + b"[" * 100_000, "malformed_json"),
        (b'{"zzz":' + b'{"a":' * 100_000, "malformed_json"),
        (b"{}", "invalid_field"),
        (b"[]", "invalid_field"),
        (b'{"v":1,"id":"a","type":"b","src":"c","ts":"yesterday"}', "invalid_field"),
        (b'{"v":2,"id":"a","type":"b","src":"c","ts":"2026-01-02T03:04:05Z"}', "invalid_field"),
        (b" " * (1024 * 1024 + 1), "message_too_large"),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(PeerError) as refused:
        decode(body)
    assert refused.value.code == code


@pytest.mark.parametrize("data", [b"{}", b"[]", b'{"node":5,"fence":1}', b"null", b"7"])
def test_data_that_does_not_fit_its_type_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError) as refused:
        event_in(decode(body_of(wrap("room.placed", data))))
    assert refused.value.code == "invalid_field"


def test_an_event_that_is_too_large_is_refused() -> None:
    with pytest.raises(PeerError) as refused:
        body_of(wrap("later.invented", b'"' + b"x" * MAX_EVENT_BYTES + b'"'))
    assert refused.value.code == "message_too_large"


@given(st.binary(max_size=300))
def test_noise_is_refused_and_nothing_else_happens(noise: bytes) -> None:
    with pytest.raises(PeerError):
        stored_event(EventId("1-1"), START, noise)


@pytest.mark.parametrize("seed", range(5))
def test_damaged_envelopes_are_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    whole = bytearray(body_of(wrap(type_of(LEFT), data_of(LEFT))))
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            stored_event(EventId("1-1"), START, bytes(damaged[: rng.randrange(len(damaged) + 1)]))
        except PeerError:
            continue


def test_types_are_dotted_and_told_apart() -> None:
    assert not set(EVENT_TYPES) & set(REQUEST_TYPES)
    assert all("." in name for name in EVENT_TYPES)
