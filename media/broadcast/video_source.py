"""One published video track inside the worker: packets in, placed frames and pictures out."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import av

from coordinator.ids import TrackSid
from media.broadcast.codec import VideoDecoder
from media.broadcast.depacketize import DEPACKETIZERS, EncodedFrame
from media.broadcast.depacketize.h264 import H264Depacketizer
from media.broadcast.director import PassthroughTrial
from media.broadcast.nal import parse_sprop
from media.broadcast.packet import RtpPacket
from media.broadcast.reorder import Gap, ReorderWindow
from media.broadcast.timeline import TrackClock

_MAX_PICTURES: Final = 15
"""Half a second at 30 fps; the oldest go first."""
_MAX_KEPT_FRAMES: Final = 300
_FIRST_ASK_AGAIN_S: Final = 0.5
_LONGEST_ASK_AGAIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class PlacedFrame:
    """A whole encoded frame, and when it is on the broadcast's clock."""

    time_s: float
    frame: EncodedFrame


class VideoSource:
    """Costs nothing until it is engaged; then wants a keyframe."""

    def __init__(
        self, sid: TrackSid, mime: str, payload_type: int, fmtp: str, clock: TrackClock
    ) -> None:
        self.sid: Final = sid
        self.h264: Final = mime.lower() == "video/h264"
        self.clock: Final = clock
        self.trial = PassthroughTrial()
        self.engaged = False
        self.pictures_dropped = 0
        self._mime: Final = mime
        self._payload_type: Final = payload_type
        self._fmtp: Final = fmtp
        self._pictures: deque[tuple[float, av.VideoFrame]] = deque()
        self._kept: list[PlacedFrame] = []
        self._ask_at_s = 0.0
        self._ask_again_s = _FIRST_ASK_AGAIN_S
        self._ssrc: int | None = None
        self._decoder: VideoDecoder | None = None
        self._reset()

    def _reset(self) -> None:
        self._reorder = ReorderWindow()
        self._depacketizer = DEPACKETIZERS[self._mime.lower()]()
        if isinstance(self._depacketizer, H264Depacketizer):
            self._depacketizer.know_parameter_sets(parse_sprop(self._fmtp))

    def engage(self) -> None:
        """Its picture is wanted."""
        if not self.engaged:
            self.engaged = True
            self._reset()
            self._ask_at_s = 0.0
            self._ask_again_s = _FIRST_ASK_AGAIN_S

    def release(self) -> None:
        """Its picture is wanted no longer."""
        self.engaged = False
        self._decoder = None
        self._pictures.clear()
        self._kept.clear()
        self.trial.lost()

    def take(self, packets: list[RtpPacket], arrival_s: float, now: float) -> list[PlacedFrame]:
        """Return the frames that *packets* complete. The source is engaged."""
        frames: list[PlacedFrame] = []
        for packet in packets:
            if packet.payload_type == self._payload_type:
                self._ssrc = packet.ssrc
                self.clock.packet(packet.timestamp, arrival_s)
            elif packet.ssrc != self._ssrc:
                continue  # retransmissions and the like have their own numbers
            frames += self._advance(self._reorder.push(packet, now))
        return frames

    def poll(self, now: float) -> list[PlacedFrame]:
        """Return the frames behind packets that are waited for no longer."""
        return self._advance(self._reorder.poll(now))

    def _advance(self, released: list[RtpPacket | Gap]) -> list[PlacedFrame]:
        frames: list[PlacedFrame] = []
        for item in released:
            if isinstance(item, Gap):
                self._depacketizer.gap()
                self.trial.lost()
                continue
            if item.payload_type != self._payload_type:
                continue  # padding or redundancy between the media's numbers
            for frame in self._depacketizer.push(item):
                placed = PlacedFrame(self.clock.time_of(frame.timestamp), frame)
                self.trial.frame(placed.time_s, keyframe=frame.keyframe)
                frames.append(placed)
        return frames

    def decode(self, placed: PlacedFrame) -> None:
        """Make pictures of a frame."""
        if self._decoder is None:
            if not placed.frame.keyframe:
                self.want_keyframe()
                return
            self._decoder = VideoDecoder(self._mime)
        pictures = self._decoder.decode(placed.frame.units)
        if pictures is None:
            self._decoder = None
            self.want_keyframe()
            return
        for picture in pictures:
            if len(self._pictures) == _MAX_PICTURES:
                self._pictures.popleft()
                self.pictures_dropped += 1
            self._pictures.append((placed.time_s, picture))

    def keep(self, placed: PlacedFrame) -> None:
        """Remember a frame that was passed through, so that its picture can be made later."""
        if placed.frame.keyframe:
            self._kept.clear()
        if len(self._kept) < _MAX_KEPT_FRAMES:
            self._kept.append(placed)

    def decode_kept(self) -> None:
        """Make the pictures of what was passed through since the last keyframe."""
        kept, self._kept = self._kept, []
        for placed in kept:
            self.decode(placed)

    def stop_decoding(self) -> None:
        """The frames are passed through from here on."""
        self._decoder = None
        self._pictures.clear()

    @property
    def has_picture(self) -> bool:
        return bool(self._pictures)

    @property
    def next_picture(self) -> tuple[float, av.VideoFrame] | None:
        """The next picture and when it is to be seen."""
        return self._pictures[0] if self._pictures else None

    def picture_at(self, time_s: float) -> av.VideoFrame | None:
        """Return the newest picture up to *time_s* that was not returned yet, if there is one."""
        newest = None
        while self._pictures and self._pictures[0][0] <= time_s:
            newest = self._pictures.popleft()[1]
        return newest

    def want_keyframe(self) -> None:
        """Nothing can be decoded before the next keyframe."""
        self._depacketizer.awaiting_keyframe = True

    def keyframe_due(self, now: float) -> bool:
        """Whether to ask the sender for a keyframe now; asks again ever more slowly."""
        if not self.engaged or not self._depacketizer.awaiting_keyframe:
            self._ask_again_s = _FIRST_ASK_AGAIN_S
            return False
        if now < self._ask_at_s:
            return False
        self._ask_at_s = now + self._ask_again_s
        self._ask_again_s = min(_LONGEST_ASK_AGAIN_S, 2 * self._ask_again_s)
        return True
