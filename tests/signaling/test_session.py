"""The session's core: the rows of its table, what events mean to whom, and noise."""

import json
import random
from typing import Any

import msgspec
import pytest

from coordinator import events
from coordinator.center import StoredEvent
from coordinator.envelope import Envelope, utc_now
from coordinator.errors import CODES, InfrastructureError, PeerError
from coordinator.events import Event
from coordinator.ids import (
    BroadcastSid,
    EventId,
    Identity,
    NodeId,
    ParticipantSid,
    RoomName,
    RoomSid,
    TrackSid,
)
from coordinator.model import (
    LeaveReason,
    ParticipantInfo,
    Permissions,
    RoomInfo,
    RoomSettings,
    Snapshot,
    TrackInfo,
)
from coordinator.requests import (
    Ack,
    ActiveSpeakers,
    AnsweredTrack,
    Candidate,
    PublisherAnswer,
    PublisherOffer,
    SetTrackMuted,
    SpeakerLevel,
    SubscriberAnswer,
    SubscriberOffer,
)
from coordinator.rooms import JoinResult
from signaling.config import SignalingConfig
from signaling.messages import AnyFromServer, ErrorMessage, FromServer, Goodbye
from signaling.session import (
    CODE_OF_REASON,
    Action,
    Ask,
    Close,
    Send,
    Session,
    State,
    reconnect_advice,
    sending_mids,
)
from signaling.stay import Heard, Over, Resynced

ROOM = RoomName("demo")
ME, OTHER, GHOST = ParticipantSid("PA_me"), ParticipantSid("PA_other"), ParticipantSid("PA_ghost")
TRACK = TrackInfo(sid=TrackSid("TR_1"), kind="audio", source="microphone", mime="audio/opus")
CAST = BroadcastSid("BC_1")
SENDRECV = "v=0\r\nm=audio 9 X 0\r\na=mid:0\r\nm=video 9 X 0\r\na=mid:1\r\na=sendonly\r\n"


def person(sid: ParticipantSid, *, hidden: bool = False) -> ParticipantInfo:
    return ParticipantInfo(
        sid=sid,
        identity=Identity(sid.removeprefix("PA_")),
        name="",
        joined_at=utc_now(),
        permissions=Permissions(hidden=hidden),
    )


def snapshot(*sids: ParticipantSid, position: str = "1-0") -> Snapshot:
    return Snapshot(
        position=EventId(position),
        epoch="e",
        room=RoomInfo(
            sid=RoomSid("RM_1"),
            name=ROOM,
            created_at=utc_now(),
            settings=RoomSettings(),
            node=NodeId("media-0.x"),
        ),
        participants=tuple(person(sid, hidden=sid == GHOST) for sid in sids),
    )


def stored(event: Event) -> StoredEvent:
    envelope = Envelope(
        v=1, id="1", type="x", src=NodeId("n"), room=ROOM, ts=utc_now(), data=msgspec.Raw(b"{}")
    )
    return StoredEvent(id=EventId("2-0"), prev=EventId("1-0"), envelope=envelope, event=event)  # type: ignore[arg-type]


def joining(**config: Any) -> Session:
    sources = config.pop("sources", ())
    return Session(ROOM, SignalingConfig(api_keys={}, **config), sources)


def result(*others: ParticipantSid, me: ParticipantInfo | None = None) -> JoinResult:
    return JoinResult(
        participant=me or person(ME),
        snapshot=snapshot(ME, *others),
        owner=NodeId("media-0.x"),
        event=EventId("1-0"),
        placed=False,
    )


def joined(*others: ParticipantSid, **config: Any) -> Session:
    session = joining(**config)
    session.hear(result(*others))
    return session


def say(session: Session, now: float = 0.0, **message: Any) -> list[Action]:
    return session.receive_text(json.dumps(message), now)


def sent(actions: list[Action]) -> list[FromServer]:
    assert all(isinstance(action, Send) for action in actions), actions
    return [action.message for action in actions if isinstance(action, Send)]


def only_error(actions: list[Action]) -> tuple[str, int | None]:
    (message,) = sent(actions)
    assert isinstance(message, ErrorMessage)
    return message.code, message.id


def only_ask(actions: list[Action]) -> Ask:
    (action,) = actions
    assert isinstance(action, Ask)
    return action


def last_word(actions: list[Action]) -> tuple[str, str, int]:
    farewell, close = actions
    assert isinstance(farewell, Send)
    assert isinstance(farewell.message, Goodbye)
    assert isinstance(close, Close)
    return farewell.message.code, farewell.message.reconnect, close.close_code


