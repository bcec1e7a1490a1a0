"""WHIP over HTTP, with a real encoder, media node and message center."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiortc.mediastreams import AudioStreamTrack

from coordinator.center import Center
from coordinator.events import ParticipantJoined, ParticipantLeft, TrackPublished
from coordinator.ids import Identity
from coordinator.requests import SdpFragmentAnswer
from signaling.offer_door import MAX_WAITING_PATCHES
from tests.fakes.moving_picture import MovingPicture, Tone
from tests.fakes.offer_doors import (
    RESTART,
    ROOM,
    TRICKLE,
    Doors,
    OfferClient,
    bearer,
    fragment_headers,
    hears_sound,
    open_doors,
    sdp_headers,
    sees_motion,
    token,
)
from tests.fakes.offers import audio, offer_of

WHIP = f"/v1/rooms/{ROOM}/whip"
OFFER = offer_of(audio())
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
    """Publishes sound already."""
    encoder = await doors.client("whip", token())
    await encoder.publish(AudioStreamTrack())
    return encoder


async def test_a_player_sees_and_hears_an_encoder(doors: Doors) -> None:
    encoder = await doors.client("whip", token("encoder", canSubscribe=False))
    await encoder.publish(MovingPicture(), Tone())
    player = await doors.client("whep?from=encoder", token("viewer", canPublish=False))
    picture, sound = await player.play("video", "audio")
    await sees_motion(picture)
    await hears_sound(sound)
    sources = {event.track.source for event in doors.ledger.of(TrackPublished)}
    assert sources == {"camera", "microphone"}
    assert await player.delete() == 200
    assert await encoder.delete() == 200
    left = await doors.ledger.until_event(ParticipantLeft, identity="encoder")
    assert left.reason == "left"
    assert (await doors.rooms.snapshot(ROOM)).participants == ()


async def test_the_answer_says_where_the_session_is(doors: Doors, encoder: OfferClient) -> None:
    assert encoder.location.startswith(WHIP + "/")
    assert len(encoder.location) - len(WHIP) > 32
    assert encoder.etag.startswith('"')
    assert encoder.links == [
        '<stun:stun.example.net>; rel="ice-server"',
        '<turn:turn.example.net>; rel="ice-server"; username="a\\"b"; credential="c\\\\d"; '
        'credential-type="password"',
    ]
    joined = await doors.ledger.until_event(ParticipantJoined)
    assert (joined.participant.identity, joined.participant.kind) == ("encoder", "whip")


async def test_candidates_are_trickled_under_the_entity_tag(
    doors: Doors, encoder: OfferClient
) -> None:
    assert (await encoder.patch(TRICKLE, encoder.etag)).status == 204
    assert (await encoder.patch(TRICKLE, f'"other", {encoder.etag}')).status == 204
    assert (await encoder.patch(TRICKLE, '"other"')).status == 412
    assert (await encoder.patch(TRICKLE, f"W/{encoder.etag}")).status == 412
    assert (await encoder.patch(TRICKLE)).status == 428
    refused = {"data": TRICKLE, "headers": fragment_headers(token(), None)}
    assert await doors.refuses("PATCH", encoder.location, **refused) == (428, "precondition_failed")
    malformed = {"data": "nonsense", "headers": fragment_headers(token(), encoder.etag)}
    assert await doors.refuses("PATCH", encoder.location, **malformed) == (400, "invalid_sdp")
    assert (await encoder.patch(TRICKLE, encoder.etag)).status == 204


async def test_an_ice_restart_gives_new_credentials_and_a_new_entity_tag(
    encoder: OfferClient,
) -> None:
    await encoder.connected()
    restarted = await encoder.patch(RESTART, "*")
    assert restarted.status == 200
    assert restarted.content_type == "application/trickle-ice-sdpfrag"
    etag = restarted.headers["ETag"]
    assert etag != encoder.etag
    assert f"a=ice-ufrag:{etag.strip(chr(34))}\r\n" in await restarted.text()
    assert (await encoder.patch(TRICKLE, encoder.etag)).status == 412
    assert (await encoder.patch(TRICKLE, etag)).status == 204


async def test_a_deleted_session_is_gone(doors: Doors, encoder: OfferClient) -> None:
    assert await encoder.delete() == 200
    assert await encoder.delete() == 404
    assert (await encoder.patch(TRICKLE, encoder.etag)).status == 404
    left = await doors.ledger.until_event(ParticipantLeft)
    assert left.reason == "left"


async def test_two_deletes_at_once_end_it_once(doors: Doors, encoder: OfferClient) -> None:
    statuses = await asyncio.gather(*(encoder.delete() for _ in range(4)))
    assert sorted(statuses) == [200, 404, 404, 404]
    await doors.ledger.until_event(ParticipantLeft)


async def test_the_session_ends_with_its_participant(doors: Doors, encoder: OfferClient) -> None:
    await doors.rooms.remove(ROOM, Identity("encoder"))
    await doors.ended(doors.whip)
    assert (await encoder.patch(TRICKLE, encoder.etag)).status == 404
    assert await encoder.delete() == 404


async def test_an_encoder_that_begins_anew_takes_its_own_place(
    doors: Doors, encoder: OfferClient
) -> None:
    again = await doors.client("whip", token())
    await again.publish(AudioStreamTrack())
    left = await doors.ledger.until_event(ParticipantLeft)
    assert left.reason == "duplicate_identity"
    assert await encoder.delete() == 404
    assert await again.delete() == 200


async def test_a_connection_that_never_comes_up_ends_the_session(
    connect: Connect, tmp_path: Path
) -> None:
    async with open_doors(connect, tmp_path, transport_timeout_s=0.3) as doors:
        response, _ = await doors.ask("POST", WHIP, data=OFFER, headers=sdp_headers(token()))
        assert response.status == 201
        left = await doors.ledger.until_event(ParticipantLeft)
        assert left.reason == "transport_failed"
        location = response.headers["Location"]
        await doors.ended(doors.whip)
        assert await doors.refuses("DELETE", location, headers=bearer(token())) == (
            404,
            "not_found",
        )


async def test_a_bad_offer_leaves_nobody_behind(doors: Doors) -> None:
    for bad in (
        "v=0\r\nnonsense",
        OFFER.replace("m=audio", "m=nonsense"),
        "v=0\r\n" + "m=\r\n" * 9,
    ):
        post = {"data": bad, "headers": sdp_headers(token())}
        status, code = await doors.refuses("POST", WHIP, **post)
        assert (status, code) == (400, "invalid_sdp"), bad
    left = doors.ledger.of(ParticipantLeft)
    assert {event.reason for event in left} == {"join_failed"}
    assert len(left) == len(doors.ledger.of(ParticipantJoined))
    assert (await doors.rooms.snapshot(ROOM)).participants == ()


async def test_what_is_no_offer_does_not_even_join(doors: Doors, encoder: OfferClient) -> None:
    """Nor does it end the session that stands."""
    for bad in (b"", b"nonsense", b"\xff\xfe", b"{}"):
        post = {"data": bad, "headers": sdp_headers(token())}
        assert await doors.refuses("POST", WHIP, **post) == (400, "invalid_sdp")
    assert len(doors.ledger.of(ParticipantJoined)) == 1
    assert (await encoder.patch(TRICKLE, encoder.etag)).status == 204


async def test_bodies_are_of_the_right_type_and_size(doors: Doors, encoder: OfferClient) -> None:
    plain = bearer(token(), **{"Content-Type": "text/plain"})
    assert await doors.refuses("POST", WHIP, data=OFFER, headers=plain) == (
        415,
        "unsupported_media",
    )
    assert await doors.refuses("PATCH", encoder.location, data=TRICKLE, headers=plain) == (
        415,
        "unsupported_media",
    )
    large = (413, "message_too_large")
    big = "v=0" + "x" * 200_000
    assert await doors.refuses("POST", WHIP, data=big, headers=sdp_headers(token())) == large

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b"x" * 1024

    assert await doors.refuses("POST", WHIP, data=endless(), headers=sdp_headers(token())) == large
    patch = {"data": big, "headers": fragment_headers(token(), encoder.etag)}
    assert await doors.refuses("PATCH", encoder.location, **patch) == large


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (401, "token_missing")),
        ("nonsense", (401, "token_invalid")),
        (token(ttl_s=1), (401, "token_expired")),
        (token(room="agora"), (403, "permission_denied")),
        (token(roomJoin=False), (403, "permission_denied")),
        (token(canPublish=False), (403, "permission_denied")),
        (token(None), (401, "token_invalid")),
    ],
)
async def test_an_offer_needs_a_token_that_may_publish(
    doors: Doors, text: str, expected: tuple[int, str]
) -> None:
    headers = sdp_headers(text) if text else {"Content-Type": "application/sdp"}
    assert await doors.refuses("POST", WHIP, data=OFFER, headers=headers) == expected
    assert doors.ledger.events == []


async def test_a_session_is_its_makers_alone(doors: Doors, encoder: OfferClient) -> None:
    denied = (403, "permission_denied")
    other = {"headers": bearer(token("somebody"))}
    assert await doors.refuses("DELETE", encoder.location, **other) == denied
    foreign = {"data": TRICKLE, "headers": fragment_headers(token("somebody"), encoder.etag)}
    assert await doors.refuses("PATCH", encoder.location, **foreign) == denied
    assert await doors.refuses("DELETE", encoder.location) == (401, "token_missing")
    elsewhere = encoder.location.replace("/plaza/", "/agora/")
    mine = {"headers": bearer(token())}
    assert await doors.refuses("DELETE", elsewhere, **mine) == (404, "not_found")
    assert await doors.refuses("DELETE", WHIP + "/guessed", **mine) == (404, "not_found")
    through_whep = encoder.location.replace("/whip/", "/whep/")
    assert await doors.refuses("DELETE", through_whep, **mine) == (404, "not_found")
    # An expired token no longer lets anyone in, but ends what it began.
    assert await encoder.delete(text=token(ttl_s=1)) == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_there_is_nothing_to_read(doors: Doors, encoder: OfferClient, method: str) -> None:
    mine = {"headers": bearer(token())}
    assert await doors.refuses(method, WHIP) == (204, "")
    assert await doors.refuses(method, encoder.location, **mine) == (204, "")
    assert (await doors.refuses(method, WHIP + "/guessed", **mine))[0] == 404
    assert (await doors.refuses(method, encoder.location))[0] == 401


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_the_endpoint_takes_offers_only(doors: Doors, method: str) -> None:
    response, _ = await doors.ask(method, WHIP, headers=bearer(token()))
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_session_takes_patches_and_its_end_only(doors: Doors, method: str) -> None:
    response, _ = await doors.ask(method, WHIP + "/any", headers=bearer(token()))
    assert (response.status, response.headers["Allow"]) == (
        405,
        "DELETE, GET, HEAD, OPTIONS, PATCH",
    )


async def test_pages_of_any_origin_may_ask_first(doors: Doors) -> None:
    response, _ = await doors.ask("OPTIONS", WHIP)
    assert response.status == 200
    assert response.headers["Accept-Post"] == "application/sdp"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    assert "Location" in response.headers["Access-Control-Expose-Headers"]
    session, _ = await doors.ask("OPTIONS", WHIP + "/any")
    assert session.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    assert "If-Match" in session.headers["Access-Control-Allow-Headers"]


async def test_sessions_of_a_process_are_bounded(connect: Connect, tmp_path: Path) -> None:
    async with open_doors(connect, tmp_path, max_resources=2) as doors:
        answers = await asyncio.gather(
            *(
                doors.ask("POST", WHIP, data=OFFER, headers=sdp_headers(token(f"encoder-{i}")))
                for i in range(4)
            )
        )
        assert sorted(response.status for response, _ in answers) == [201, 201, 429, 429]
        assert doors.hub.counters["whip_refused_full"] == 2
        more = {"data": OFFER, "headers": sdp_headers(token("late"))}
        assert await doors.refuses("POST", WHIP, **more) == (429, "rate_limited")
        location = next(r.headers["Location"] for r, _ in answers if r.status == 201)
        maker = answers.index(next(a for a in answers if a[0].status == 201))
        ended, _ = await doors.ask("DELETE", location, headers=bearer(token(f"encoder-{maker}")))
        assert ended.status == 200
        again, _ = await doors.ask("POST", WHIP, data=OFFER, headers=sdp_headers(token()))
        assert again.status == 201


async def test_nobody_stays_when_the_call_is_cancelled_meanwhile(
    doors: Doors, encoder: OfferClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    # The media node does not answer; then the client goes away, and with it the call.
    monkeypatch.setattr(doors.center, "request", never)
    headers = sdp_headers(token("other"))
    task = asyncio.create_task(doors.ask("POST", WHIP, data=OFFER, headers=headers))
    await asyncio.wait_for(asked.wait(), 5)
    task.cancel()
    left = await doors.ledger.until_event(ParticipantLeft)
    assert (left.identity, left.reason) == ("other", "join_failed")
    assert doors.whip.resources == 1


async def test_a_fault_of_ours_leaves_nobody_behind_and_says_nothing_of_itself(
    doors: Doors, encoder: OfferClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr(doors.center, "request", fail)
    post = {"data": OFFER, "headers": sdp_headers(token("other"))}
    assert await doors.refuses("POST", WHIP, **post) == (500, "internal")
    left = await doors.ledger.until_event(ParticipantLeft)
    assert (left.identity, left.reason) == ("other", "join_failed")


async def test_patches_that_wait_are_bounded(
    doors: Doors, encoder: OfferClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = asyncio.Event()
    asked = 0

    async def slow(*_: object, **__: object) -> SdpFragmentAnswer:
        nonlocal asked
        asked += 1
        await answers.wait()
        return SdpFragmentAnswer()

    monkeypatch.setattr(doors.center, "request", slow)
    patches = [
        asyncio.create_task(encoder.patch(TRICKLE, encoder.etag))
        for _ in range(MAX_WAITING_PATCHES + 3)
    ]
    async with asyncio.timeout(10):
        done, _ = await asyncio.wait(patches, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 3:
            waiting = [patch for patch in patches if not patch.done()]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done = {patch for patch in patches if patch.done()}
    assert {patch.result().status for patch in done} == {429}
    assert asked == 1, "they go to the node one by one"
    answers.set()
    statuses = [response.status for response in await asyncio.gather(*patches)]
    assert statuses.count(204) == MAX_WAITING_PATCHES


async def test_an_orderly_end_of_the_process_ends_the_sessions(
    doors: Doors, encoder: OfferClient
) -> None:
    await doors.hub.drain()
    left = await doors.ledger.until_event(ParticipantLeft)
    assert left.reason == "server_draining"
    assert await encoder.delete() == 404
    post = {"data": OFFER, "headers": sdp_headers(token())}
    assert await doors.refuses("POST", WHIP, **post) == (503, "server_draining")


async def test_no_body_whatever_fells_a_door(doors: Doors, encoder: OfferClient) -> None:
    """Offers and fragments with some bytes changed: answered or refused, and nothing is left."""
    seed = 20250311
    chance = random.Random(seed)
    headers = sdp_headers(token("other"))
    for round in range(200):
        offer = bytearray(OFFER.encode())
        fragment = bytearray(RESTART.encode())
        for body in (offer, fragment):
            for _ in range(chance.randrange(1, 8)):
                start = chance.randrange(len(body))
                body[start : start + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
        response, code = await doors.ask("POST", WHIP, data=bytes(offer), headers=headers)
        assert response.status in (201, 400, 415), (seed, round, code)
        if response.status == 201:
            ended, _ = await doors.ask("DELETE", response.headers["Location"], headers=headers)
            assert ended.status == 200
        patch = {"data": bytes(fragment), "headers": fragment_headers(token(), encoder.etag)}
        response, code = await doors.ask("PATCH", encoder.location, **patch)
        assert response.status in (200, 204, 400), (seed, round, code)
        encoder.etag = response.headers.get("ETag", encoder.etag)
    assert [p.identity for p in (await doors.rooms.snapshot(ROOM)).participants] == ["encoder"]
    assert doors.whip.resources == 1
