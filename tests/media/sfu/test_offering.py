"""What a subscriber is offered, and what its answers do."""

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from coordinator.envelope import MAX_REQUEST_BYTES
from coordinator.errors import PeerError
from coordinator.ids import ParticipantSid, TrackSid
from coordinator.model import TrackKind
from media.sfu.offering import (
    MAX_SUBSCRIBER_MEDIA,
    AnswerOutcome,
    Offer,
    SubscriberNegotiation,
    WantedTrack,
)
from media.sfu.sdp import LocalTransport, RemoteMedia, parse
from media.sfu.spec import EXT_AUDIO_LEVEL, CodecSpec
from tests.fakes.offers import CLIENT

OPUS = CodecSpec("audio/opus", 111, 48000, 2, "minptime=10;useinbandfec=1")
VP8 = CodecSpec("video/VP8", 101, 90000, rtx_payload_type=120)


def wanted(sid: str, kind: TrackKind = "audio", codec: CodecSpec | None = None) -> WantedTrack:
    spec = codec or (OPUS if kind == "audio" else VP8)
    return WantedTrack(TrackSid(sid), ParticipantSid("PA_p"), kind, spec)


def answer_to(offer: str, *, refuse: set[str] | None = None, setup: str = "active") -> str:
    """The answer of a client that takes everything but the mids in *refuse*."""
    refused = refuse or set()
    _, *sections = offer.split("m=")
    mids = [s.split("a=mid:")[1].split("\r\n")[0] for s in sections]
    live = [m for m, s in zip(mids, sections, strict=True) if m not in refused and " 0 " not in s]
    lines = ["v=0", "o=- 3 4 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    lines.append("a=group:BUNDLE " + " ".join(live))
    for mid, section in zip(mids, sections, strict=True):
        kept = [
            line
            for line in ("m=" + section).split("\r\n")
            if line.startswith(("m=", "c=", "a=mid", "a=rtpmap", "a=rtcp", "a=fmtp", "a=extmap"))
        ]
        if mid not in live:
            kind, _, rest = kept[0].split(" ", 2)
            kept = [f"{kind} 0 {rest}", "c=IN IP4 0.0.0.0", f"a=mid:{mid}", "a=inactive"]
        else:
            direction = "inactive" if "a=inactive" in section else "recvonly"
            kept += [f"a={direction}", *CLIENT.format(setup=setup).split("\r\n")[:-1]]
        lines += kept
    return "\r\n".join(lines) + "\r\n"


def offered(subscriber: SubscriberNegotiation, transport: LocalTransport) -> Offer:
    offer = subscriber.next_offer(transport)
    assert offer is not None
    return offer


def taken(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> tuple[Offer, AnswerOutcome]:
    offer = offered(subscriber, transport)
    return offer, subscriber.answer(offer.id, answer_to(offer.sdp))


def lines_of(offer: Offer) -> tuple[RemoteMedia, ...]:
    return parse(offer.sdp, max_chars=MAX_REQUEST_BYTES).media


def test_there_is_no_offer_without_a_track(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    assert subscriber.next_offer(transport) is None


def test_an_offer_sends_each_track_on_its_own_m_line(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    subscriber.want(wanted("TR_a"))
    subscriber.want(wanted("TR_v", "video"))
    offer = offered(subscriber, transport)
    assert offer.tracks == {"0": "TR_a", "1": "TR_v"}
    sound, picture = lines_of(offer)
    assert (sound.direction, sound.setup) == ("sendonly", "actpass")
    assert "a=ice-lite" in offer.sdp
    assert "a=msid:PA_p TR_v" in offer.sdp
    assert picture.retransmissions == {picture.ssrcs[0]: picture.ssrcs[1]}
    assert [c.name for c in picture.codecs] == ["VP8", "rtx"]


def test_the_answer_starts_the_subscriptions(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    subscriber.want(wanted("TR_a"))
    subscriber.want(wanted("TR_v", "video"))
    offer, outcome = taken(subscriber, transport)
    assert outcome.first
    assert outcome.remote is not None
    assert outcome.remote.ice_ufrag == "abcd"
    sound, picture = outcome.started
    media = lines_of(offer)
    assert (sound.track, sound.ssrc, sound.rtx_ssrc) == ("TR_a", media[0].ssrcs[0], None)
    assert (picture.ssrc, picture.rtx_ssrc) == media[1].ssrcs
    assert picture.codec.payload_type == media[1].codecs[0].payload_type
    assert picture.codec.nack
    assert EXT_AUDIO_LEVEL in sound.extensions
    assert outcome.refused == ()


def test_one_offer_is_outstanding_and_changes_gather(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    subscriber.want(wanted("TR_1"))
    first = offered(subscriber, transport)
    for sid in ("TR_2", "TR_3"):
        subscriber.want(wanted(sid))
        assert subscriber.next_offer(transport) is None
    subscriber.answer(first.id, answer_to(first.sdp))
    second, outcome = taken(subscriber, transport)
    assert set(second.tracks.values()) == {"TR_1", "TR_2", "TR_3"}
    assert [s.track for s in outcome.started] == ["TR_2", "TR_3"]
    assert subscriber.next_offer(transport) is None


def test_a_gone_track_leaves_its_m_line_inactive_then_to_the_next_of_its_kind(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    subscriber.want(wanted("TR_a"))
    subscriber.want(wanted("TR_v", "video"))
    first, _ = taken(subscriber, transport)
    subscriber.unwant(TrackSid("TR_v"))
    second, outcome = taken(subscriber, transport)
    assert [m.direction for m in lines_of(second)] == ["sendonly", "inactive"]
    assert second.tracks == {"0": "TR_a"}
    assert outcome.started == ()
    subscriber.want(wanted("TR_b"))
    subscriber.want(wanted("TR_w", "video"))
    third, _ = taken(subscriber, transport)
    assert third.tracks == {"0": "TR_a", "1": "TR_w", "2": "TR_b"}
    assert lines_of(third)[1].ssrcs[0] != lines_of(first)[1].ssrcs[0]


def test_an_m_line_is_seen_inactive_before_it_is_used_again(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    subscriber.want(wanted("TR_1"))
    taken(subscriber, transport)
    subscriber.unwant(TrackSid("TR_1"))
    subscriber.want(wanted("TR_2"))
    offer, _ = taken(subscriber, transport)
    assert [m.direction for m in lines_of(offer)] == ["inactive", "sendonly"]


def test_a_track_that_goes_while_its_offer_is_under_way_never_starts(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    subscriber.want(wanted("TR_1"))
    offer = offered(subscriber, transport)
    subscriber.unwant(TrackSid("TR_1"))
    assert subscriber.answer(offer.id, answer_to(offer.sdp)).started == ()
    after, _ = taken(subscriber, transport)
    assert [m.direction for m in lines_of(after)] == ["inactive"]


def test_a_refused_m_line_is_not_offered_again_but_its_place_is(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    subscriber.want(wanted("TR_a"))
    subscriber.want(wanted("TR_v", "video"))
    offer = offered(subscriber, transport)
    outcome = subscriber.answer(offer.id, answer_to(offer.sdp, refuse={"1"}))
    assert outcome.refused == ("TR_v",)
    subscriber.want(wanted("TR_v", "video"))
    assert subscriber.next_offer(transport) is None
    subscriber.want(wanted("TR_b"))
    again = offered(subscriber, transport)
    assert again.tracks == {"0": "TR_a", "2": "TR_b"}
    assert [m.mid for m in lines_of(again)] == ["0", "2"]


def test_a_client_may_refuse_everything_and_take_the_next_offer(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    subscriber.want(wanted("TR_v", "video"))
    offer = offered(subscriber, transport)
    outcome = subscriber.answer(offer.id, answer_to(offer.sdp, refuse={"0"}))
    assert outcome.remote is None
    subscriber.want(wanted("TR_a"))
    _, second = taken(subscriber, transport)
    assert second.first
    assert [s.track for s in second.started] == ["TR_a"]


def test_a_payload_type_means_one_codec_for_the_life_of_the_transport(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    high = CodecSpec(
        "video/H264",
        104,
        90000,
        fmtp="level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f",
    )
    seen: dict[int, str] = {}
    for index, codec in enumerate((VP8, high, VP8, OPUS, high)):
        kind: TrackKind = "audio" if codec is OPUS else "video"
        subscriber.want(wanted(f"TR_{index}", kind, codec))
        offer, _ = taken(subscriber, transport)
        for media in lines_of(offer):
            for remote in media.codecs:
                assert seen.setdefault(remote.payload_type, remote.name) == remote.name
    assert sorted(set(seen.values())) == ["H264", "VP8", "opus", "rtx"]


def test_payload_types_never_run_out_by_invented_h264_levels(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    for level in range(40):
        fmtp = (
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e0" + f"{level:02x}"
        )
        subscriber.want(
            wanted(f"TR_{level}", "video", CodecSpec("video/H264", 104, 90000, fmtp=fmtp))
        )
    _, outcome = taken(subscriber, transport)
    assert len(outcome.started) == 40


def test_a_full_subscriber_waits_for_a_free_m_line_and_its_offer_fits_an_envelope(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    for number in range(MAX_SUBSCRIBER_MEDIA + 1):
        subscriber.want(wanted(f"TR_{number}", "video"))
    offer, _ = taken(subscriber, transport)
    assert len(offer.tracks) == MAX_SUBSCRIBER_MEDIA
    assert len(offer.sdp) < MAX_REQUEST_BYTES / 4
    assert subscriber.waiting == 1
    subscriber.unwant(TrackSid("TR_0"))
    taken(subscriber, transport)
    last, outcome = taken(subscriber, transport)
    assert [s.track for s in outcome.started] == [f"TR_{MAX_SUBSCRIBER_MEDIA}"]
    assert subscriber.waiting == 0
    assert len(lines_of(last)) == MAX_SUBSCRIBER_MEDIA


def test_an_answer_to_no_offer_is_out_of_place(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    subscriber.want(wanted("TR_1"))
    offer, _ = taken(subscriber, transport)
    with pytest.raises(PeerError) as caught:
        subscriber.answer(offer.id, answer_to(offer.sdp))
    assert caught.value.code == "wrong_state"


def test_a_bad_answer_leaves_the_offer_standing(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    subscriber.want(wanted("TR_1"))
    offer = offered(subscriber, transport)
    good = answer_to(offer.sdp)
    bad = [
        "nonsense",
        answer_to(offer.sdp, setup="passive"),
        answer_to(offer.sdp, setup="actpass"),
        good.replace("a=ice-ufrag:abcd\r\n", ""),
        good + "m=audio 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:9\r\n",
        good.replace("m=audio", "m=video"),
    ]
    for answer in bad:
        with pytest.raises(PeerError) as caught:
            subscriber.answer(offer.id, answer)
        assert caught.value.code == "invalid_sdp"
    assert len(subscriber.answer(offer.id, good).started) == 1


async def test_aiortc_answers_the_offers(
    subscriber: SubscriberNegotiation, transport: LocalTransport
) -> None:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        subscriber.want(wanted("TR_a"))
        for sid in ("TR_v", "TR_w"):
            subscriber.want(wanted(sid, "video"))
            offer = offered(subscriber, transport)
            await peer.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
            await peer.setLocalDescription(await peer.createAnswer())
            outcome = subscriber.answer(offer.id, peer.localDescription.sdp)
            assert sid in [s.track for s in outcome.started]
            assert outcome.refused == ()
    finally:
        await peer.close()