def told(session: Session, heard: Heard) -> dict[str, Any] | None:
    """What the participant is sent, as JSON."""
    messages = sent(session.hear(heard))
    return json.loads(msgspec.json.encode(messages[0])) if messages else None


# --- joining --------------------------------------------------------------------------------------


def test_who_joins_hears_of_the_others_but_not_of_the_hidden() -> None:
    told_first = told(joining(), result(OTHER, GHOST))
    assert told_first is not None
    assert told_first["type"] == "joined"
    assert told_first["participant"]["sid"] == ME
    assert [p["sid"] for p in told_first["participants"]] == [OTHER]


def test_the_hidden_see_themselves_and_the_others() -> None:
    told_first = told(joining(), result(OTHER, me=person(ME, hidden=True)))
    assert told_first is not None
    assert told_first["participant"]["permissions"]["hidden"]
    assert [p["sid"] for p in told_first["participants"]] == [OTHER]


def test_what_is_asked_before_the_join_is_done_waits_for_it_up_to_a_bound() -> None:
    session = joining(request_queue=2)
    assert say(session, type="publisher_offer", id=1, sdp="v=0") == []
    assert say(session, type="candidate", transport="subscriber", candidate="") == []
    assert only_error(say(session, type="mute", id=3, track="TR_1", muted=True)) == (
        "wrong_state",
        3,
    )
    assert [type(m).__name__ for m in sent(say(session, type="ping", id=4))] == ["Pong"]
    first, *rest = session.hear(result())
    assert isinstance(first, Send)
    requests = [action.request for action in rest if isinstance(action, Ask)]
    assert [type(request) for request in requests] == [PublisherOffer, Candidate]
    assert {getattr(request, "participant", None) for request in requests} == {ME}


def test_a_refused_join_is_a_goodbye() -> None:
    session = joining()
    assert last_word(session.fail(PeerError("room_full"))) == ("room_full", "no", 4034)
    assert session.state is State.OVER
    assert session.hear(result()) == []


# --- asking the node ------------------------------------------------------------------------------


def test_an_offer_goes_to_the_node_and_its_answer_comes_back_under_the_same_id() -> None:
    session = joined()
    ask = only_ask(
        say(
            session,
            type="publisher_offer",
            id=7,
            sdp="v=0",
            tracks=[{"mid": "0", "source": "camera"}],
        )
    )
    assert (ask.lane, ask.id) == ("publisher", 7)
    assert isinstance(ask.request, PublisherOffer)
    assert (ask.request.room, ask.request.participant) == (ROOM, ME)
    assert [(t.mid, t.source) for t in ask.request.tracks] == [("0", "camera")]
    reply = PublisherAnswer(sdp="v=1", tracks=(AnsweredTrack(mid="0", sid=TRACK.sid),))
    (answer,) = sent(session.answered(ask, reply))
    assert json.loads(msgspec.json.encode(answer)) == {
        "type": "publisher_answer",
        "id": 7,
        "sdp": "v=1",
        "tracks": [{"mid": "0", "sid": "TR_1"}],
    }


def test_the_rest_is_asked_on_the_lane_of_its_transport() -> None:
    session = joined()
    ask = only_ask(say(session, type="subscriber_answer", offer_id=3, sdp="s"))
    assert ask == Ask(
        "subscriber", SubscriberAnswer(room=ROOM, participant=ME, offer_id=3, sdp="s"), None
    )
    assert session.answered(ask, Ack()) == []
    for lane in ("publisher", "subscriber"):
        ask = only_ask(say(session, type="candidate", transport=lane, candidate="c"))
        assert (ask.lane, ask.id) == (lane, None)
    ask = only_ask(say(session, type="mute", id=5, track="TR_1", muted=True))
    assert isinstance(ask.request, SetTrackMuted)
    assert (ask.lane, ask.request.by) == ("publisher", "participant")
    (answer,) = sent(session.answered(ask, Ack()))
    assert json.loads(msgspec.json.encode(answer)) == {
        "type": "muted",
        "id": 5,
        "track": "TR_1",
        "muted": True,
    }


