"""Publishers' offers and our answers."""

from collections.abc import Callable

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from coordinator.errors import PeerError
from coordinator.ids import ParticipantSid, TrackSid
from coordinator.requests import TrackAnnouncement
from media.sfu.negotiation import WHIP_SOURCES, PublisherNegotiation, PublisherPlan
from media.sfu.sdp import LocalTransport, RemoteMedia, parse
from media.sfu.spec import EXT_ABS_SEND_TIME, EXT_AUDIO_LEVEL, EXT_MID
from tests.fakes.offers import (
    AV1,
    DATA,
    FINGERPRINT,
    H264,
    H264_HIGH,
    H264_MODE_0,
    VP8,
    VP9,
    VP9_10BIT,
    audio,
    offer_of,
    video,
)


def answered(
    publisher: PublisherNegotiation, transport: LocalTransport, offer: str
) -> tuple[PublisherPlan, str, tuple[RemoteMedia, ...]]:
    plan = publisher.read(offer)
    sdp = publisher.commit(plan, transport)
    return plan, sdp, parse(sdp).media


def refusal(publisher: PublisherNegotiation, offer: str) -> str:
    with pytest.raises(PeerError) as caught:
        publisher.read(offer)
    return caught.value.code


def test_an_answer_receives_passively_on_ice_lite(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    plan, sdp, media = answered(publisher, transport, offer_of(audio(), video()))
    assert [(m.mid, m.kind, m.direction, m.setup) for m in media] == [
        ("0", "audio", "recvonly", "passive"),
        ("1", "video", "recvonly", "passive"),
    ]
    assert all(m.rtcp_mux and m.ice_ufrag == transport.ice_ufrag for m in media)
    assert "a=ice-lite\r\n" in sdp
    assert "a=group:BUNDLE 0 1\r\n" in sdp
    assert sdp.count("a=candidate:1 1 udp") == 1
    assert "extmap-allow-mixed" not in sdp
    assert plan.first
    assert plan.remote.fingerprints == (("sha-256", FINGERPRINT),)


def test_a_track_carries_what_the_plane_needs(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    plan, _, media = answered(publisher, transport, offer_of(audio(), video()))
    sound, picture = (track.spec for track in plan.published)
    assert (sound.ssrc, sound.rtx_ssrc, picture.ssrc, picture.rtx_ssrc) == (1111, None, 2222, 2223)
    assert sound.extensions == {EXT_AUDIO_LEVEL: 1, EXT_ABS_SEND_TIME: 2, EXT_MID: 4}
    assert picture.extensions == {EXT_ABS_SEND_TIME: 2, EXT_MID: 4}
    assert dict(media[0].extensions) == sound.extensions
    assert (sound.codecs[0].mime, sound.codecs[0].payload_type) == ("audio/opus", 111)
    codec = picture.codecs[0]
    assert (codec.mime, codec.payload_type, codec.rtx_payload_type) == ("video/VP8", 96, 97)
    assert codec.nack
    assert codec.pli
    assert codec.fir
    assert codec.remb
    assert media[1].codecs[0].feedback == {"nack", "nack pli", "ccm fir", "goog-remb"}
    assert [(t.mid, t.sid) for t in plan.tracks] == [("0", "TR_1"), ("1", "TR_2")]


@pytest.mark.parametrize(
    ("codecs", "chosen"),
    [
        ((VP8, H264), "video/VP8"),
        ((H264_MODE_0, H264_HIGH, VP8), "video/H264"),
        ((H264_MODE_0, VP8), "video/VP8"),
        ((VP9_10BIT, VP9), "video/VP9"),
        ((AV1, VP8), "video/AV1"),
        (((120, "H265", ""), AV1), "video/AV1"),
    ],
)
def test_the_first_codec_of_the_client_that_we_forward_is_chosen(
    publisher: PublisherNegotiation,
    transport: LocalTransport,
    codecs: tuple[tuple[int, str, str], ...],
    chosen: str,
) -> None:
    plan, _, media = answered(publisher, transport, offer_of(video(*codecs, mid="0")))
    assert plan.published[0].info.mime == chosen
    assert [c.name for c in media[0].codecs] == [chosen.split("/")[1], "rtx"]


def test_the_h264_profile_of_the_sender_is_kept(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    _, _, media = answered(publisher, transport, offer_of(video(H264_HIGH, H264, mid="0")))
    parameters = media[0].codecs[0].parameters
    assert parameters["profile-level-id"] == "64001f"
    assert parameters["packetization-mode"] == "1"


def test_stereo_is_wished_for_when_the_sender_has_it(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    offer = offer_of(audio().replace("useinbandfec=1", "useinbandfec=1; sprop-stereo=1"))
    _, _, media = answered(publisher, transport, offer)
    assert media[0].codecs[0].parameters["stereo"] == "1"


def test_unsupported_and_foreign_m_lines_are_rejected_alone(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    offer = offer_of(video((120, "H265", ""), mid="0"), video(), DATA)
    plan, sdp, media = answered(publisher, transport, offer)
    assert [m.rejected for m in media] == [True, False, True]
    assert "a=group:BUNDLE 1\r\n" in sdp
    assert len(plan.published) == 1
    # The candidates move to the first m-line that lives.
    assert sdp.index("a=candidate") > sdp.index("a=mid:1")


def test_a_bundle_only_m_line_is_not_a_rejected_one(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    section = video(port=0).replace("a=mid:1", "a=bundle-only\r\na=mid:1")
    plan, _, media = answered(publisher, transport, offer_of(audio(), section))
    assert len(plan.published) == 2
    assert not media[1].rejected


def test_announcements_name_source_and_mute(publisher: PublisherNegotiation) -> None:
    plan = publisher.read(
        offer_of(audio(), video()),
        (
            TrackAnnouncement(mid="0", source="microphone", muted=True),
            TrackAnnouncement(mid="1", source="screen_share", name="My slides"),
        ),
    )
    sound, picture = (track.info for track in plan.published)
    assert (sound.source, sound.muted) == ("microphone", True)
    assert (picture.source, picture.name) == ("screen_share", "My slides")


@pytest.mark.parametrize(
    "announcement",
    [
        TrackAnnouncement(mid="0", source="camera"),
        TrackAnnouncement(mid="0", name="x" * 129),
        TrackAnnouncement(mid="0", name="a\x00b"),
    ],
)
def test_an_announcement_that_does_not_fit_is_refused(
    publisher: PublisherNegotiation, announcement: TrackAnnouncement
) -> None:
    with pytest.raises(PeerError) as caught:
        publisher.read(offer_of(audio()), (announcement,))
    assert caught.value.code == "invalid_field"


def test_whip_tracks_are_camera_and_microphone(
    new_track_sid: Callable[[], TrackSid],
) -> None:
    whip = PublisherNegotiation(
        ParticipantSid("PA_w"),
        session_id=1,
        new_track_sid=new_track_sid,
        sources=WHIP_SOURCES,
    )
    plan = whip.read(offer_of(audio(direction="sendrecv"), video()))
    assert [t.info.source for t in plan.published] == ["microphone", "camera"]


def test_a_later_offer_adds_a_track_and_keeps_the_others(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    first, _, _ = answered(publisher, transport, offer_of(audio()))
    second, sdp, _ = answered(publisher, transport, offer_of(audio(), video()))
    assert not second.first
    assert not second.ice_restart
    assert [t.info.kind for t in second.published] == ["video"]
    assert second.ended == ()
    assert second.tracks[0].sid == first.tracks[0].sid
    assert "o=- 7 2 " in sdp


def test_an_inactive_m_line_ends_its_track_and_begins_another_later(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    first, _, _ = answered(publisher, transport, offer_of(audio(), video()))
    off, _, media = answered(
        publisher, transport, offer_of(audio(), video(direction="inactive", ssrc=None))
    )
    assert off.ended == (first.tracks[1].sid,)
    assert media[1].direction == "inactive"
    again, _, _ = answered(publisher, transport, offer_of(audio(), video()))
    assert [t.info.kind for t in again.published] == ["video"]
    assert again.tracks[1].sid != first.tracks[1].sid


def test_a_stopped_m_line_is_rejected_and_its_place_taken_over(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    first, _, _ = answered(publisher, transport, offer_of(audio(), video()))
    stopped, _, media = answered(
        publisher, transport, offer_of(audio(), video(port=0, ssrc=None), bundle="0")
    )
    assert stopped.ended == (first.tracks[1].sid,)
    assert media[1].rejected
    taken, _, _ = answered(publisher, transport, offer_of(audio(), video(mid="5"), bundle="0 5"))
    assert [t.mid for t in taken.tracks] == ["0", "5"]


def test_everything_may_be_stopped(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    answered(publisher, transport, offer_of(audio()))
    plan, _, media = answered(publisher, transport, offer_of(audio().replace(" 9 ", " 0 ", 1)))
    assert len(plan.ended) == 1
    assert media[0].rejected


def test_another_ssrc_is_another_track(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    first, _, _ = answered(publisher, transport, offer_of(audio()))
    second, _, _ = answered(publisher, transport, offer_of(audio(ssrc=99)))
    assert second.ended == (first.tracks[0].sid,)
    assert len(second.published) == 1


def test_new_credentials_ask_for_an_ice_restart(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    answered(publisher, transport, offer_of(audio()))
    plan = publisher.read(offer_of(audio()).replace("abcd", "efgh"))
    assert plan.ice_restart
    assert plan.remote.ice_ufrag == "efgh"


def test_a_wrong_offer_changes_nothing(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    first, _, _ = answered(publisher, transport, offer_of(audio()))
    assert refusal(publisher, "nonsense") == "invalid_sdp"
    again, sdp, _ = answered(publisher, transport, offer_of(audio()))
    assert again.tracks == first.tracks
    assert "o=- 7 2 " in sdp


@pytest.mark.parametrize(
    ("offer", "code"),
    [
        ("", "invalid_sdp"),
        ("v=0", "invalid_sdp"),
        ("v=0\r\n" + "a=x\r\n" * 20_000, "invalid_sdp"),
        (offer_of(), "invalid_sdp"),
        (offer_of(DATA), "invalid_sdp"),
        (offer_of(audio().replace("a=mid:0\r\n", "")), "invalid_sdp"),
        (offer_of(audio(), audio(ssrc=5)), "invalid_sdp"),
        (offer_of(audio(), video(), bundle=""), "invalid_sdp"),
        (offer_of(audio(ssrc=2222), video()), "invalid_sdp"),
        (offer_of(audio(), setup="passive"), "invalid_sdp"),
        (offer_of(audio()).replace("a=rtcp-mux\r\n", ""), "invalid_sdp"),
        (offer_of(audio()).replace("a=ice-pwd", "a=nothing"), "invalid_sdp"),
        (offer_of(audio()).replace("sha-256", "md5"), "invalid_sdp"),
        (offer_of(audio()).replace(FINGERPRINT, "zz"), "invalid_sdp"),
        (offer_of(*[audio(mid=str(i), ssrc=i + 1) for i in range(33)]), "invalid_sdp"),
        (offer_of(video((120, "H265", ""), mid="0")), "unsupported_media"),
        (offer_of(video(H264_MODE_0, mid="0")), "unsupported_media"),
    ],
)
def test_a_bad_offer_is_refused_with_its_code(
    publisher: PublisherNegotiation, offer: str, code: str
) -> None:
    assert refusal(publisher, offer) == code


@pytest.mark.parametrize(
    "later",
    [
        offer_of(audio()),
        offer_of(video(mid="1"), audio(mid="0"), bundle="0 1"),
        offer_of(audio(), video(mid="7"), bundle="0 7"),
        offer_of(audio(), video()).replace(FINGERPRINT, ":".join(["EE"] * 32)),
    ],
)
def test_a_later_offer_that_breaks_the_order_is_refused(
    publisher: PublisherNegotiation, transport: LocalTransport, later: str
) -> None:
    answered(publisher, transport, offer_of(audio(), video()))
    assert refusal(publisher, later) == "invalid_sdp"


async def test_aiortc_takes_the_answer(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        peer.addTrack(AudioStreamTrack())
        peer.addTrack(VideoStreamTrack())
        await peer.setLocalDescription(await peer.createOffer())
        plan = publisher.read(peer.localDescription.sdp)
        answer = publisher.commit(plan, transport)
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        assert peer.signalingState == "stable"
        assert [t.currentDirection for t in peer.getTransceivers()] == ["sendonly", "sendonly"]
        assert plan.published[1].spec.rtx_ssrc is not None
    finally:
        await peer.close()


FIREFOX = """v=0
o=mozilla...THIS_IS_SDPARTA-99.0 7311 0 IN IP4 0.0.0.0
s=-
t=0 0
a=fingerprint:sha-256 {fingerprint}
a=group:BUNDLE 0 1
a=ice-options:trickle
a=msid-semantic:WMS *
m=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101
c=IN IP4 0.0.0.0
a=sendonly
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:2/recvonly urn:ietf:params:rtp-hdrext:csrc-audio-level
a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1
a=fmtp:101 0-15
a=ice-pwd:0123456789abcdef0123456789abcdef
a=ice-ufrag:0123abcd
a=mid:0
a=msid:{{a}} {{b}}
a=rtcp-mux
a=rtpmap:109 opus/48000/2
a=rtpmap:9 G722/8000/1
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000/1
a=setup:actpass
a=ssrc:4194304 cname:{{c}}
m=video 0 UDP/TLS/RTP/SAVPF 120 124 121 125 126 127
c=IN IP4 0.0.0.0
a=bundle-only
a=sendonly
a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:4 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:5 urn:ietf:params:rtp-hdrext:toffset
a=extmap:6/recvonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay
a=fmtp:126 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1
a=fmtp:120 max-fs=12288;max-fr=60
a=fmtp:124 apt=120
a=fmtp:121 max-fs=12288;max-fr=60
a=fmtp:125 apt=121
a=fmtp:127 apt=126
a=ice-pwd:0123456789abcdef0123456789abcdef
a=ice-ufrag:0123abcd
a=mid:1
a=msid:{{a}} {{d}}
a=rtcp-fb:120 nack
a=rtcp-fb:120 nack pli
a=rtcp-fb:120 ccm fir
a=rtcp-fb:120 goog-remb
a=rtcp-fb:120 transport-cc
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:120 VP8/90000
a=rtpmap:124 rtx/90000
a=rtpmap:121 VP9/90000
a=rtpmap:125 rtx/90000
a=rtpmap:126 H264/90000
a=rtpmap:127 rtx/90000
a=setup:actpass
a=ssrc:77 cname:{{c}}
a=ssrc:78 cname:{{c}}
a=ssrc-group:FID 77 78
"""

OBS = """v=0
o=rtc 3130832711 0 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=group:LS 0 1
a=msid-semantic:WMS *
a=setup:actpass
a=ice-ufrag:nCVd
a=ice-pwd:rUb/OOlqwxyzaV2QCvoGnT
a=ice-options:ice2,trickle
a=fingerprint:sha-256 {fingerprint}
m=audio 40124 UDP/TLS/RTP/SAVPF 111
c=IN IP4 192.0.2.7
a=mid:0
a=sendonly
a=ssrc:1001 cname:voice
a=ssrc:1001 msid:stream stream-audio
a=msid:stream stream-audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1
a=candidate:1 1 UDP 2122317823 192.0.2.7 40124 typ host
a=end-of-candidates
m=video 40124 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 192.0.2.7
a=mid:1
a=sendonly
a=ssrc:1002 cname:voice
a=ssrc:1002 msid:stream stream-video
a=msid:stream stream-video
a=rtcp-mux
a=rtpmap:96 H264/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtcp-fb:96 goog-remb
a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1
a=rtpmap:97 RTX/90000
a=fmtp:97 apt=96
"""


def test_firefox_offers_bundle_only_video_and_session_wide_fingerprints(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    plan, _, media = answered(publisher, transport, FIREFOX.format(fingerprint=FINGERPRINT))
    sound, picture = (track.spec for track in plan.published)
    assert (sound.codecs[0].payload_type, sound.ssrc) == (109, 4194304)
    assert (picture.codecs[0].mime, picture.codecs[0].rtx_payload_type) == ("video/VP8", 124)
    assert (picture.ssrc, picture.rtx_ssrc) == (77, 78)
    assert [m.rejected for m in media] == [False, False]


def test_obs_offers_h264_and_stereo(
    publisher: PublisherNegotiation, transport: LocalTransport
) -> None:
    plan, _, media = answered(publisher, transport, OBS.format(fingerprint=FINGERPRINT))
    assert [t.info.mime for t in plan.published] == ["audio/opus", "video/H264"]
    assert plan.published[1].spec.codecs[0].rtx_payload_type == 97
    assert media[0].codecs[0].parameters["stereo"] == "1"
    assert plan.remote.ice_ufrag == "nCVd"
