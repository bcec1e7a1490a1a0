"""Whatever a stranger sends as a description, it is understood or refused, and soon."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.errors import PeerError
from coordinator.ids import ParticipantSid, TrackSid
from media.sfu.fragment import parse_fragment
from media.sfu.negotiation import PublisherNegotiation
from media.sfu.offering import SubscriberNegotiation, WantedTrack
from media.sfu.playback import PlayerNegotiation
from media.sfu.sdp import MAX_SDP_CHARS, LocalTransport
from media.sfu.spec import CodecSpec, Ssrc
from tests.fakes.offers import AV1, DATA, H264, VP8, VP9, audio, offer_of, video

TRANSPORT = LocalTransport("srvu", "s" * 24, ":".join(["CD"] * 32), ("candidate:1 1 udp 1 ::1 9",))
SEEDS = (
    offer_of(audio(), video(VP8, H264, VP9, AV1), DATA),
    offer_of(audio(direction="recvonly", ssrc=None), video(direction="recvonly", ssrc=None)),
)
CODES = {"invalid_sdp", "unsupported_media", "invalid_candidate", "invalid_field"}
ROUNDS = 400


def feed(text: str) -> None:
    """Give *text* to everything that reads descriptions. Only PeerError may come out, and the
    state must stay good: a good offer is answered after it."""
    publisher = PublisherNegotiation(
        ParticipantSid("PA_a"), session_id=1, new_track_sid=lambda: TrackSid("TR_a")
    )
    player = PlayerNegotiation(session_id=1, cname="c", new_ssrc=lambda: Ssrc(7))
    subscriber = SubscriberNegotiation(session_id=1, new_ssrc=lambda: Ssrc(7))
    codec = CodecSpec("video/VP8", 96, 90000, rtx_payload_type=97)
    subscriber.want(WantedTrack(TrackSid("TR_v"), ParticipantSid("PA_b"), "video", codec))
    offer = subscriber.next_offer(TRANSPORT)
    assert offer is not None
    for act in (
        lambda: publisher.commit(publisher.read(text), TRANSPORT),
        lambda: player.commit(player.read(text, {"video": codec}), TRANSPORT),
        lambda: subscriber.answer(offer.id, text),
        lambda: parse_fragment(text),
    ):
        code = None
        try:
            act()
        except PeerError as refusal:
            code = refusal.code
        assert code is None or code in CODES
    fresh = PublisherNegotiation(
        ParticipantSid("PA_a"), session_id=1, new_track_sid=lambda: TrackSid("TR_a")
    )
    assert fresh.commit(fresh.read(SEEDS[0]), TRANSPORT)


def mutated(rng: random.Random, text: str) -> str:
    lines = text.split("\r\n")
    for _ in range(rng.randint(1, 6)):
        index = rng.randrange(len(lines))
        line = lines[index]
        match rng.randrange(7):
            case 0:
                del lines[index]
            case 1:
                lines.insert(index, rng.choice(lines))
            case 2:
                lines[index] = line[: rng.randint(0, len(line))]
            case 3:
                at = rng.randint(0, len(line))
                lines[index] = line[:at] + chr(rng.randrange(1, 0x3000)) + line[at + 1 :]
            case 4:
                lines[index] = line.replace(" ", "", 1)
            case 5:
                number = rng.choice(["-1", "0", "256", "4294967296", "9" * 40, "x", "1.5", "²"])
                lines[index] = " ".join([*line.split(" ")[:-1], number])
            case _:
                other = rng.randrange(len(lines))
                lines[index], lines[other] = lines[other], lines[index]
        if not lines:
            return ""
    return rng.choice(["\r\n", "\n"]).join(lines)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_description_is_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        text = mutated(rng, rng.choice(SEEDS))
        try:
            feed(text)
        except BaseException:
            print(f"seed {seed}: {text!r}")
            raise


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=400))
def test_noise_is_refused(text: str) -> None:
    feed(text)
    feed("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n" + text)


@pytest.mark.parametrize(
    "line",
    [
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "a=rtpmap:96 VP8/90000",
        "a=rtcp-fb:* nack",
        "a=fmtp:96 a=b",
        "a=ssrc:{n} cname:x",
        "a=ssrc-group:FID 1 2",
        "a=candidate:1 1 udp 1 1.1.1.1 9 typ host",
        "a=extmap:1 x",
        "a=group:BUNDLE 0",
        "a=fingerprint:sha-256 AA",
    ],
)
def test_the_largest_description_is_dealt_with_at_once(line: str) -> None:
    head = offer_of(video(mid="0"))
    count = (MAX_SDP_CHARS - len(head)) // (len(line) + 6)
    text = head + "".join(line.replace("{n}", str(n + 1)) + "\r\n" for n in range(count))
    before_s = time.process_time()
    feed(text)
    assert time.process_time() - before_s < 1.0
