"""Players: a WHEP client offers to receive, we answer (sans-IO).

The payload types are the offer's. Each m-line gets one codec for its whole life, because a player
is not asked again: the source's if it publishes already, else the first of the offer that we
forward. What is switched to later must have that codec.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from coordinator.errors import PeerError
from coordinator.ids import TrackSid
from coordinator.model import TrackKind
from media.sfu.codecs import accept, accept_extensions, choose, plays
from media.sfu.negotiation import (
    MAX_PUBLISHER_MEDIA,
    RemoteTransport,
    check_bundle,
    is_media,
    read_transport,
    rejection,
)
from media.sfu.sdp import (
    LocalMedia,
    LocalTransport,
    RejectedMedia,
    RemoteMedia,
    invalid,
    parse,
    write,
)
from media.sfu.spec import CodecSpec, Ssrc, SubscriptionSpec


@dataclass(frozen=True, slots=True)
class PlayerLine:
    """One m-line on which a player receives."""

    kind: TrackKind
    mid: str
    codec: CodecSpec
    """As the offer numbers it."""
    ssrc: Ssrc
    rtx_ssrc: Ssrc | None
    cname: str
    extensions: dict[str, int]

    def plays(self, codec: CodecSpec) -> bool:
        """Whether a track sent with *codec* can go here."""
        return plays(self.codec, codec)

    def subscription(self, track: TrackSid) -> SubscriptionSpec:
        """How *track* is sent on this line."""
        return SubscriptionSpec(
            track=track,
            mid=self.mid,
            codec=self.codec,
            ssrc=self.ssrc,
            rtx_ssrc=self.rtx_ssrc,
            cname=self.cname,
            extensions=self.extensions,
        )


@dataclass(frozen=True, slots=True)
class PlayerPlan:
    """What a player's offer comes to."""

    remote: RemoteTransport
    lines: tuple[PlayerLine, ...]
    answer: tuple[LocalMedia | RejectedMedia, ...]


class PlayerNegotiation:
    """Answers the one offer of a player. *cname* names the source to RTCP (RFC 7022)."""

    def __init__(self, *, session_id: int, cname: str, new_ssrc: Callable[[], Ssrc]) -> None:
        self._session_id = session_id
        self._cname = cname
        self._new_ssrc = new_ssrc

    def read(self, sdp: str, source: Mapping[TrackKind, CodecSpec]) -> PlayerPlan:
        """Return what the offer comes to; *source* has the codecs of the tracks to play now.

        One m-line of each kind is used, others are rejected.

        Raises PeerError: invalid_sdp; unsupported_media if the player cannot decode what *source*
        sends, or nothing that we forward.
        """
        offer = parse(sdp)
        if len(offer.media) > MAX_PUBLISHER_MEDIA:
            raise invalid(f"A player has at most {MAX_PUBLISHER_MEDIA} m-lines.")
        lines: list[PlayerLine] = []
        answer: list[LocalMedia | RejectedMedia] = []
        live: list[RemoteMedia] = []
        asked = False
        for media in offer.media:
            receives = (
                is_media(media)
                and not media.rejected
                and media.direction in ("recvonly", "sendrecv")
            )
            asked = asked or receives
            kind: TrackKind = "audio" if media.kind == "audio" else "video"
            codec = _codec(media, source.get(kind)) if receives else None
            if codec is None or any(line.kind == kind for line in lines):
                answer.append(rejection(media))
                continue
            line = self._line(media, kind, codec)
            lines.append(line)
            live.append(media)
            answer.append(_answer(media, line))
        if not lines:
            if asked:
                raise PeerError("unsupported_media", "None of the offered codecs can be played.")
            raise invalid("The offer has no m-line that receives audio or video.")
        check_bundle(offer, live)
        remote = read_transport(live, frozenset({"actpass", "active"}))
        return PlayerPlan(remote, tuple(lines), tuple(answer))

    def commit(self, plan: PlayerPlan, transport: LocalTransport) -> str:
        """Return the answer."""
        return write(
            session_id=self._session_id,
            version=1,
            setup="passive",
            transport=transport,
            media=plan.answer,
        )

    def _line(self, media: RemoteMedia, kind: TrackKind, codec: CodecSpec) -> PlayerLine:
        rtx = codec.rtx_payload_type is not None
        return PlayerLine(
            kind=kind,
            mid=media.mid,
            codec=codec,
            ssrc=self._new_ssrc(),
            rtx_ssrc=self._new_ssrc() if rtx else None,
            cname=self._cname,
            extensions=accept_extensions(media),
        )


def _codec(media: RemoteMedia, sent: CodecSpec | None) -> CodecSpec | None:
    """The codec for an m-line: one that plays *sent*, or the first we forward.

    Raises PeerError("unsupported_media") if none plays *sent*.
    """
    if sent is None:
        return choose(media)
    for offered in media.codecs:
        spec = accept(media, offered)
        if spec is not None and plays(spec, sent):
            return spec
    raise PeerError("unsupported_media", f"The source sends {sent.mime}, which was not offered.")


def _answer(media: RemoteMedia, line: PlayerLine) -> LocalMedia:
    return LocalMedia(
        kind=media.kind,
        mid=media.mid,
        direction="sendonly",
        codecs=(line.codec,),
        profile=media.profile,
        extensions=line.extensions,
        msid=f"{line.cname} {line.kind}",
        ssrc=line.ssrc,
        rtx_ssrc=line.rtx_ssrc,
        cname=line.cname,
    )