def test_a_refusal_of_the_node_carries_the_id_of_what_it_refuses() -> None:
    session = joined()
    ask = only_ask(say(session, type="publisher_offer", id=9, sdp="nonsense"))
    assert only_error(session.refused(ask, PeerError("invalid_sdp"), 0.0)) == ("invalid_sdp", 9)
    ask = only_ask(say(session, type="subscriber_answer", offer_id=3, sdp="s"))
    assert only_error(session.refused(ask, PeerError("wrong_state"), 0.0)) == ("wrong_state", None)


def test_a_node_that_is_away_is_not_held_against_the_participant() -> None:
    session = joined(error_burst=2)
    ask = only_ask(say(session, type="publisher_offer", id=9, sdp="v=0"))
    for _ in range(50):
        error = InfrastructureError("no_responder")
        assert only_error(session.refused(ask, error, 0.0)) == ("no_responder", 9)


def test_a_token_for_some_sources_lets_nothing_else_be_sent() -> None:
    session = joined(sources=("microphone",))
    microphone = {"mid": "0", "source": "microphone"}

    def offer(sdp: str, *tracks: dict[str, str]) -> list[Action]:
        return say(session, type="publisher_offer", id=1, sdp=sdp, tracks=tracks)

    refused = ("permission_denied", 1)
    assert only_error(offer(SENDRECV, microphone)) == refused
    assert only_error(offer(SENDRECV, microphone, {"mid": "1", "source": "camera"})) == refused
    assert only_error(offer(SENDRECV)) == refused
    assert isinstance(only_ask(offer(SENDRECV.replace("sendonly", "inactive"), microphone)), Ask)


def test_the_mids_that_an_offer_sends_on() -> None:
    assert sending_mids(SENDRECV) == {"0", "1"}
    assert sending_mids(SENDRECV.replace("sendonly", "recvonly")) == {"0"}
    assert sending_mids("v=0\nm=audio 9 X 0\nm=application 9 X 0\na=mid:9\n") == {""}
    assert sending_mids("") == set()


# --- what happens in the room ---------------------------------------------------------------------


def test_joins_and_leaves_of_others_are_told_and_those_of_the_hidden_are_not() -> None:
    session = joined()
    other = told(session, stored(events.ParticipantJoined(participant=person(OTHER))))
    assert other is not None
    assert other["participant"]["sid"] == OTHER
    ghost = person(GHOST, hidden=True)
    assert told(session, stored(events.ParticipantJoined(participant=ghost))) is None

    def left(sid: ParticipantSid, *, hidden: bool) -> StoredEvent:
        return stored(
            events.ParticipantLeft(
                sid=sid, identity=Identity("x"), reason="node_lost", hidden=hidden
            )
        )

    assert told(session, left(GHOST, hidden=True)) is None
    assert told(session, left(OTHER, hidden=False)) == {
        "type": "participant_left",
        "sid": OTHER,
        "identity": "x",
        "reason": "node_lost",
    }
    assert told(session, left(OTHER, hidden=False)) is None


@pytest.mark.parametrize(
    ("sid", "seen"), [(ME, True), (OTHER, True), (GHOST, False)], ids=["own", "other", "hidden"]
)
def test_tracks_are_told_to_their_publisher_too_and_those_of_the_hidden_to_nobody(
    sid: ParticipantSid, seen: bool
) -> None:
    session = joined(OTHER, GHOST)
    who: dict[str, Any] = {"participant": sid, "identity": Identity("x")}
    for event, kind in (
        (events.TrackPublished(**who, track=TRACK), "track_published"),
        (events.TrackMuted(**who, track=TRACK.sid, muted=True, by="admin"), "track_muted"),
        (events.TrackUnpublished(**who, track=TRACK.sid), "track_unpublished"),
    ):
        message = told(session, stored(event))
        assert (message is not None) == seen
        if message is not None:
            assert (message["type"], message["participant"]) == (kind, sid)


def test_the_hidden_hear_of_their_own_tracks() -> None:
    session = joining()
    session.hear(result(me=person(ME, hidden=True)))
    published = events.TrackPublished(participant=ME, identity=Identity("me"), track=TRACK)
    assert told(session, stored(published)) is not None


def test_a_broadcast_is_told_through_all_its_states() -> None:
    session = joined()
    states = []
    for event in (
        events.BroadcastRequested(sid=CAST),
        events.BroadcastLive(sid=CAST, url="/live/demo/index.m3u8"),
        events.BroadcastStopping(sid=CAST),
        events.BroadcastEnded(sid=CAST, reason="stopped"),
    ):
        message = told(session, stored(event))
        assert message is not None
        states.append((message["broadcast"]["state"], message["broadcast"]["url"]))
    url = "/live/demo/index.m3u8"
    assert states == [("requested", ""), ("live", url), ("stopping", url), ("ended", "")]


