"""What WHEP players are answered, and the fragments that WHIP and WHEP clients send."""

import pytest

from coordinator.errors import PeerError
from coordinator.ids import TrackSid
from coordinator.model import TrackKind
from media.sfu.fragment import MAX_FRAGMENT_CANDIDATES, parse_fragment, write_fragment
from media.sfu.playback import PlayerNegotiation
from media.sfu.sdp import LocalTransport, parse
from media.sfu.spec import CodecSpec
from tests.fakes.offers import DATA, H264, H264_HIGH, VP8, audio, offer_of, video

SENT_VP8 = CodecSpec("video/VP8", 120, 90000)
SENT_OPUS = CodecSpec("audio/opus", 109, 48000, 2)


def sent_h264(profile: str) -> CodecSpec:
    fmtp = f"level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}"
    return CodecSpec("video/H264", 99, 90000, fmtp=fmtp)


def receiving(*codecs: tuple[int, str, str]) -> str:
    return offer_of(
        audio(direction="recvonly", ssrc=None), video(*codecs, direction="recvonly", ssrc=None)
    )


def test_a_player_gets_the_codecs_of_its_source_under_its_own_payload_types(
    player: PlayerNegotiation, transport: LocalTransport
) -> None:
    source: dict[TrackKind, CodecSpec] = {"audio": SENT_OPUS, "video": SENT_VP8}
    plan = player.read(receiving(H264, VP8), source)
    sound, picture = plan.lines
    assert (sound.codec.mime, sound.codec.payload_type) == ("audio/opus", 111)
    assert (picture.codec.mime, picture.codec.payload_type) == ("video/VP8", 96)
    assert picture.codec.rtx_payload_type == 97
    assert picture.rtx_ssrc is not None
    media = parse(player.commit(plan, transport)).media
    assert [(m.direction, m.setup) for m in media] == [("sendonly", "passive")] * 2
    assert media[1].ssrcs == (picture.ssrc, picture.rtx_ssrc)
    spec = picture.subscription(TrackSid("TR_1"))
    assert (spec.ssrc, spec.mid, spec.codec.payload_type) == (picture.ssrc, "1", 96)


def test_without_a_source_the_first_codec_of_the_player_is_taken(
    player: PlayerNegotiation,
) -> None:
    plan = player.read(receiving(H264, VP8), {})
    assert [line.codec.mime for line in plan.lines] == ["audio/opus", "video/H264"]
    assert plan.lines[1].plays(sent_h264("42e01f"))
    assert not plan.lines[1].plays(SENT_VP8)


@pytest.mark.parametrize(
    ("offered", "sent", "fits"),
    [
        (H264, "42e01f", True),
        (H264, "42001f", True),
        (H264, "640028", False),
        (H264_HIGH, "42e01f", True),
        (H264_HIGH, "640028", True),
    ],
)
def test_an_h264_player_gets_profiles_that_it_can_decode(
    player: PlayerNegotiation, offered: tuple[int, str, str], sent: str, fits: bool
) -> None:
    if fits:
        player.read(receiving(offered), {"video": sent_h264(sent)})
        return
    with pytest.raises(PeerError) as caught:
        player.read(receiving(offered), {"video": sent_h264(sent)})
    assert caught.value.code == "unsupported_media"


def test_second_m_lines_of_a_kind_and_others_are_rejected(
    player: PlayerNegotiation, transport: LocalTransport
) -> None:
    offer = offer_of(
        video(direction="recvonly", mid="0", ssrc=None),
        video(direction="recvonly", mid="1", ssrc=None),
        DATA,
    )
    plan = player.read(offer, {})
    media = parse(player.commit(plan, transport)).media
    assert [m.rejected for m in media] == [False, True, True]


@pytest.mark.parametrize(
    ("offer", "code"),
    [
        ("", "invalid_sdp"),
        (offer_of(DATA), "invalid_sdp"),
        (offer_of(audio(), video()), "invalid_sdp"),
        (offer_of(video((120, "H265", ""), mid="0", direction="recvonly")), "unsupported_media"),
        (receiving().replace("actpass", "passive"), "invalid_sdp"),
    ],
)
def test_a_bad_offer_of_a_player_is_refused(
    player: PlayerNegotiation, offer: str, code: str
) -> None:
    with pytest.raises(PeerError) as caught:
        player.read(offer, {})
    assert caught.value.code == code


def test_a_fragment_with_candidates_is_trickle() -> None:
    fragment = parse_fragment(
        "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"
        "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
        "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\n"
        "a=candidate:2 1 udp 2122260223 ab-cd.local 61764 typ host\r\n"
        "a=end-of-candidates\r\n"
    )
    assert (fragment.ice_ufrag, fragment.candidates, fragment.complete) == ("EsAw", 2, True)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_sdp"),
        ("hello", "invalid_sdp"),
        ("m=audio 9 RTP/AVP 0\r\na=mid:0\r\n", "invalid_sdp"),
        ("a=ice-ufrag:ab\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n", "invalid_sdp"),
        ("a=ice-ufrag:EsAw\r\n", "invalid_sdp"),
        ("a=ice-ufrag:aaaa\r\na=ice-ufrag:bbbb\r\n", "invalid_sdp"),
        ("a=candidate:1 2 3\r\n", "invalid_candidate"),
        ("a=candidate:1 1 udp 1 192.0.2.1 99999999 typ host\r\n", "invalid_candidate"),
        ("a=candidate:1 one udp 1 192.0.2.1 9 typ host\r\n", "invalid_candidate"),
        (
            "a=candidate:1 1 udp 1 1.1.1.1 9 typ host\r\n" * (MAX_FRAGMENT_CANDIDATES + 1),
            "invalid_candidate",
        ),
        ("a=x\r\n" * 20_000, "invalid_sdp"),
    ],
)
def test_a_bad_fragment_is_refused(text: str, code: str) -> None:
    with pytest.raises(PeerError) as caught:
        parse_fragment(text)
    assert caught.value.code == code


def test_a_restart_is_answered_with_credentials_and_candidates(transport: LocalTransport) -> None:
    fragment = parse_fragment(write_fragment(transport, "0"))
    assert (fragment.ice_ufrag, fragment.ice_pwd) == (transport.ice_ufrag, transport.ice_pwd)
    assert (fragment.candidates, fragment.complete) == (1, True)
