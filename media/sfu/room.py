"""A room inside a media node: who is in it, what they publish and who gets it (sans-IO).

Everybody gets everything but their own tracks and those of hidden participants. Calls act on the
media plane at once and leave what the outside must hear in ``drain``; *wake* is called when
something is there although nobody called.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from coordinator.errors import PeerError
from coordinator.ids import Identity, NodeId, ParticipantSid, RoomName, TrackSid
from coordinator.model import ParticipantInfo, ParticipantKind
from coordinator.requests import (
    PublisherAnswer,
    SdpAnswer,
    SdpFragmentAnswer,
    SpeakerLevel,
    TrackAnnouncement,
)
from media.sfu.negotiation import WHIP_SOURCES, NewTrack, PublisherNegotiation, PublisherPlan
from media.sfu.offering import SubscriberNegotiation, WantedTrack
from media.sfu.outputs import (
    OfferReady,
    PeerLost,
    RoomOutput,
    SpeakersChanged,
    TrackBegan,
    TrackEnded,
    TrackMuteChanged,
)
from media.sfu.peer import (
    Numbers,
    Peer,
    PublishedTrack,
    PublisherSide,
    SubscriberSide,
    describe,
    patch,
    set_remote,
)
from media.sfu.plane import MediaPlane, Transport
from media.sfu.players import Players, check_player
from media.sfu.sdp import check_candidate
from media.sfu.speakers import SpeakerDetector

_log: Final = logging.getLogger(__name__)

OFFER_REPEAT_S: Final = 4.0
"""Offers travel as notices, at most once; one that is not answered is said again, ..."""
OFFER_REPEAT_MAX_S: Final = 60.0
"""... ever more slowly, for a client may be stuck for good."""
OFFERS_PER_TURN: Final = 4
"""An offer of a full room takes 3 ms: media must not wait for those of all participants."""
_REMEMBERED_LEAVERS: Final = 1000
"""A request may overtake the word that its sender has left."""


class _Observer:
    """Tells the room how one transport fares."""

    def __init__(self, room: "Room", participant: ParticipantSid) -> None:
        self._room = room
        self._participant = participant

    def connected(self, transport: Transport) -> None:
        pass

    def failed(self, transport: Transport, why: str) -> None:
        self._room.transport_failed(self._participant, transport, why)


class Room:
    """One room. Not thread-safe; all calls come from one event loop."""

    def __init__(
        self,
        name: RoomName,
        plane: MediaPlane,
        numbers: Numbers,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.name: Final = name
        self._plane = plane
        self._numbers = numbers
        self._wake = wake
        self._peers: dict[ParticipantSid, Peer] = {}
        self._tracks: dict[TrackSid, PublishedTrack] = {}
        self._leavers: deque[ParticipantSid] = deque(maxlen=_REMEMBERED_LEAVERS)
        self._outputs: list[RoomOutput] = []
        self._stale: dict[ParticipantSid, None] = {}
        """Subscribers that may need an offer, in turn."""
        self._speakers = SpeakerDetector()
        self._dominant: ParticipantSid | None = None
        self._players = Players(plane, numbers, self._peers, lambda: self._dominant)

    # --- what others may look at ------------------------------------------------------------------

    @property
    def participants(self) -> tuple[ParticipantSid, ...]:
        return tuple(self._peers)

    @property
    def tracks(self) -> tuple[PublishedTrack, ...]:
        """All tracks that are shown to others."""
        return tuple(t for t in self._tracks.values() if not self._peers[t.participant].hidden)

    @property
    def all_tracks(self) -> tuple[PublishedTrack, ...]:
        """Those of hidden participants too, as the ledger has them."""
        return tuple(self._tracks.values())

    @property
    def dominant(self) -> Identity | None:
        peer = self._peers.get(self._dominant) if self._dominant is not None else None
        return peer.info.identity if peer is not None else None

    @property
    def speakers(self) -> tuple[SpeakerLevel, ...]:
        return tuple(
            SpeakerLevel(
                participant=sid, identity=self._peers[sid].info.identity, level=round(level, 3)
            )
            for sid, level in self._speakers.speaking
            if sid in self._peers
        )

    @property
    def waiting_tracks(self) -> int:
        """Tracks that found no m-line, over all subscribers."""
        sides = (peer.subscriber for peer in self._peers.values())
        return sum(side.negotiation.waiting for side in sides if side is not None)

    def has(self, sid: ParticipantSid) -> bool:
        return sid in self._peers

    def gone(self, sid: ParticipantSid) -> bool:
        """Whether *sid* was here and left; it never comes back under this sid."""
        return sid in self._leavers

    def drain(self) -> list[RoomOutput]:
        """What the outside must hear, in order. Empties it; more may follow in a turn of the loop
        (*wake* says so)."""
        self._make_offers()
        if self._stale:
            self._wake()
        outputs, self._outputs = self._outputs, []
        return outputs

    # --- who is here ------------------------------------------------------------------------------

    def add(self, info: ParticipantInfo, edge: NodeId | None) -> None:
        """*info* has joined. Said twice is said once; the edge is learned whenever it is told."""
        if info.sid in self._leavers:
            return
        peer = self._peers.get(info.sid)
        if peer is not None:
            peer.edge = edge or peer.edge
            return
        peer = self._peers[info.sid] = Peer(info, edge)
        if info.kind == "standard" and info.permissions.can_subscribe:
            for track in self.tracks:
                self._want(peer, track)
        self._settle()

    def remove(self, sid: ParticipantSid) -> None:
        """*sid* has left: its transports close, its tracks end for the others."""
        peer = self._peers.get(sid)
        if peer is None:
            return
        self._leavers.append(sid)
        if peer.publisher is not None:
            for track in tuple(peer.publisher.tracks):
                self._end_track(peer.publisher, track)
        del self._peers[sid]
        self._stale.pop(sid, None)
        for transport in peer.transports:
            transport.close()
        self._players.follow()
        self._settle()

    def close(self) -> None:
        """End all media of the room."""
        for peer in self._peers.values():
            for transport in peer.transports:
                transport.close()
        self._peers.clear()
        self._tracks.clear()
        self._outputs.clear()

    def transport_failed(self, sid: ParticipantSid, transport: Transport, why: str) -> None:
        """A transport of *sid* is gone for good.

        A browser that stops publishing may close that connection and stay; whoever closes what it
        receives by has gone.
        """
        peer = self._peers.get(sid)
        if peer is None or transport not in peer.transports:
            return
        closed = why == "closed_by_peer"
        publisher = peer.publisher
        if closed and publisher is not None and publisher.transport is transport:
            for track in tuple(publisher.tracks):
                self._end_track(publisher, track)
                self._outputs.append(TrackEnded(sid, track))
            peer.publisher = None
            if peer.info.kind == "standard":
                self._players.follow()
                self._settle()
                return
        self.remove(sid)
        self._outputs.append(PeerLost(sid, "left" if closed else "transport_failed", why))
        self._settle()

    # --- publishing -------------------------------------------------------------------------------

    def publisher_offer(
        self, sid: ParticipantSid, sdp: str, announcements: Iterable[TrackAnnouncement]
    ) -> PublisherAnswer:
        """Answer a participant's offer for its publisher transport, first or again."""
        peer = self._peer(sid, "standard")
        answer, plan, _ = self._publish(peer, sdp, announcements, whip=False)
        return PublisherAnswer(sdp=answer, tracks=plan.tracks)

    def whip_offer(self, sid: ParticipantSid, sdp: str) -> SdpAnswer:
        """Answer a WHIP client's only offer."""
        peer = self._peer(sid, "whip")
        if peer.publisher is not None:
            raise PeerError("wrong_state", "This WHIP session has had its offer.")
        answer, _, side = self._publish(peer, sdp, (), whip=True)
        return SdpAnswer(sdp=answer, etag=side.transport.ufrag)

    def _publish(
        self, peer: Peer, sdp: str, announcements: Iterable[TrackAnnouncement], *, whip: bool
    ) -> tuple[str, PublisherPlan, PublisherSide]:
        if not peer.info.permissions.can_publish:
            raise PeerError("permission_denied", "This participant may not publish.")
        side = peer.publisher
        negotiation = (
            side.negotiation
            if side is not None
            else PublisherNegotiation(
                peer.info.sid,
                session_id=self._numbers.session_id(),
                new_track_sid=self._numbers.track_sid,
                sources=WHIP_SOURCES if whip else None,
            )
        )
        plan = negotiation.read(sdp, announcements)
        if side is None:
            transport = self._plane.create_transport(_Observer(self, peer.info.sid))
            side = peer.publisher = PublisherSide(transport, negotiation)
        if plan.ice_restart:
            side.transport.restart_ice()
        for track in plan.ended:
            self._end_track(side, track)
            self._outputs.append(TrackEnded(peer.info.sid, track))
        for new in plan.published:
            self._begin_track(peer, side, new)
        answer = negotiation.commit(plan, describe(self._plane, side.transport))
        if plan.first or plan.ice_restart:
            set_remote(side.transport, plan.remote)
        self._players.follow()
        self._settle()
        return answer, plan, side

    def _begin_track(self, peer: Peer, side: PublisherSide, new: NewTrack) -> None:
        publication = self._plane.publish(side.transport, new.spec)
        publication.muted = new.info.muted
        track = PublishedTrack(
            participant=peer.info.sid,
            identity=peer.info.identity,
            told=new.info,
            publication=publication,
            muted_by_participant=new.info.muted,
        )
        side.tracks[new.info.sid] = self._tracks[new.info.sid] = track
        self._outputs.append(TrackBegan(peer.info.sid, new.info))
        if peer.hidden:
            return
        for other in self._peers.values():
            if other is not peer and other.info.kind == "standard":
                self._want(other, track)

    def _end_track(self, side: PublisherSide, sid: TrackSid) -> None:
        track = side.tracks.pop(sid)
        del self._tracks[sid]
        for peer in self._peers.values():
            subscriber = peer.subscriber
            if subscriber is None:
                continue
            subscriber.negotiation.unwant(sid)
            subscription = subscriber.subscriptions.pop(sid, None)
            if subscription is not None:
                self._plane.unsubscribe(subscription)
            self._stale[peer.info.sid] = None
        self._plane.unpublish(track.publication)

    def set_muted(self, sid: ParticipantSid, track_sid: TrackSid, muted: bool, by: str) -> None:
        """Forward a track no longer, or again. Each side lifts only its own mute."""
        peer = self._peer(sid)
        track = peer.publisher.tracks.get(track_sid) if peer.publisher is not None else None
        if track is None:
            raise PeerError("track_not_found")
        before = track.muted
        if by == "admin":
            track.muted_by_admin = muted
        elif not muted and track.muted_by_admin:
            raise PeerError("permission_denied", "An operator muted this track.")
        else:
            track.muted_by_participant = muted
        if track.muted != before:
            track.publication.muted = track.muted
            self._outputs.append(TrackMuteChanged(sid, track_sid, track.muted, by))
        self._settle()

    # --- receiving --------------------------------------------------------------------------------

    def subscriber_answer(self, sid: ParticipantSid, offer_id: int, sdp: str) -> None:
        """Take a participant's answer to our offer; what it accepts begins to flow."""
        peer = self._peer(sid, "standard")
        side = peer.subscriber
        if side is None:
            raise PeerError("wrong_state", "There is no such offer outstanding.")
        outcome = side.negotiation.answer(offer_id, sdp)
        if outcome.first:
            assert outcome.remote is not None
            set_remote(side.transport, outcome.remote)
        for spec in outcome.started:
            track = self._tracks.get(spec.track)
            assert track is not None, "an ended track is unwanted, so it does not start"
            side.subscriptions[spec.track] = self._plane.subscribe(
                track.publication, side.transport, spec
            )
        if outcome.refused:
            _log.info("room %s: %s refused %d tracks", self.name, sid, len(outcome.refused))
        self._stale[sid] = None
        self._settle()

    def _want(self, peer: Peer, track: PublishedTrack) -> None:
        if not peer.info.permissions.can_subscribe:
            return
        side = peer.subscriber
        if side is None:
            side = peer.subscriber = SubscriberSide(
                self._plane.create_transport(_Observer(self, peer.info.sid)),
                SubscriberNegotiation(
                    session_id=self._numbers.session_id(), new_ssrc=self._numbers.ssrc
                ),
            )
        side.negotiation.want(
            WantedTrack(track.told.sid, track.participant, track.told.kind, track.publication.codec)
        )
        self._stale[peer.info.sid] = None

    def whep_offer(self, sid: ParticipantSid, sdp: str, source: Identity | None) -> SdpAnswer:
        """Answer a WHEP player's only offer."""
        peer = self._peer(sid)
        check_player(peer)
        answer = self._players.open(peer, sdp, source, _Observer(self, sid))
        assert peer.player is not None
        return SdpAnswer(sdp=answer, etag=peer.player.transport.ufrag)

    # --- both -------------------------------------------------------------------------------------

    def candidate(self, sid: ParticipantSid, text: str) -> None:
        """A trickled candidate: checked, and not needed by an ICE-lite agent."""
        self._peer(sid)
        if text:
            check_candidate(text)

    def fragment(self, sid: ParticipantSid, text: str, etag: str | None) -> SdpFragmentAnswer:
        """A WHIP or WHEP client's PATCH."""
        return patch(self._plane, self._peer(sid), text, etag)

    def hear(self, amplitudes: Mapping[TrackSid, float], now: float) -> None:
        """Take how loud each track was since the last call (linear amplitude, 0 to 1)."""
        loud: dict[ParticipantSid, float] = {}
        for track in self.tracks:
            if track.told.source in ("microphone", "unknown") and track.told.kind == "audio":
                amplitude = amplitudes.get(track.told.sid, 0.0)
                loud[track.participant] = max(amplitude, loud.get(track.participant, 0.0))
        if not self._speakers.observe(loud, now):
            return
        speaking = self._speakers.speaking
        if speaking:
            self._dominant = speaking[0][0]
        self._outputs.append(SpeakersChanged(self.speakers, self.dominant))
        self._players.follow()
        self._settle()

    def tick(self, now: float) -> None:
        """Say offers again that were not answered."""
        for peer in self._peers.values():
            side = peer.subscriber
            if side is None or side.negotiation.outstanding is None:
                continue
            if side.offered_at_s is None:
                side.offered_at_s = now
            elif now - side.offered_at_s >= _repeat_after_s(side.said):
                self._say_offer(peer, side)
        self._settle()

    def repeat_offers(self) -> None:
        """Notices may have been lost: say every outstanding offer again."""
        for peer in self._peers.values():
            if peer.subscriber is not None:
                peer.subscriber.said = 0
                self._say_offer(peer, peer.subscriber)
        self._settle()

    def _say_offer(self, peer: Peer, side: SubscriberSide) -> None:
        offer = side.negotiation.outstanding
        if offer is not None:
            side.offered_at_s = None
            side.said += 1
            self._outputs.append(
                OfferReady(peer.info.sid, peer.edge, offer.id, offer.sdp, offer.tracks)
            )

    def _settle(self) -> None:
        """After each change: make some of the offers that are due, and tell what there is."""
        self._make_offers()
        if self._outputs or self._stale:
            self._wake()

    def _make_offers(self) -> None:
        for _ in range(min(OFFERS_PER_TURN, len(self._stale))):
            sid = next(iter(self._stale))
            del self._stale[sid]
            peer = self._peers.get(sid)
            side = peer.subscriber if peer is not None else None
            if peer is None or side is None:
                continue
            if side.negotiation.next_offer(describe(self._plane, side.transport)) is not None:
                side.said = 0
                self._say_offer(peer, side)

    def _peer(self, sid: ParticipantSid, kind: ParticipantKind | None = None) -> Peer:
        peer = self._peers.get(sid)
        if peer is None:
            raise PeerError("participant_not_found")
        if kind is not None and peer.info.kind != kind:
            raise PeerError("wrong_state", f"This participant joined as {peer.info.kind}.")
        return peer


def _repeat_after_s(said: int) -> float:
    return min(OFFER_REPEAT_MAX_S, OFFER_REPEAT_S * 2.0 ** min(said - 1, 8))
