"""Participants made of aiortc meet on a real media node."""

import asyncio
import itertools
from typing import Any

import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError

from coordinator.errors import PeerError
from coordinator.events import (
    ParticipantLeft,
    TrackMuted,
    TrackPublished,
    TrackUnpublished,
)
from coordinator.ids import Identity, RoomName, TrackSid
from coordinator.model import Permissions
from coordinator.requests import (
    Candidate,
    CollectMetrics,
    PublisherOffer,
    SdpFragment,
    SetTrackMuted,
    SubscriberAnswer,
    WhepOffer,
    WhipOffer,
)
from media.node import MediaNode
from tests.fakes.moving_picture import MovingPicture, Tone

ROOM = RoomName("plaza")


async def frames(track: MediaStreamTrack, count: int) -> list[Any]:
    async with asyncio.timeout(15):
        return [await track.recv() for _ in range(count)]


async def sees_motion(track: MediaStreamTrack) -> None:
    pictures = [f.to_ndarray(format="gray").astype(int) for f in await frames(track, 6)]
    assert max(np.abs(a - b).mean() for a, b in itertools.pairwise(pictures)) > 1.0


async def hears_sound(track: MediaStreamTrack) -> None:
    samples = np.concatenate([f.to_ndarray().ravel() for f in await frames(track, 40)])
    assert np.abs(samples).max() > 4000


async def refused(asked: Any) -> str:
    with pytest.raises(PeerError) as caught:
        await asked
    return caught.value.code


async def test_two_publish_and_each_decodes_the_other(
    node: MediaNode, edge: Any, ledger: Any
) -> None:
    anna, ben = await edge.join("anna"), await edge.join("ben")
    hers = await anna.publish((Tone(), "microphone"), (MovingPicture(), "camera"))
    his = await ben.publish((Tone(), "microphone"), (MovingPicture(), "camera"))
    for guest, sids in ((anna, his), (ben, hers)):
        sound, picture = await guest.receives(*sids)
        await hears_sound(sound)
        await sees_motion(picture)
    for sid in (*hers, *his):
        await ledger.until(
            lambda me, sid=sid: sid in [e.track.sid for e in me.of(TrackPublished)], "published"
        )
    told = {e.track.sid: (e.track.source, e.track.mime) for e in ledger.of(TrackPublished)}
    assert [told[sid] for sid in hers] == [("microphone", "audio/opus"), ("camera", "video/VP8")]
    snapshot = await edge.rooms.snapshot(ROOM)
    assert {t.sid for p in snapshot.participants for t in p.tracks} == {*hers, *his}


async def test_a_third_gets_what_is_there_and_the_others_get_its_tracks(
    node: MediaNode, edge: Any
) -> None:
    anna, ben = await edge.join("anna"), await edge.join("ben")
    (hers,) = await anna.publish((MovingPicture(), "camera"))
    await ben.receives(hers)
    cleo = await edge.join("cleo")
    (there,) = await cleo.receives(hers)
    await sees_motion(there)
    (its,) = await cleo.publish((MovingPicture(), "camera"))
    await anna.receives(its)
    before, new = await ben.receives(hers, its)
    await sees_motion(new)
    await sees_motion(before)


async def test_a_later_offer_publishes_one_more_track(node: MediaNode, edge: Any) -> None:
    anna, ben = await edge.join("anna"), await edge.join("ben")
    (sound,) = await anna.publish((Tone(), "microphone"))
    await ben.receives(sound)
    sids = await anna.publish((MovingPicture(), "camera"))
    assert sids[0] == sound
    heard, seen = await ben.receives(*sids)
    await sees_motion(seen)
    await hears_sound(heard)


async def test_who_leaves_leaves_the_others_m_lines_inactive(node: MediaNode, edge: Any) -> None:
    anna, ben, cleo = [await edge.join(name) for name in ("anna", "ben", "cleo")]
    (hers,) = await anna.publish((MovingPicture(), "camera"))
    (his,) = await ben.publish((MovingPicture(), "camera"))
    await cleo.receives(hers, his)
    await anna.leave()
    (still,) = await cleo.receives(his)
    assert cleo.offers[-1].sdp.count("a=inactive") == 1
    await sees_motion(still)


