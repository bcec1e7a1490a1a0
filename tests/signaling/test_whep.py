"""WHEP over HTTP, with real players, a media node and a message center."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiortc.mediastreams import AudioStreamTrack

from coordinator.center import Center
from coordinator.events import ParticipantJoined, ParticipantLeft, TrackPublished
from coordinator.ids import MAX_IDENTITY_CHARS
from tests.fakes.moving_picture import MovingPicture, Tone
from tests.fakes.offer_doors import (
    RESTART,
    ROOM,
    TRICKLE,
    Doors,
    OfferClient,
    bearer,
    frames,
    hears_sound,
    open_doors,
    sdp_headers,
    sees_motion,
    token,
)
from tests.fakes.offers import AV1, audio, offer_of, video

WHEP = f"/v1/rooms/{ROOM}/whep"
OFFER = offer_of(audio(direction="recvonly", ssrc=None))
Connect = Callable[[str], Awaitable[Center]]


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """aioice leaves out the loopback interface, which is all that we use."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


@pytest.fixture
async def doors(connect: Connect, tmp_path: Path) -> AsyncIterator[Doors]:
    async with open_doors(connect, tmp_path) as doors:
        yield doors


@pytest.fixture
async def encoder(doors: Doors) -> OfferClient:
    """Somebody to play: makes the room."""
    encoder = await doors.client("whip", token())
    await encoder.publish(MovingPicture(), AudioStreamTrack())
    await doors.ledger.has(TrackPublished, 2)
    return encoder


async def test_without_from_whoever_speaks_is_played(doors: Doors, encoder: OfferClient) -> None:
    player = await doors.client("whep", token("viewer"))
    picture, sound = await player.play("video", "audio")
    assert (await frames(picture, 1))[0].width == 320
    speaker = await doors.client("whip", token("speaker"))
    await speaker.publish(MovingPicture(160, 120), Tone())
    while (await frames(picture, 1))[0].width != 160:
        pass
    await hears_sound(sound)


async def test_from_names_whom_to_play_whoever_speaks(doors: Doors) -> None:
    speaker = await doors.client("whip", token("speaker"))
    await speaker.publish(MovingPicture(160, 120), Tone())
    quiet = await doors.client("whip", token("quiet"))
    await quiet.publish(MovingPicture(320, 240), AudioStreamTrack())
    await doors.ledger.has(TrackPublished, 4)
    follower = await doors.client("whep", token("viewer"))
    (followed,) = await follower.play("video")
    assert {f.width for f in await frames(followed, 3)} == {160}
    player = await doors.client("whep?from=quiet", token("viewer"))
    (picture,) = await player.play("video")
    assert {f.width for f in await frames(picture, 10)} == {320}


async def test_players_of_one_token_do_not_end_one_another(
    doors: Doors, encoder: OfferClient
) -> None:
    players = [await doors.client("whep?from=encoder", token("viewer")) for _ in range(3)]
    pictures = [(await player.play("video"))[0] for player in players]
    for picture in pictures:
        await sees_motion(picture)
    assert len({player.location for player in players}) == 3
    assert doors.ledger.of(ParticipantLeft) == []
    assert await players[0].delete() == 200
    await doors.ledger.until_event(ParticipantLeft)
    await sees_motion(pictures[1])


async def test_a_player_is_hidden_and_takes_no_place(doors: Doors, encoder: OfferClient) -> None:
    player = await doors.client("whep", token("viewer"))
    await player.play("audio")
    snapshot = await doors.rooms.snapshot(ROOM)
    assert snapshot.room.num_participants == 1
    (info,) = (p for p in snapshot.participants if p.kind == "whep")
    assert info.identity.startswith("viewer.")
    assert info.permissions.hidden
    assert not info.permissions.can_publish


@pytest.mark.parametrize("identity", [None, "v" * MAX_IDENTITY_CHARS])
async def test_a_player_needs_no_identity_and_may_have_the_longest(
    doors: Doors, encoder: OfferClient, identity: str | None
) -> None:
    text = token(identity)
    response, _ = await doors.ask("POST", WHEP, data=OFFER, headers=sdp_headers(text))
    assert response.status == 201
    joined = doors.ledger.of(ParticipantJoined)
    assert {len(event.participant.identity) <= MAX_IDENTITY_CHARS for event in joined} == {True}
    ended, _ = await doors.ask("DELETE", response.headers["Location"], headers=bearer(text))
    assert ended.status == 200


async def test_a_player_trickles_and_restarts_ice(doors: Doors, encoder: OfferClient) -> None:
    player = await doors.client("whep?from=encoder", token("viewer"))
    (picture,) = await player.play("video")
    await sees_motion(picture)
    assert (await player.patch(TRICKLE, player.etag)).status == 204
    restarted = await player.patch(RESTART, "*")
    assert restarted.status == 200
    assert restarted.headers["ETag"] != player.etag
    assert (await player.patch(TRICKLE, player.etag)).status == 412
    assert (await player.patch(TRICKLE)).status == 428
    assert await player.delete() == 200
    assert await player.delete() == 404


async def test_the_end_of_the_room_ends_its_players(doors: Doors, encoder: OfferClient) -> None:
    player = await doors.client("whep", token("viewer"))
    await player.play("audio")
    await doors.rooms.close(ROOM)
    await doors.ended(doors.whep)
    assert (await player.patch(TRICKLE, player.etag)).status == 404


async def test_a_room_that_is_not_there_is_not_made(doors: Doors) -> None:
    post = {"data": OFFER, "headers": sdp_headers(token("viewer"))}
    assert await doors.refuses("POST", WHEP, **post) == (404, "room_not_found")
    assert doors.ledger.events == []


async def test_a_bad_offer_leaves_nobody_behind(doors: Doors, encoder: OfferClient) -> None:
    refused = {
        "v=0\r\nnonsense": (400, "invalid_sdp"),
        offer_of(audio(direction="sendonly")): (400, "invalid_sdp"),
        # The encoder sends VP8.
        offer_of(video(AV1, direction="recvonly", ssrc=None)): (415, "unsupported_media"),
    }
    for bad, expected in refused.items():
        post = {"data": bad, "headers": sdp_headers(token("viewer"))}
        assert await doors.refuses("POST", WHEP + "?from=encoder", **post) == expected
    await doors.ledger.has(ParticipantLeft, 3)
    assert {event.reason for event in doors.ledger.of(ParticipantLeft)} == {"join_failed"}
    assert len((await doors.rooms.snapshot(ROOM)).participants) == 1
    assert doors.whep.resources == 0


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("nonsense", "", (401, "token_invalid")),
        (token(room="agora"), "", (403, "permission_denied")),
        (token(roomJoin=False), "", (403, "permission_denied")),
        (token(canSubscribe=False), "", (403, "permission_denied")),
        (token(), "?from=", (422, "invalid_name")),
        (token(), "?from=a%00b", (422, "invalid_name")),
    ],
)
async def test_an_offer_needs_a_token_that_may_subscribe(
    doors: Doors, text: str, query: str, expected: tuple[int, str]
) -> None:
    post = {"data": OFFER, "headers": sdp_headers(text)}
    assert await doors.refuses("POST", WHEP + query, **post) == expected


async def test_the_token_may_stand_in_the_query(doors: Doors, encoder: OfferClient) -> None:
    headers = {"Content-Type": "application/sdp"}
    url = f"{WHEP}?access_token={token('viewer')}"
    response, _ = await doors.ask("POST", url, data=OFFER, headers=headers)
    assert response.status == 201
    assert "token" not in response.headers["Location"]
