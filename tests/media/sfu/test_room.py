"""A room on a real plane, without a network: what it does and what it says."""

import itertools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from coordinator.errors import PeerError
from coordinator.ids import Identity, NodeId, ParticipantSid, RoomName, TrackSid
from coordinator.model import ParticipantInfo, ParticipantKind, Permissions
from media.config import MediaConfig
from media.sfu.outputs import (
    OfferReady,
    PeerLost,
    RoomOutput,
    SpeakersChanged,
    TrackBegan,
    TrackEnded,
    TrackMuteChanged,
)
from media.sfu.peer import Numbers
from media.sfu.plane import MediaPlane
from media.sfu.room import OFFER_REPEAT_MAX_S, OFFER_REPEAT_S, OFFERS_PER_TURN, Room
from media.sfu.spec import Ssrc
from tests.fakes.offers import H264, VP8, audio, offer_of, video

EDGE = NodeId("web-0.x")


class Wakes:
    """Counts how often the room asked to be drained."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
async def plane() -> AsyncIterator[MediaPlane]:
    plane = await MediaPlane.open(MediaConfig(port=0))
    yield plane
    await plane.close()


@pytest.fixture
def wakes() -> Wakes:
    return Wakes()


@pytest.fixture
def room(
    plane: MediaPlane,
    wakes: Wakes,
    new_track_sid: Callable[[], TrackSid],
    new_ssrc: Callable[[], Ssrc],
) -> Room:
    numbers = Numbers(
        session_id=itertools.count(1).__next__, ssrc=new_ssrc, track_sid=new_track_sid
    )
    return Room(RoomName("plaza"), plane, numbers, wakes)


def someone(
    name: str,
    *,
    identity: str = "",
    kind: ParticipantKind = "standard",
    **permissions: bool,
) -> ParticipantInfo:
    return ParticipantInfo(
        sid=ParticipantSid(f"PA_{name}"),
        identity=Identity(identity or name),
        name=name,
        joined_at=datetime(2026, 1, 1, tzinfo=UTC),
        kind=kind,
        permissions=Permissions(**permissions),
    )


def join(room: Room, name: str, **settings: Any) -> ParticipantSid:
    info = someone(name, **settings)
    room.add(info, EDGE)
    return info.sid


def all_of(room: Room) -> list[RoomOutput]:
    """Everything the room says until it has no more to say."""
    outputs: list[RoomOutput] = []
    while more := room.drain():
        outputs += more
    return outputs


def said(room: Room, kind: type[Any]) -> list[Any]:
    return [output for output in all_of(room) if isinstance(output, kind)]


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(PeerError) as caught:
        act()
    return caught.value.code


def test_a_track_is_told_and_offered_to_the_others(room: Room, wakes: Wakes) -> None:
    anna, ben = join(room, "anna"), join(room, "ben")
    answer = room.publisher_offer(anna, offer_of(audio(), video()), ())
    assert wakes.count > 0
    outputs = all_of(room)
    assert [type(o) for o in outputs] == [TrackBegan, TrackBegan, OfferReady]
    offer = outputs[-1]
    assert isinstance(offer, OfferReady)
    assert (offer.participant, offer.edge) == (ben, EDGE)
    assert set(offer.tracks.values()) == {track.sid for track in answer.tracks}


def test_said_twice_is_said_once_and_who_left_never_comes_back(room: Room) -> None:
    anna = join(room, "anna")
    room.publisher_offer(anna, offer_of(audio()), ())
    join(room, "anna")
    assert len(room.tracks) == 1
    room.remove(anna)
    room.remove(anna)
    join(room, "anna")
    assert room.participants == ()
    assert room.gone(anna)
    assert refusal(lambda: room.publisher_offer(anna, offer_of(audio()), ())) == (
        "participant_not_found"
    )


def test_a_leaver_ends_its_tracks_for_the_others_without_telling_the_ledger(room: Room) -> None:
    anna = join(room, "anna")
    room.publisher_offer(anna, offer_of(audio()), ())
    all_of(room)
    room.remove(anna)
    assert all_of(room) == []
    ben = join(room, "ben")
    room.publisher_offer(ben, offer_of(audio()), ())
    assert said(room, OfferReady) == []


def test_an_offer_is_said_again_ever_more_slowly_until_it_is_answered(room: Room) -> None:
    anna, ben = join(room, "anna"), join(room, "ben")
    room.publisher_offer(anna, offer_of(audio()), ())
    (first,) = said(room, OfferReady)
    times = []
    for step in range(400):
        now = 100.0 + step
        room.tick(now)
        for again in said(room, OfferReady):
            assert (again.offer_id, again.sdp) == (first.offer_id, first.sdp)
            times.append(now - 100.0)
    assert times[0] == OFFER_REPEAT_S
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == sorted(gaps)
    assert OFFER_REPEAT_MAX_S <= gaps[-1] <= OFFER_REPEAT_MAX_S + 2
    room.remove(ben)
    room.tick(10_000.0)
    assert said(room, OfferReady) == []


def test_offers_of_a_large_room_are_made_over_several_turns(room: Room) -> None:
    anna = join(room, "anna")
    for number in range(30):
        join(room, f"guest{number}")
    room.publisher_offer(anna, offer_of(audio()), ())
    turns = [len([o for o in room.drain() if isinstance(o, OfferReady)])]
    while more := room.drain():
        turns.append(len(more))
    assert sum(turns) == 30
    assert max(turns) <= 2 * OFFERS_PER_TURN


@pytest.mark.parametrize(
    ("acts", "muted", "told"),
    [
        ("participant+", True, ["participant+"]),
        ("participant+ participant+", True, ["participant+"]),
        ("participant+ participant-", False, ["participant+", "participant-"]),
        ("admin+ admin-", False, ["admin+", "admin-"]),
        ("admin+ participant-", True, ["admin+"]),
        ("admin+ participant+ admin-", True, ["admin+"]),
        ("participant+ admin+ admin-", True, ["participant+"]),
        ("participant+ admin-", True, ["participant+"]),
    ],
)
def test_mutes_of_participant_and_operator_are_apart(
    room: Room, acts: str, muted: bool, told: list[str]
) -> None:
    anna = join(room, "anna")
    track = room.publisher_offer(anna, offer_of(audio()), ()).tracks[0].sid
    all_of(room)
    for act in acts.split():
        if act == "participant-" and room.tracks[0].muted_by_admin:
            assert refusal(lambda: room.set_muted(anna, track, False, "participant")) == (
                "permission_denied"
            )
        else:
            room.set_muted(anna, track, act.endswith("+"), act[:-1])
    assert room.tracks[0].publication.muted is muted
    assert room.tracks[0].info.muted is muted
    heard = [o.by + ("+" if o.muted else "-") for o in said(room, TrackMuteChanged)]
    assert heard == told


def test_the_tracks_of_the_hidden_are_for_the_ledger_alone(room: Room) -> None:
    ghost, _ = join(room, "ghost", hidden=True), join(room, "ben")
    room.publisher_offer(ghost, offer_of(audio()), ())
    assert [type(o) for o in all_of(room)] == [TrackBegan]
    assert room.tracks == ()
    assert len(room.all_tracks) == 1
    join(room, "cleo")
    assert all_of(room) == []


def test_a_lost_receiving_transport_is_a_lost_participant(room: Room) -> None:
    anna, ben = join(room, "anna"), join(room, "ben")
    room.publisher_offer(anna, offer_of(audio()), ())
    side = room._peers[ben].subscriber
    assert side is not None
    all_of(room)
    side.transport.fail("consent_expired")
    assert said(room, PeerLost) == [PeerLost(ben, "transport_failed", "consent_expired")]
    assert room.participants == (anna,)


def test_a_closed_sending_transport_ends_its_tracks_alone(room: Room) -> None:
    anna, _ = join(room, "anna"), join(room, "ben")
    (track,) = room.publisher_offer(anna, offer_of(audio()), ()).tracks
    side = room._peers[anna].publisher
    assert side is not None
    all_of(room)
    side.transport.fail("closed_by_peer")
    assert all_of(room) == [TrackEnded(anna, track.sid)]
    assert anna in room.participants
    (again,) = room.publisher_offer(anna, offer_of(audio()), ()).tracks
    assert again.sid != track.sid


def test_who_speaks_is_told_on_change(room: Room) -> None:
    anna, ben = join(room, "anna"), join(room, "ben")
    room.publisher_offer(anna, offer_of(audio()), ())
    hers = room.tracks[0].told.sid
    room.publisher_offer(ben, offer_of(audio()), ())
    all_of(room)
    for step in range(10):
        room.hear({hers: 0.1}, step / 10)
    (change,) = said(room, SpeakersChanged)
    assert [s.identity for s in change.speakers] == ["anna"]
    assert change.dominant == "anna"
    for step in range(10, 60):
        room.hear({hers: 0.0}, step / 10)
    (change,) = said(room, SpeakersChanged)
    assert change.speakers == ()
    assert change.dominant == "anna", "pictures stay with who spoke last"
    room.remove(anna)
    assert room.dominant is None


def receiving(*codecs: tuple[int, str, str]) -> str:
    return offer_of(video(*codecs, mid="0", direction="recvonly", ssrc=None))


def playing(room: Room, sid: ParticipantSid) -> TrackSid | None:
    player = room._peers[sid].player
    assert player is not None
    return player.parts[0].track


def test_a_player_plays_whom_it_asked_for_as_far_as_codecs_agree(room: Room) -> None:
    anna = join(room, "anna")
    room.publisher_offer(anna, offer_of(video(H264, mid="0")), ())
    late = join(room, "late", kind="whep", hidden=True)
    assert refusal(lambda: room.whep_offer(late, receiving(VP8), Identity("anna"))) == (
        "unsupported_media"
    )
    room.whep_offer(late, receiving(VP8, H264), Identity("anna"))
    assert playing(room, late) == room.tracks[0].told.sid
    assert refusal(lambda: room.whep_offer(late, receiving(), None)) == "wrong_state"


def test_a_player_waits_for_its_source_and_for_its_codec(room: Room) -> None:
    early = join(room, "early", kind="whep", hidden=True)
    room.whep_offer(early, receiving(VP8, H264), Identity("anna"))
    assert playing(room, early) is None
    anna, ben = join(room, "anna"), join(room, "ben")
    room.publisher_offer(ben, offer_of(video(VP8, mid="0")), ())
    assert playing(room, early) is None, "it asked for anna"
    room.publisher_offer(anna, offer_of(video(H264, mid="0")), ())
    assert playing(room, early) is None, "its m-line is VP8"
    room.remove(anna)
    again = join(room, "again", identity="anna")
    room.publisher_offer(again, offer_of(video(VP8, mid="0")), ())
    assert playing(room, early) == room.tracks[-1].told.sid


def test_a_player_of_whoever_speaks_is_switched_and_stays_when_they_go_silent(
    room: Room,
) -> None:
    both = offer_of(video(VP8, mid="0"), audio(mid="1"))
    anna, ben = join(room, "anna"), join(room, "ben")
    room.publisher_offer(anna, both, ())
    room.publisher_offer(ben, both, ())
    player = join(room, "player", kind="whep", hidden=True)
    room.whep_offer(player, receiving(VP8), None)
    tracks = {(str(t.identity), str(t.told.kind)): t.told.sid for t in room.tracks}
    assert playing(room, player) == tracks["anna", "video"]
    for step in range(10):
        room.hear({tracks["ben", "audio"]: 0.1}, step / 10)
    assert playing(room, player) == tracks["ben", "video"]
    for step in range(10, 60):
        room.hear({}, step / 10)
    assert playing(room, player) == tracks["ben", "video"]
    room.remove(ben)
    assert playing(room, player) == tracks["anna", "video"]


def test_permissions_of_players_and_kinds_of_participants_hold(room: Room) -> None:
    deaf = join(room, "deaf", kind="whep", can_subscribe=False)
    assert refusal(lambda: room.whep_offer(deaf, receiving(), None)) == "permission_denied"
    whip = join(room, "whip", kind="whip")
    assert refusal(lambda: room.publisher_offer(whip, offer_of(audio()), ())) == "wrong_state"
    assert refusal(lambda: room.whep_offer(whip, receiving(), None)) == "wrong_state"
    room.whip_offer(whip, offer_of(audio()))
    assert refusal(lambda: room.whip_offer(whip, offer_of(audio()))) == "wrong_state"
    mute = join(room, "mute", can_publish=False)
    assert refusal(lambda: room.publisher_offer(mute, offer_of(audio()), ())) == (
        "permission_denied"
    )


def test_closing_leaves_nothing_on_the_plane(room: Room, plane: MediaPlane) -> None:
    anna, _ = join(room, "anna"), join(room, "ben")
    player = join(room, "player", kind="whep")
    room.publisher_offer(anna, offer_of(audio(), video()), ())
    room.whep_offer(player, receiving(), None)
    room.remove(anna)
    room.close()
    gauges = {
        sample.labels.get("kind", family.name): sample.value
        for family in plane.metrics()
        if family.kind == "gauge"
        for sample in family.samples
    }
    assert set(gauges.values()) == {0.0}, gauges
