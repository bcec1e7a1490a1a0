"""Publishers: the client offers, we answer (sans-IO).

One ``PublisherNegotiation`` lives as long as the publisher transport. An offer is first read into a
``PublisherPlan``, which changes nothing, so that a wrong offer leaves everything as it was; the
caller then prepares its transport and commits the plan, which gives the answer.

We are ICE-lite and DTLS passive (RFC 8445 2.5, RFC 8842 5.3), receive only, bundle everything
(RFC 8843) and require RTP and RTCP on one flow (RFC 5761).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from coordinator.errors import PeerError
from coordinator.ids import ParticipantSid, TrackSid
from coordinator.model import TrackInfo, TrackKind, TrackSource
from coordinator.requests import AnsweredTrack, TrackAnnouncement
from media.sfu.codecs import accept_extensions, choose
from media.sfu.sdp import (
    LocalMedia,
    LocalTransport,
    RejectedMedia,
    RemoteDescription,
    RemoteMedia,
    Setup,
    check_ice,
    invalid,
    parse,
    write,
)
from media.sfu.spec import PublicationSpec, Ssrc

MAX_PUBLISHER_MEDIA: Final = 32
"""m-lines of one publisher: camera, microphone, screen and its sound, and those stopped before."""
MAX_TRACK_NAME_CHARS: Final = 128

WHIP_SOURCES: Final[Mapping[TrackKind, TrackSource]] = {
    "audio": "microphone",
    "video": "camera",
}
_FITTING_SOURCES: Final[Mapping[TrackKind, frozenset[TrackSource]]] = {
    "audio": frozenset({"microphone", "screen_share_audio", "unknown"}),
    "video": frozenset({"camera", "screen_share", "unknown"}),
}


@dataclass(frozen=True, slots=True)
class RemoteTransport:
    """What a peer says of its side of a transport."""

    ice_ufrag: str
    ice_pwd: str
    fingerprints: tuple[tuple[str, str], ...]
    """(algorithm, value)"""


@dataclass(frozen=True, slots=True)
class NewTrack:
    """A track that an offer begins."""

    spec: PublicationSpec
    info: TrackInfo


@dataclass(frozen=True, slots=True)
class _Line:
    """One m-line of a publisher as it stands after an answer."""

    mid: str
    kind: str
    answer: LocalMedia | RejectedMedia
    track: NewTrack | None


@dataclass(frozen=True, slots=True)
class PublisherPlan:
    """What an offer comes to. Nothing has changed yet."""

    remote: RemoteTransport
    first: bool
    """The transport has no remote yet."""
    ice_restart: bool
    """The peer has new ICE credentials: make new ones too (RFC 8445 9)."""
    published: tuple[NewTrack, ...]
    ended: tuple[TrackSid, ...]
    tracks: tuple[AnsweredTrack, ...]
    """Of each m-line that is received after this answer."""
    lines: tuple[_Line, ...]


def read_transport(media: Iterable[RemoteMedia], setups: frozenset[Setup]) -> RemoteTransport:
    """Return the peer's side of the one transport under *media* (its live m-lines, at least one).

    The first one carries what holds for all (RFC 8843 10.1: the tagged m-line).

    Raises PeerError("invalid_sdp") when credentials or fingerprint are missing, the DTLS role does
    not fit ours, or RTCP has its own flow.
    """
    lines = tuple(media)
    tagged = lines[0]
    check_ice(tagged.ice_ufrag, tagged.ice_pwd)
    if not tagged.fingerprints:
        raise invalid("There is no certificate fingerprint with sha-256, sha-384 or sha-512.")
    if tagged.setup not in setups:
        raise invalid("The server is DTLS passive: setup must be " + " or ".join(sorted(setups)))
    if not all(line.rtcp_mux for line in lines):
        raise invalid("RTP and RTCP must share one flow (rtcp-mux).")
    return RemoteTransport(tagged.ice_ufrag, tagged.ice_pwd, tagged.fingerprints)


def check_bundle(remote: RemoteDescription, live: Iterable[RemoteMedia]) -> None:
    """Raises PeerError("invalid_sdp") unless the *live* m-lines are bundled (RFC 8843)."""
    lines = tuple(live)
    if any(not line.mid for line in lines):
        raise invalid("Each m-line needs a mid.")
    if len(lines) > 1 and any(line.mid not in (remote.bundle or ()) for line in lines):
        raise invalid("All m-lines must be in one BUNDLE group.")


def is_media(line: RemoteMedia) -> bool:
    return line.kind in ("audio", "video") and "RTP/SAVPF" in line.profile and bool(line.formats)


def rejection(line: RemoteMedia) -> RejectedMedia:
    """The answer to an m-line that we do not take (RFC 3264 6)."""
    first = line.formats[0] if line.formats else "0"
    return RejectedMedia(line.kind, line.mid, line.profile, first)


class PublisherNegotiation:
    """Answers the offers of one publisher transport.

    *sources* fixes the sources by kind (WHIP); without it the announcements say them.
    """

    def __init__(
        self,
        participant: ParticipantSid,
        *,
        session_id: int,
        new_track_sid: Callable[[], TrackSid],
        sources: Mapping[TrackKind, TrackSource] | None = None,
    ) -> None:
        self._participant = participant
        self._session_id = session_id
        self._new_track_sid = new_track_sid
        self._sources = sources
        self._version = 0
        self._lines: tuple[_Line, ...] = ()
        self._remote: RemoteTransport | None = None

    @property
    def remote(self) -> RemoteTransport | None:
        return self._remote

    def read(self, sdp: str, announcements: Iterable[TrackAnnouncement] = ()) -> PublisherPlan:
        """Return what the offer *sdp* comes to.

        Raises PeerError: invalid_sdp; invalid_field (an announcement); unsupported_media (an offer
        to send of which nothing can be taken).
        """
        offer = parse(sdp)
        if len(offer.media) > MAX_PUBLISHER_MEDIA:
            raise invalid(f"A publisher has at most {MAX_PUBLISHER_MEDIA} m-lines.")
        self._check_order(offer)
        announced = _checked(announcements)
        lines = tuple(
            self._line(media, self._lines[i] if i < len(self._lines) else None, announced)
            for i, media in enumerate(offer.media)
        )
        live = [
            media
            for media, line in zip(offer.media, lines, strict=True)
            if isinstance(line.answer, LocalMedia)
        ]
        if not live:
            if any(is_media(media) and not media.rejected for media in offer.media):
                raise PeerError("unsupported_media", "None of the offered codecs is supported.")
            if self._remote is None:
                raise invalid("The offer has no m-line for audio or video.")
            return self._plan(self._remote, lines)  # everything was stopped
        check_bundle(offer, live)
        remote = read_transport(live, frozenset({"actpass", "active"}))
        _check_ssrcs(lines)
        return self._plan(remote, lines)

    def commit(self, plan: PublisherPlan, transport: LocalTransport) -> str:
        """Make *plan* the present state and return the answer. *transport* is as it stands now."""
        self._lines = plan.lines
        self._remote = plan.remote
        self._version += 1
        return write(
            session_id=self._session_id,
            version=self._version,
            setup="passive",
            transport=transport,
            media=[line.answer for line in plan.lines],
        )

    @property
    def first_mid(self) -> str:
        """Of the m-line that stands for the transport; empty if every one was rejected."""
        live = (line.mid for line in self._lines if isinstance(line.answer, LocalMedia))
        return next(live, "")

    def restarted(self, ice_ufrag: str, ice_pwd: str) -> RemoteTransport:
        """Take the credentials of an ICE restart outside of an offer (RFC 9725 4.3.3)."""
        assert self._remote is not None, "restart before the first offer"
        self._remote = RemoteTransport(ice_ufrag, ice_pwd, self._remote.fingerprints)
        return self._remote

    def _plan(self, remote: RemoteTransport, lines: tuple[_Line, ...]) -> PublisherPlan:
        before = self._remote
        if before is not None and set(before.fingerprints) != set(remote.fingerprints):
            raise invalid("The certificate cannot change within one connection.")
        had = {line.track.info.sid: line.track for line in self._lines if line.track}
        has = {line.track.info.sid: line.track for line in lines if line.track}
        return PublisherPlan(
            remote=remote,
            first=before is None,
            ice_restart=before is not None and before.ice_ufrag != remote.ice_ufrag,
            published=tuple(track for sid, track in has.items() if sid not in had),
            ended=tuple(sid for sid in had if sid not in has),
            tracks=tuple(
                AnsweredTrack(mid=line.mid, sid=line.track.info.sid) for line in lines if line.track
            ),
            lines=lines,
        )

    def _check_order(self, offer: RemoteDescription) -> None:
        """m-lines keep their places (RFC 3264 8); only a rejected one may be taken over by another
        (RFC 9429 5.2.2)."""
        if len(offer.media) < len(self._lines):
            raise invalid("A later offer cannot have fewer m-lines.")
        for old, media in zip(self._lines, offer.media, strict=False):
            if isinstance(old.answer, RejectedMedia):
                continue
            if not media.rejected and (media.mid, media.kind) != (old.mid, old.kind):
                raise invalid("An m-line changed its place, its mid or its kind.")

    def _line(
        self, media: RemoteMedia, old: _Line | None, announced: Mapping[str, TrackAnnouncement]
    ) -> _Line:
        chosen = choose(media) if is_media(media) and not media.rejected else None
        if chosen is None:
            return _Line(media.mid, media.kind, rejection(media), None)
        extensions = accept_extensions(media)
        sends = media.direction in ("sendonly", "sendrecv")
        answer = LocalMedia(
            kind=media.kind,
            mid=media.mid,
            direction="recvonly" if sends else "inactive",
            codecs=(chosen,),
            profile=media.profile,
            extensions=extensions,
        )
        if not sends:
            return _Line(media.mid, media.kind, answer, None)
        kind: TrackKind = "audio" if media.kind == "audio" else "video"
        ssrc = media.ssrcs[0] if media.ssrcs else None
        rtx_ssrc = media.retransmissions.get(ssrc) if ssrc is not None else None
        if old is not None and old.track is not None and old.mid == media.mid:
            spec = old.track.spec
            if (spec.codecs, spec.ssrc, spec.rtx_ssrc, spec.extensions) == (
                (chosen,),
                ssrc,
                rtx_ssrc,
                extensions,
            ):
                return _Line(media.mid, media.kind, answer, old.track)
        announcement = announced.get(media.mid) or TrackAnnouncement(mid=media.mid)
        source = self._sources[kind] if self._sources else announcement.source
        if source not in _FITTING_SOURCES[kind]:
            raise PeerError("invalid_field", f"A track of kind {kind} cannot be a {source}.")
        sid = self._new_track_sid()
        spec = PublicationSpec(
            track=sid,
            participant=self._participant,
            kind=kind,
            source=source,
            mid=media.mid,
            codecs=(chosen,),
            ssrc=ssrc,
            rtx_ssrc=rtx_ssrc,
            extensions=extensions,
        )
        info = TrackInfo(
            sid=sid,
            kind=kind,
            source=source,
            mime=chosen.mime,
            muted=announcement.muted,
            name=announcement.name,
        )
        return _Line(media.mid, media.kind, answer, NewTrack(spec, info))


def _checked(announcements: Iterable[TrackAnnouncement]) -> dict[str, TrackAnnouncement]:
    announced = {a.mid: a for a in announcements}
    for announcement in announced.values():
        name = announcement.name
        if len(name) > MAX_TRACK_NAME_CHARS or not (name.isprintable() or not name):
            raise PeerError(
                "invalid_field",
                f"A track's name has at most {MAX_TRACK_NAME_CHARS} printable characters.",
            )
    return announced


def _check_ssrcs(lines: Iterable[_Line]) -> None:
    """On one transport an ssrc names one source (RFC 3550 8)."""
    seen: set[Ssrc] = set()
    for line in lines:
        if line.track is None:
            continue
        for ssrc in (line.track.spec.ssrc, line.track.spec.rtx_ssrc):
            if ssrc is None:
                continue
            if ssrc in seen:
                raise invalid("Two m-lines have the same ssrc.")
            seen.add(ssrc)