def test_an_event_of_an_unknown_type_is_passed_over() -> None:
    session = joined()
    assert told(session, msgspec.structs.replace(stored(None), event=None)) is None  # type: ignore[arg-type]
    placed = events.RoomPlaced(node=NodeId("media-1.y"), fence=2)
    assert told(session, stored(placed)) is None


def test_the_voices_of_the_hidden_are_not_told() -> None:
    session = joined(OTHER, GHOST)
    levels = tuple(
        SpeakerLevel(participant=sid, identity=Identity("x"), level=0.5) for sid in (GHOST, OTHER)
    )
    message = told(session, ActiveSpeakers(room=ROOM, speakers=levels))
    assert message is not None
    assert [level["participant"] for level in message["speakers"]] == [OTHER]


def test_the_nodes_offer_is_passed_on() -> None:
    offer = SubscriberOffer(
        room=ROOM, participant=ME, offer_id=4, sdp="v=0", tracks={"0": TRACK.sid}
    )
    assert told(joined(), offer) == {
        "type": "subscriber_offer",
        "offer_id": 4,
        "sdp": "v=0",
        "tracks": {"0": "TR_1"},
    }


def test_a_resync_replaces_what_is_known() -> None:
    session = joined(OTHER)
    message = told(session, Resynced("fork", snapshot(ME, GHOST, position="9-0")))
    assert message is not None
    assert (message["reason"], message["position"]) == ("fork", "9-0")
    assert [p["sid"] for p in message["participants"]] == [ME]
    muted = events.TrackMuted(
        participant=OTHER, identity=Identity("x"), track=TRACK.sid, muted=True, by="admin"
    )
    assert told(session, stored(muted)) is None, "who is gone is not heard of"


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", sorted(CODE_OF_REASON))
def test_the_end_of_a_stay_is_told_with_its_code(reason: LeaveReason) -> None:
    session = joined()
    actions = session.hear(Over(reason))
    code = CODE_OF_REASON[reason]
    if code is None:
        assert actions == [Close(1000)]
    else:
        close_code = CODES[code].close_code
        assert last_word(actions) == (code, reconnect_advice(close_code), close_code)
    assert session.state is State.OVER
    assert session.hear(Over(reason)) == []
    assert say(session, type="ping", id=1) == []


def test_who_is_told_to_go_and_who_is_told_to_come_back() -> None:
    def advice(reason: LeaveReason) -> str:
        return last_word(joined().hear(Over(reason)))[1]

    assert {advice("removed"), advice("room_closed"), advice("duplicate_identity")} == {"no"}
    assert {advice("node_lost"), advice("server_draining"), advice("signaling_lost")} == {"now"}
    assert {advice("transport_failed"), advice("join_failed")} == {"later"}


@pytest.mark.parametrize("session", [joining(), joined()], ids=["joining", "in the room"])
def test_who_leaves_is_closed_with_1000(session: Session) -> None:
    assert say(session, type="leave") == [Close(1000)]
    assert session.state is State.OVER


# --- nonsense -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "id"),
    [
        ("", "malformed_json", None),
        ("{", "malformed_json", None),
        ('{"type":"ping","id":1', "malformed_json", None),
        ('"\\ud800"', "malformed_json", None),
        ("[" * 5000, "malformed_json", None),
        ("[]", "invalid_field", None),
        ("1", "invalid_field", None),
        ("{}", "invalid_field", None),
        ('{"id":4}', "invalid_field", 4),
        ('{"type":"dance","id":4}', "unknown_message", 4),
        ('{"type":5,"id":4}', "unknown_message", 4),
        ('{"type":"joined","id":4}', "unknown_message", 4),
        ('{"type":"ping"}', "invalid_field", None),
        ('{"type":"ping","id":"1"}', "invalid_field", None),
        ('{"type":"ping","id":-1}', "invalid_field", None),
        ('{"type":"ping","id":true}', "invalid_field", None),
        ('{"type":"ping","id":9007199254740992}', "invalid_field", None),
        ('{"type":"ping","id":1e400}', "invalid_field", None),
        ('{"type":"ping","id":1,"extra":2}', "invalid_field", 1),
        ('{"type":"mute","id":2,"track":"TR_1","muted":"yes"}', "invalid_field", 2),
        ('{"type":"candidate","transport":"both","candidate":""}', "invalid_field", None),
        (
            '{"type":"publisher_offer","id":3,"sdp":"","tracks":[{"mid":"0","x":1}]}',
            "invalid_field",
            3,
        ),
        (
            '{"type":"publisher_offer","id":3,"sdp":"","tracks":[{"mid":"0","source":"x"}]}',
            "invalid_field",
            3,
        ),
        (
            '{"type":"publisher_offer","id":3,"sdp":"","tracks":[{"mid":"0","name":"a\\nb"}]}',
            "invalid_name",
            3,
        ),
    ],
)
def test_nonsense_is_an_error_and_the_conversation_goes_on(
    text: str, code: str, id: int | None
) -> None:
    for session in (joining(), joined()):
        assert only_error(session.receive_text(text, 0.0)) == (code, id)
        assert [type(m).__name__ for m in sent(say(session, type="ping", id=1))] == ["Pong"]