async def test_stopping_a_track_takes_it_from_the_ledger_and_the_others(
    node: MediaNode, edge: Any, ledger: Any
) -> None:
    anna, ben = await edge.join("anna"), await edge.join("ben")
    sound, picture = await anna.publish((Tone(), "microphone"), (MovingPicture(), "camera"))
    await ben.receives(sound, picture)
    anna.publisher.getTransceivers()[1].direction = "inactive"
    assert await anna.publish() == (sound,)
    await ben.receives(sound)
    event = await ledger.until_event(TrackUnpublished)
    assert (event.track, event.identity) == (picture, "anna")


async def test_hidden_participants_hear_and_are_not_heard(node: MediaNode, edge: Any) -> None:
    anna = await edge.join("anna")
    ghost = await edge.join("ghost", permissions=Permissions(hidden=True))
    (hers,) = await anna.publish((Tone(), "microphone"))
    await ghost.receives(hers)
    await ghost.publish((Tone(), "microphone"))
    ben = await edge.join("ben")
    await ben.receives(hers)
    assert anna.offers == []


async def test_permissions_hold(node: MediaNode, edge: Any) -> None:
    anna = await edge.join("anna")
    mute = await edge.join("mute", permissions=Permissions(can_publish=False))
    deaf = await edge.join("deaf", permissions=Permissions(can_subscribe=False))
    assert await refused(mute.publish((Tone(), "microphone"))) == "permission_denied"
    (hers,) = await anna.publish((Tone(), "microphone"))
    await mute.receives(hers)
    assert deaf.offers == []


async def silence(track: MediaStreamTrack) -> bool:
    """Whether nothing more arrives once what is buffered was played."""
    for _ in range(200):
        try:
            await asyncio.wait_for(track.recv(), 0.7)
        except TimeoutError:
            return True
        except MediaStreamError:
            return False
    return False


async def test_an_operators_mute_stops_the_packets_and_the_participant_cannot_undo_it(
    node: MediaNode, edge: Any, ledger: Any
) -> None:
    anna, ben = await edge.join("anna"), await edge.join("ben")
    (sid,) = await anna.publish((Tone(), "microphone"))
    (sound,) = await ben.receives(sid)
    await hears_sound(sound)

    def mute(muted: bool, by: str) -> Any:
        return anna.ask(
            SetTrackMuted(room=ROOM, participant=anna.sid, track=sid, muted=muted, by=by)
        )

    await mute(True, "admin")
    participant = await edge.rooms.participant(ROOM, Identity("anna"))
    assert participant.tracks[0].muted, "the ledger has it when the request is answered"
    event = await ledger.until_event(TrackMuted)
    assert (event.track, event.muted, event.by) == (sid, True, "admin")
    assert await silence(sound)
    assert await refused(mute(False, "participant")) == "permission_denied"
    await mute(True, "participant")
    await mute(False, "admin")
    assert len(ledger.of(TrackMuted)) == 1, "its participant muted it too"
    await mute(False, "participant")
    await ledger.until_event(TrackMuted, muted=False, by="participant")
    await hears_sound(sound)
    unknown = SetTrackMuted(
        room=ROOM, participant=anna.sid, track=TrackSid("TR_x"), muted=True, by="admin"
    )
    assert await refused(anna.ask(unknown)) == "track_not_found"


async def test_a_track_may_be_published_muted(node: MediaNode, edge: Any, ledger: Any) -> None:
    anna, ben = await edge.join("anna"), await edge.join("ben")
    (sid,) = await anna.publish((Tone(), "microphone"), mute=True)
    assert (await ledger.until_event(TrackPublished)).track.muted
    (sound,) = await ben.receives(sid)
    assert await silence(sound)


