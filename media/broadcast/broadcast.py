"""One broadcast: tracks and packets in, renditions out. The worker drives it with its clock.

``now`` and arrivals are seconds on CLOCK_MONOTONIC, the clock that node and worker share; inside,
everything is media time, which begins at ``MEDIA_START_S``.
"""

from typing import Final

from coordinator.ids import Identity, TrackSid
from media.broadcast.audio import AudioProgram
from media.broadcast.depacketize import DEPACKETIZERS
from media.broadcast.feed_messages import (
    AddTrack,
    MediaDatagram,
    RemoveTrack,
    SenderReport,
    SetMuted,
    SetSpeaker,
)
from media.broadcast.output import Output
from media.broadcast.packet import RtpPacket, parse_rtp
from media.broadcast.timeline import ParticipantClock, TrackClock
from media.broadcast.video import VideoProgram
from media.broadcast.video_source import VideoSource

MEDIA_START_S: Final = 10.0
"""Not 0, so that what lies a little before the start has no negative time."""
MAX_TRACKS: Final = 256
_MAX_ARRIVAL_AGE_S: Final = 5.0


class Broadcast:
    """Feed it control messages and packets, call ``advance`` a hundred times a second."""

    def __init__(self, output: Output, *, now: float, segment_target_s: float) -> None:
        self._output: Final = output
        self._origin_s: Final = now - MEDIA_START_S
        self._video: Final = VideoProgram(
            output, start_s=MEDIA_START_S, segment_target_s=segment_target_s
        )
        self._audio: Final = AudioProgram(output, start_s=MEDIA_START_S)
        self._participants: Final[dict[Identity, ParticipantClock]] = {}
        self._tracks: Final[dict[TrackSid, AddTrack]] = {}
        self._clocks: Final[dict[TrackSid, TrackClock]] = {}
        self._numbers: Final[dict[int, TrackSid]] = {}
        self.malformed_packets = 0
        self.refused_tracks = 0

    @property
    def video(self) -> VideoProgram:
        return self._video

    def control(
        self, message: AddTrack | RemoveTrack | SetMuted | SetSpeaker | SenderReport, now: float
    ) -> None:
        media_s = now - self._origin_s
        match message:
            case AddTrack():
                self._add(message, media_s)
            case RemoveTrack():
                self._remove(message.sid, media_s)
            case SetMuted():
                self._video.set_muted(message.sid, message.muted, media_s)
                self._audio.set_muted(message.sid, message.muted)
            case SetSpeaker():
                self._video.set_speaker(message.identity, media_s)
            case SenderReport():
                if message.sid in self._clocks:
                    self._clocks[message.sid].sender_report(message.ntp_s, message.rtp_timestamp)

    def media(self, datagram: MediaDatagram, now: float) -> None:
        """Take packets of one track. Noise is counted."""
        sid = self._numbers.get(datagram.number)
        if sid is None:
            return  # removed meanwhile
        age_s = now - datagram.arrival_s
        # An arrival on another clock is not believed; ours is close enough.
        arrival_s = datagram.arrival_s if 0 <= age_s < _MAX_ARRIVAL_AGE_S else now
        packets: list[RtpPacket] = []
        for data in datagram.packets:
            packet = parse_rtp(data)
            if packet is None:
                self.malformed_packets += 1
            else:
                packets.append(packet)
        program = self._video if self._tracks[sid].kind == "video" else self._audio
        program.packets(sid, packets, arrival_s - self._origin_s, now - self._origin_s)

    def advance(self, now: float) -> None:
        """Do what is due. Call it after every batch of input too."""
        media_s = now - self._origin_s
        self._video.advance(media_s)
        self._audio.advance(media_s)

    def keyframes_wanted(self, now: float) -> list[TrackSid]:
        """The tracks whose senders are to be asked for a keyframe now."""
        return self._video.keyframes_wanted(now - self._origin_s)

    def close(self) -> None:
        """Write out what is there; ``end`` follows a little later, and nothing in between."""
        if self._output.started:
            self._audio.finish(self._video.end_s)
            self._output.close()

    def end(self) -> None:
        """Tell the end, if anything was begun."""
        if self._output.started:
            self._output.end()

    def _add(self, track: AddTrack, media_s: float) -> None:
        mime = track.mime.lower()
        supported = mime == "audio/opus" if track.kind == "audio" else mime in DEPACKETIZERS
        if not supported or track.sid in self._tracks or len(self._tracks) >= MAX_TRACKS:
            self.refused_tracks += 1
            return
        participant = self._participants.setdefault(track.identity, ParticipantClock())
        clock = TrackClock(track.clock_rate_hz, participant)
        self._tracks[track.sid] = track
        self._clocks[track.sid] = clock
        self._numbers[track.number] = track.sid
        if track.kind == "audio":
            self._audio.add(track.sid, track.payload_type, clock)
        else:
            source = VideoSource(track.sid, track.mime, track.payload_type, track.fmtp, clock)
            self._video.add(source, track.identity, track.source, media_s)

    def _remove(self, sid: TrackSid, media_s: float) -> None:
        track = self._tracks.pop(sid, None)
        if track is None:
            return
        self._clocks.pop(sid).restart()
        self._numbers.pop(track.number)
        if track.kind == "audio":
            self._audio.remove(sid)
        else:
            self._video.remove(sid, media_s)
        if all(other.identity != track.identity for other in self._tracks.values()):
            del self._participants[track.identity]