def test_an_error_does_not_repeat_what_was_sent_at_length() -> None:
    (message,) = sent(joined().receive_text('{"type":"ping","id":1,"' + "x" * 9000 + '":1}', 0.0))
    assert isinstance(message, ErrorMessage)
    assert len(message.detail) < 300


def test_binary_messages_are_refused() -> None:
    assert only_error(joined().receive_binary(0.0)) == ("bad_request", None)


def test_a_flood_of_nonsense_ends_the_conversation_and_a_trickle_does_not() -> None:
    session = joined(error_burst=20)
    for _ in range(20):
        only_error(session.receive_text("{", 0.0))
    assert last_word(session.receive_text("{", 0.0)) == ("rate_limited", "later", 4200)
    session = joined(error_burst=2)
    for second in range(100):
        only_error(session.receive_text("{", float(second)))


def test_who_says_too_much_too_fast_is_refused_and_at_last_cut_off() -> None:
    session = joined(message_burst=5, messages_per_s=10.0, error_burst=3)
    for id in range(5):
        sent(say(session, type="ping", id=id))
    for _ in range(3):
        assert only_error(say(session, type="ping", id=9)) == ("rate_limited", None)
    assert last_word(say(session, type="ping", id=9))[0] == "rate_limited"
    patient = joined(message_burst=1, messages_per_s=10.0)
    for tenth in range(1, 100):
        sent(say(patient, now=tenth / 10 + 0.001 * tenth, type="ping", id=1))


def test_a_message_over_the_limit_ends_the_conversation() -> None:
    limit = 1000
    session = joined(max_message_bytes=limit)
    frame = len(json.dumps({"type": "publisher_offer", "id": 1, "sdp": ""}))
    only_ask(say(session, type="publisher_offer", id=1, sdp="x" * (limit - frame)))
    long = json.dumps({"type": "publisher_offer", "id": 1, "sdp": "é" * 500}, ensure_ascii=False)
    assert len(long) < limit
    assert last_word(session.receive_text(long, 0.0)) == ("message_too_large", "no", 4008)


def test_noise_never_breaks_the_session() -> None:
    rng = random.Random(20260302)
    decoder = msgspec.json.Decoder(AnyFromServer)
    samples = [
        '{"type":"publisher_offer","id":1,"sdp":"v=0","tracks":[{"mid":"0","source":"camera"}]}',
        '{"type":"subscriber_answer","offer_id":3,"sdp":"v=0"}',
        '{"type":"candidate","transport":"publisher","candidate":"c"}',
        '{"type":"mute","id":2,"track":"TR_1","muted":true}',
        '{"type":"ping","id":3}',
    ]
    values: list[Any] = [None, True, -1, 2**70, 1.5, "", "x" * 300, [], {}, [{}], "\x00", "ping"]
    session = joined()
    for turn in range(4000):
        text = rng.choice(samples)
        if rng.random() < 0.5:
            noisy = bytearray(text.encode())
            for _ in range(rng.randrange(1, 6)):
                noisy[rng.randrange(len(noisy))] = rng.randrange(256)
            text = noisy.decode("utf-8", "replace")
        else:
            members = json.loads(text)
            members[rng.choice([*members, "id", "other"])] = rng.choice(values)
            text = json.dumps(members)
        for action in session.receive_text(text, float(turn)):
            if isinstance(action, Send):
                decoder.decode(msgspec.json.encode(action.message))
            elif isinstance(action, Ask):
                msgspec.json.encode(action.request)
            else:
                pytest.fail(f"turn {turn}: closed by {text!r}")