async def test_whip_in_and_whep_out(node: MediaNode, edge: Any, ledger: Any) -> None:
    encoder = await edge.join("encoder", kind="whip")
    pc = encoder.publisher
    pc.addTrack(MovingPicture())
    pc.addTrack(Tone())
    offer = WhipOffer(room=ROOM, participant=encoder.sid, sdp=await encoder.offer(pc))
    answer = await encoder.ask(offer)
    await pc.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
    event = await ledger.until_event(TrackPublished)
    assert event.identity == "encoder"
    assert await refused(encoder.ask(offer)) == "wrong_state"

    player = await edge.join("player", kind="whep", permissions=Permissions(hidden=True))
    for kind in ("video", "audio"):
        player.subscriber.addTransceiver(kind, direction="recvonly")
    played = await player.ask(
        WhepOffer(
            room=ROOM,
            participant=player.sid,
            sdp=await player.offer(player.subscriber),
            source=Identity("encoder"),
        )
    )
    assert played.etag != answer.etag
    await player.subscriber.setRemoteDescription(RTCSessionDescription(played.sdp, "answer"))
    picture, sound = (t.receiver.track for t in player.subscriber.getTransceivers())
    await sees_motion(picture)
    await hears_sound(sound)

    trickle = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=end-of-candidates\r\n"

    def patch(fragment: str, etag: str | None) -> Any:
        return player.ask(
            SdpFragment(room=ROOM, participant=player.sid, fragment=fragment, etag=etag)
        )

    assert (await patch(trickle, played.etag)).fragment == ""
    assert await refused(patch(trickle, "another")) == "precondition_failed"
    assert await refused(patch(trickle, None)) == "precondition_failed"
    restart = f"a=ice-ufrag:abcd\r\na=ice-pwd:{'p' * 24}\r\n" + trickle
    again = await patch(restart, "*")
    assert again.etag != played.etag
    assert f"a=ice-ufrag:{again.etag}" in again.fragment
    assert await refused(patch(trickle, played.etag)) == "precondition_failed"


async def test_a_player_of_the_active_speaker_is_switched(node: MediaNode, edge: Any) -> None:
    player = await edge.join("player", kind="whep", permissions=Permissions(hidden=True))
    player.subscriber.addTransceiver("video", direction="recvonly")
    sdp = await player.offer(player.subscriber)
    played = await player.ask(WhepOffer(room=ROOM, participant=player.sid, sdp=sdp))
    await player.subscriber.setRemoteDescription(RTCSessionDescription(played.sdp, "answer"))
    picture = player.subscriber.getTransceivers()[0].receiver.track
    anna = await edge.join("anna")
    await anna.publish((MovingPicture(320, 240), "camera"), (AudioStreamTrack(), "microphone"))
    assert (await frames(picture, 1))[0].width == 320

    ben = await edge.join("ben")
    await ben.publish((MovingPicture(160, 120), "camera"), (Tone(), "microphone"))
    async with asyncio.timeout(15):
        while (await picture.recv()).width != 160:
            pass
    await asyncio.wait_for(edge.spoken.wait(), 5)
    assert [s.identity for s in edge.speakers[-1].speakers] == ["ben"]


async def test_a_transport_that_never_comes_up_makes_its_participant_leave_once(
    start_node: Any, edge: Any, ledger: Any
) -> None:
    await start_node(transport_timeout_s=0.5)
    anna = await edge.join("anna")
    anna.publisher.addTrack(Tone())
    sdp = await anna.offer(anna.publisher)
    await anna.ask(PublisherOffer(room=ROOM, participant=anna.sid, sdp=sdp))
    event = await ledger.until_event(ParticipantLeft)
    assert (event.sid, event.reason) == (anna.sid, "transport_failed")
    assert await refused(anna.publish()) == "participant_not_found"
    assert len(ledger.of(ParticipantLeft)) == 1


