"""Sans-IO: the room as one participant may see it, and what each event means to them.

Hidden participants are left out, with their tracks and voices; oneself is always seen.
"""

from typing import Final

from msgspec.structs import replace

from coordinator import events
from coordinator.center import StoredEvent
from coordinator.ids import BroadcastSid, ParticipantSid
from coordinator.model import BroadcastInfo, ParticipantInfo, Snapshot
from coordinator.requests import ActiveSpeakers
from signaling.config import IceServer
from signaling.messages import (
    BroadcastMessage,
    FromServer,
    Joined,
    ParticipantJoinedMessage,
    ParticipantLeftMessage,
    Resync,
    SpeakersMessage,
    TrackMutedMessage,
    TrackPublishedMessage,
    TrackUnpublishedMessage,
)


class RoomView:
    """What participant *me* sees, from *snapshot* on. Feed it the events after the snapshot."""

    def __init__(self, me: ParticipantInfo, snapshot: Snapshot) -> None:
        self._me: Final = me
        self._seen: set[ParticipantSid] = set()
        self._broadcast: BroadcastInfo | None = None
        self._look(snapshot)

    def joined(self, snapshot: Snapshot, ice_servers: tuple[IceServer, ...]) -> Joined:
        return Joined(
            room=snapshot.room,
            participant=self._me,
            participants=tuple(self._others(snapshot)),
            ice_servers=ice_servers,
            position=snapshot.position,
        )

    def resync(self, reason: str, snapshot: Snapshot) -> Resync:
        """The snapshot replaces everything; *participants* has oneself too, with one's tracks."""
        self._look(snapshot)
        return Resync(
            reason=reason,
            room=snapshot.room,
            participants=tuple(p for p in snapshot.participants if p.sid in self._seen),
            position=snapshot.position,
        )

    def event(self, stored: StoredEvent) -> FromServer | None:
        """The message for an event; None: it is not for this participant's eyes."""
        match stored.event:
            case events.ParticipantJoined(participant=who):
                if who.permissions.hidden:
                    return None
                self._seen.add(who.sid)
                return ParticipantJoinedMessage(participant=who)
            case events.ParticipantLeft(sid=sid, identity=identity, reason=reason):
                if sid not in self._seen:
                    return None
                self._seen.discard(sid)
                return ParticipantLeftMessage(sid=sid, identity=identity, reason=reason)
            case events.TrackPublished(participant=sid, track=track) if sid in self._seen:
                return TrackPublishedMessage(participant=sid, track=track)
            case events.TrackUnpublished(participant=sid, track=track_sid) if sid in self._seen:
                return TrackUnpublishedMessage(participant=sid, track=track_sid)
            case events.TrackMuted(participant=sid) as muted if sid in self._seen:
                return TrackMutedMessage(
                    participant=sid, track=muted.track, muted=muted.muted, by=muted.by
                )
            case (
                events.BroadcastRequested()
                | events.BroadcastLive()
                | events.BroadcastStopping()
                | events.BroadcastEnded()
            ):
                return self._broadcast_event(stored)
            case _:
                return None

    def speakers(self, notice: ActiveSpeakers) -> SpeakersMessage:
        return SpeakersMessage(
            speakers=tuple(s for s in notice.speakers if s.participant in self._seen)
        )

    def _look(self, snapshot: Snapshot) -> None:
        self._seen = {p.sid for p in snapshot.participants if not p.permissions.hidden}
        self._seen.add(self._me.sid)
        self._broadcast = snapshot.room.broadcast

    def _others(self, snapshot: Snapshot) -> list[ParticipantInfo]:
        me = self._me.sid
        return [p for p in snapshot.participants if p.sid in self._seen and p.sid != me]

    def _broadcast_event(self, stored: StoredEvent) -> BroadcastMessage:
        match stored.event:
            case events.BroadcastRequested(sid=sid):
                now = BroadcastInfo(sid=sid, state="requested", started_at=stored.envelope.ts)
            case events.BroadcastLive(sid=sid, url=url):
                now = replace(self._known(sid, stored), state="live", url=url)
            case events.BroadcastStopping(sid=sid):
                now = replace(self._known(sid, stored), state="stopping")
            case events.BroadcastEnded(sid=sid):
                now = replace(self._known(sid, stored), state="ended", url="")
            case _:
                raise AssertionError("not an event of a broadcast")
        self._broadcast = now
        return BroadcastMessage(broadcast=now)

    def _known(self, sid: BroadcastSid, stored: StoredEvent) -> BroadcastInfo:
        if self._broadcast is not None and self._broadcast.sid == sid:
            return self._broadcast
        return BroadcastInfo(sid=sid, state="requested", started_at=stored.envelope.ts)
