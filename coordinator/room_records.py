"""Between the scripts' replies and the model: how a room lies in Redis. A sans-IO core.

See scripts/room.lua, which writes the records.
"""

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from coordinator.follower import position_key
from coordinator.ids import (
    BroadcastSid,
    EventId,
    NodeId,
    ParticipantSid,
    RoomName,
    RoomSid,
    TrackSid,
)
from coordinator.model import (
    BroadcastInfo,
    BroadcastState,
    ParticipantInfo,
    RoomInfo,
    RoomSettings,
    Snapshot,
    TrackInfo,
)

_participants: Final = msgspec.json.Decoder(ParticipantInfo)
_tracks: Final = msgspec.json.Decoder(TrackInfo)
_settings: Final = msgspec.json.Decoder(RoomSettings)


def parse_settings(value: bytes) -> RoomSettings:
    return _settings.decode(value)


def parse_broadcast(fields: list[bytes]) -> BroadcastInfo | None:
    """From ``sid, state, started_at, url, directory``; None if there is no broadcast."""
    sid, state, started_at, url = (value.decode() for value in fields[:4])
    if not sid:
        return None
    return BroadcastInfo(
        sid=BroadcastSid(sid),
        state=msgspec.convert(state, BroadcastState),
        started_at=datetime.fromisoformat(started_at),
        url=url,
    )


def parse_room(name: RoomName, reply: list[Any]) -> RoomInfo:
    """From a snapshot reply, whole or brief."""
    sid, created_at, settings, shown = reply[1]
    node = reply[2][0].decode()
    return RoomInfo(
        sid=RoomSid(sid.decode()),
        name=name,
        created_at=datetime.fromisoformat(created_at.decode()),
        settings=parse_settings(settings),
        num_participants=int(shown),
        node=NodeId(node) if node else None,
        broadcast=parse_broadcast(reply[3]),
    )


def parse_tracks(flat: list[bytes]) -> dict[ParticipantSid, tuple[TrackInfo, ...]]:
    """From the flat list of track sids and records; each participant's in order of publication."""
    found: dict[ParticipantSid, list[tuple[tuple[int, int], TrackInfo]]] = {}
    for record in flat[1::2]:
        sid, muted, event, info = record.split(b"\n", 3)
        track = _tracks.decode(info)
        if track.muted != (muted == b"1"):
            track = replace(track, muted=muted == b"1")
        order = position_key(EventId(event.decode()))
        found.setdefault(ParticipantSid(sid.decode()), []).append((order, track))
    return {
        sid: tuple(track for _, track in sorted(tracks, key=lambda entry: entry[0]))
        for sid, tracks in found.items()
    }


def parse_participant(
    info: bytes, sid: ParticipantSid, tracks: dict[ParticipantSid, tuple[TrackInfo, ...]]
) -> ParticipantInfo:
    participant = _participants.decode(info)
    published = tracks.get(sid)
    return replace(participant, tracks=published) if published else participant


def parse_snapshot(name: RoomName, reply: list[Any]) -> Snapshot:
    """From a whole snapshot reply; participants in order of joining."""
    epoch, last = (value.decode() for value in reply[0])
    tracks = parse_tracks(reply[5])
    flat: list[bytes] = reply[4]
    participants = [
        parse_participant(record.split(b"\n", 3)[3], ParticipantSid(sid.decode()), tracks)
        for sid, record in zip(flat[::2], flat[1::2], strict=True)
    ]
    participants.sort(key=lambda participant: (participant.joined_at, participant.sid))
    node, fence = reply[2]
    return Snapshot(
        position=EventId(last),
        epoch=epoch,
        room=parse_room(name, reply),
        participants=tuple(participants),
        fence=int(fence) if node and fence else 0,
        broadcast_dir=reply[3][4].decode(),
    )


def track_record(track: TrackInfo) -> tuple[TrackSid, bytes, str]:
    """The script arguments that describe *track*."""
    return track.sid, msgspec.json.encode(track), "1" if track.muted else "0"