async def test_an_encoder_that_closes_its_connection_has_left(
    node: MediaNode, edge: Any, ledger: Any
) -> None:
    encoder = await edge.join("encoder", kind="whip")
    encoder.publisher.addTrack(Tone())
    sdp = await encoder.offer(encoder.publisher)
    answer = await encoder.ask(WhipOffer(room=ROOM, participant=encoder.sid, sdp=sdp))
    await encoder.publisher.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
    ben = await edge.join("ben")
    await ben.until(lambda guest: guest.offers, "an offer")
    await encoder.connected(encoder.publisher)
    await encoder.publisher.close()
    event = await ledger.until_event(ParticipantLeft)
    assert (event.identity, event.reason) == ("encoder", "left")


async def test_a_publisher_connection_may_be_closed_and_made_anew(
    node: MediaNode, edge: Any, ledger: Any
) -> None:
    anna, ben = await edge.join("anna"), await edge.join("ben")
    (first,) = await anna.publish((Tone(), "microphone"))
    (sound,) = await ben.receives(first)
    await hears_sound(sound)
    await anna.publisher.close()
    await ledger.until_event(TrackUnpublished, track=first)
    anna.publisher = type(anna.publisher)(ben.publisher._RTCPeerConnection__configuration)
    (second,) = await anna.publish((Tone(), "microphone"))
    assert second != first
    await ben.receives(second)
    assert ledger.of(ParticipantLeft) == []


@pytest.mark.parametrize("sdp", ["", "noise", "v=0\r\n", "v=0\r\nm=audio 9 x 0\r\n"])
async def test_noise_instead_of_sdp_is_refused_and_ends_nothing(
    node: MediaNode, edge: Any, sdp: str
) -> None:
    anna, ben = await edge.join("anna"), await edge.join("ben")
    offer = PublisherOffer(room=ROOM, participant=anna.sid, sdp=sdp)
    assert await refused(anna.ask(offer)) == "invalid_sdp"
    early = SubscriberAnswer(room=ROOM, participant=anna.sid, offer_id=1, sdp=sdp)
    assert await refused(anna.ask(early)) == "wrong_state"
    whip = WhipOffer(room=ROOM, participant=anna.sid, sdp=sdp)
    assert await refused(anna.ask(whip)) == "wrong_state"
    whep = WhepOffer(room=ROOM, participant=anna.sid, sdp=sdp)
    assert await refused(anna.ask(whep)) == "wrong_state"
    patch = SdpFragment(room=ROOM, participant=anna.sid, fragment=sdp, etag="*")
    assert await refused(anna.ask(patch)) == "wrong_state"
    candidate = Candidate(
        room=ROOM, participant=anna.sid, transport="publisher", candidate="candidate:" + sdp
    )
    assert await refused(anna.ask(candidate)) == "invalid_candidate"
    ben.answering = False
    (hers,) = await anna.publish((Tone(), "microphone"))
    await ben.until(lambda guest: guest.offers, "an offer")
    wrong = SubscriberAnswer(
        room=ROOM, participant=ben.sid, offer_id=ben.offers[0].offer_id, sdp=sdp
    )
    assert await refused(ben.ask(wrong)) == "invalid_sdp"
    ben.answering = True
    await ben.offered(ben.offers.pop())
    (sound,) = await ben.receives(hers)
    await hears_sound(sound)


async def test_metrics_count_what_is_there(node: MediaNode, edge: Any) -> None:
    anna = await edge.join("anna")
    await anna.publish((Tone(), "microphone"))
    reply = await anna.ask(CollectMetrics())
    values = {family.name: family.samples[0].value for family in reply.families if family.samples}
    names = [family.name for family in reply.families]
    assert len(set(names)) == len(names)
    assert values["tertulia_media_rooms"] == 1
    assert values["tertulia_media_participants"] == 1
    assert values["tertulia_media_tracks"] == 1
    assert all(
        sample.labels["node"] == "media-0" for family in reply.families for sample in family.samples
    )
