"""What WHEP players are sent: one participant's camera and microphone, or whoever speaks (sans-IO).

A player has one ssrc for each of its m-lines, whatever it is switched to. While there is nothing
to play its line is silent; the subscription stays, so that its numbers go on.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from coordinator.errors import PeerError
from coordinator.ids import Identity, ParticipantSid
from coordinator.model import TrackKind
from media.sfu.peer import (
    Numbers,
    Peer,
    PlayerPart,
    PlayerSide,
    PublishedTrack,
    describe,
    set_remote,
)
from media.sfu.plane import MediaPlane, TransportObserver
from media.sfu.playback import PlayerNegotiation
from media.sfu.spec import CodecSpec

_KINDS: Final[tuple[TrackKind, ...]] = ("audio", "video")


class Players:
    """The players of one room. *peers* are all of the room's, *dominant* is who speaks."""

    def __init__(
        self,
        plane: MediaPlane,
        numbers: Numbers,
        peers: Mapping[ParticipantSid, Peer],
        dominant: Callable[[], ParticipantSid | None],
    ) -> None:
        self._plane = plane
        self._numbers = numbers
        self._peers = peers
        self._dominant = dominant

    def open(
        self, peer: Peer, sdp: str, source: Identity | None, observer: TransportObserver
    ) -> str:
        """Take *peer*'s offer and return the answer; its media begins when its transport is up.

        Raises PeerError: invalid_sdp, unsupported_media.
        """
        origin = self._origin(source, None)
        negotiation = PlayerNegotiation(
            session_id=self._numbers.session_id(),
            cname=peer.info.sid,
            new_ssrc=self._numbers.ssrc,
        )
        plan = negotiation.read(sdp, _codecs(origin))
        transport = self._plane.create_transport(observer)
        answer = negotiation.commit(plan, describe(self._plane, transport))
        peer.player = PlayerSide(
            transport=transport,
            remote=plan.remote,
            source=source,
            parts=tuple(PlayerPart(line) for line in plan.lines),
        )
        set_remote(transport, plan.remote)
        self.follow()
        return answer

    def follow(self) -> None:
        """Send every player what it should see now. Call when tracks or speakers changed."""
        for peer in self._peers.values():
            player = peer.player
            if player is None:
                continue
            origin = self._origin(player.source, player.playing)
            player.playing = origin.info.sid if origin is not None else player.playing
            for part in player.parts:
                self._send(player, part, origin.track(part.line.kind) if origin else None)

    def _send(self, player: PlayerSide, part: PlayerPart, track: PublishedTrack | None) -> None:
        if track is None or part.track == track.told.sid:
            return
        if not part.line.plays(track.publication.codec):
            return  # the last picture stays rather than one that cannot be decoded
        part.track = track.told.sid
        if part.subscription is None:
            part.subscription = self._plane.subscribe(
                track.publication, player.transport, part.line.subscription(track.told.sid)
            )
        else:
            part.subscription.switch(track.publication)

    def _origin(self, source: Identity | None, playing: ParticipantSid | None) -> Peer | None:
        """Whom to play: the one asked for; else who speaks, else who was played, else anybody."""
        publishing = [
            peer
            for peer in self._peers.values()
            if not peer.hidden and peer.publisher is not None and peer.publisher.tracks
        ]
        if source is not None:
            return _first(peer for peer in publishing if peer.info.identity == source)
        by_sid = {peer.info.sid: peer for peer in publishing}
        for sid in (self._dominant(), playing):
            if sid is not None and sid in by_sid:
                return by_sid[sid]
        seen = (peer for peer in publishing if peer.track("video") is not None)
        return _first(seen) or _first(publishing)


def _codecs(origin: Peer | None) -> dict[TrackKind, CodecSpec]:
    codecs: dict[TrackKind, CodecSpec] = {}
    for kind in _KINDS:
        track = origin.track(kind) if origin is not None else None
        if track is not None:
            codecs[kind] = track.publication.codec
    return codecs


def _first(peers: Iterable[Peer]) -> Peer | None:
    return next(iter(peers), None)


def check_player(peer: Peer) -> None:
    """Raises PeerError unless *peer* may begin to play."""
    if peer.info.kind != "whep" or peer.player is not None:
        raise PeerError("wrong_state", "This participant is no player, or plays already.")
    if not peer.info.permissions.can_subscribe:
        raise PeerError("permission_denied")
