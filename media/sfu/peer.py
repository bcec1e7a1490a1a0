"""One participant inside a media node: its transports and what goes over them (sans-IO)."""

from collections.abc import Callable
from dataclasses import dataclass, field

from coordinator.errors import PeerError
from coordinator.ids import Identity, NodeId, ParticipantSid, TrackSid
from coordinator.model import ParticipantInfo, TrackInfo, TrackKind
from coordinator.requests import SdpFragmentAnswer
from media.sfu.fragment import parse_fragment, write_fragment
from media.sfu.negotiation import PublisherNegotiation, RemoteTransport
from media.sfu.offering import SubscriberNegotiation
from media.sfu.plane import MediaPlane, Publication, Subscription, Transport
from media.sfu.playback import PlayerLine
from media.sfu.sdp import LocalTransport
from media.sfu.spec import Ssrc


@dataclass(frozen=True, slots=True)
class Numbers:
    """Where a node's identifiers come from."""

    session_id: Callable[[], int]
    """For SDP, below 2^62 (RFC 9429 5.2.1)."""
    ssrc: Callable[[], Ssrc]
    """Never the same again within one node."""
    track_sid: Callable[[], TrackSid]


@dataclass(slots=True)
class PublishedTrack:
    """A track that arrives here. It is forwarded unless its participant or an operator muted it;
    neither undoes the other's mute."""

    participant: ParticipantSid
    identity: Identity
    told: TrackInfo
    """As it was published."""
    publication: Publication
    muted_by_participant: bool
    muted_by_admin: bool = False

    @property
    def muted(self) -> bool:
        return self.muted_by_participant or self.muted_by_admin

    @property
    def info(self) -> TrackInfo:
        """As it is now."""
        told = self.told
        return TrackInfo(
            sid=told.sid,
            kind=told.kind,
            source=told.source,
            mime=told.mime,
            muted=self.muted,
            name=told.name,
        )


@dataclass(slots=True)
class PublisherSide:
    """The transport on which a participant sends."""

    transport: Transport
    negotiation: PublisherNegotiation
    tracks: dict[TrackSid, PublishedTrack] = field(default_factory=dict)


@dataclass(slots=True)
class SubscriberSide:
    """The transport on which a WebSocket participant receives."""

    transport: Transport
    negotiation: SubscriberNegotiation
    subscriptions: dict[TrackSid, Subscription] = field(default_factory=dict)
    offered_at_s: float | None = None
    """When the outstanding offer was last said; None: just now."""
    said: int = 0
    """How often."""


@dataclass(slots=True)
class PlayerPart:
    """One m-line of a player."""

    line: PlayerLine
    subscription: Subscription | None = None
    track: TrackSid | None = None


@dataclass(slots=True)
class PlayerSide:
    """The transport on which a WHEP player receives."""

    transport: Transport
    remote: RemoteTransport
    source: Identity | None
    """Whom to play; None: whoever speaks."""
    parts: tuple[PlayerPart, ...]
    playing: ParticipantSid | None = None


@dataclass(slots=True)
class Peer:
    """One participant."""

    info: ParticipantInfo
    edge: NodeId | None
    """Its signaling process, where known."""
    publisher: PublisherSide | None = None
    subscriber: SubscriberSide | None = None
    player: PlayerSide | None = None

    @property
    def hidden(self) -> bool:
        return self.info.permissions.hidden

    @property
    def transports(self) -> tuple[Transport, ...]:
        sides = (self.publisher, self.subscriber, self.player)
        return tuple(side.transport for side in sides if side is not None)

    def track(self, kind: TrackKind) -> PublishedTrack | None:
        """The camera or microphone, else what comes nearest."""
        tracks = self.publisher.tracks.values() if self.publisher is not None else ()
        mine = [track for track in tracks if track.told.kind == kind]
        wanted = "camera" if kind == "video" else "microphone"
        return next((t for t in mine if t.told.source == wanted), mine[0] if mine else None)


def describe(plane: MediaPlane, transport: Transport) -> LocalTransport:
    """What descriptions say of *transport*."""
    return LocalTransport(
        ice_ufrag=transport.ufrag,
        ice_pwd=transport.pwd,
        fingerprint=transport.fingerprint,
        candidates=tuple(plane.candidates),
    )


def set_remote(transport: Transport, remote: RemoteTransport) -> None:
    transport.set_remote(
        remote.fingerprints, remote_ufrag=remote.ice_ufrag, remote_pwd=remote.ice_pwd
    )


def patch(plane: MediaPlane, peer: Peer, text: str, etag: str | None) -> SdpFragmentAnswer:
    """A WHIP or WHEP client's PATCH: candidates or an ICE restart (RFC 9725 4.3).

    The entity tag of an ICE session is our username fragment: it changes with each restart and
    says nothing that the answer has not said.

    Raises PeerError: wrong_state, precondition_failed, invalid_sdp, invalid_candidate.
    """
    side = peer.player or peer.publisher
    if side is None or peer.info.kind == "standard":
        raise PeerError("wrong_state", "There is no WHIP or WHEP session.")
    fragment = parse_fragment(text)
    transport = side.transport
    if etag != "*" and etag != transport.ufrag:
        raise PeerError("precondition_failed", "If-Match names another ICE session.")
    remote = side.negotiation.remote if isinstance(side, PublisherSide) else side.remote
    assert remote is not None, "a side is kept once its first offer was taken"
    if fragment.ice_ufrag in ("", remote.ice_ufrag):
        return SdpFragmentAnswer()  # trickled candidates: an ICE-lite agent needs none
    if isinstance(side, PublisherSide):
        remote = side.negotiation.restarted(fragment.ice_ufrag, fragment.ice_pwd)
        mid = side.negotiation.first_mid
    else:
        remote = RemoteTransport(fragment.ice_ufrag, fragment.ice_pwd, remote.fingerprints)
        side.remote = remote
        mid = side.parts[0].line.mid
    transport.restart_ice()
    set_remote(transport, remote)
    return SdpFragmentAnswer(
        fragment=write_fragment(describe(plane, transport), mid), etag=transport.ufrag
    )
