"""Core: what every depacketizer does, whatever the codec."""

from dataclasses import dataclass
from typing import Final

from media.broadcast.packet import RtpPacket

MAX_FRAME_BYTES: Final = 4 << 20
"""A frame that claims to be larger is noise; 1080p keyframes are under 1 MiB."""


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One complete frame (an access unit, a temporal unit) of a track."""

    timestamp: int
    """RTP timestamp, 32 bits."""
    keyframe: bool
    """Decoding may begin here."""
    units: tuple[bytes, ...]
    """H.264: its NAL units, without start codes. Others: one, the frame as a decoder takes it."""


class Depacketizer:
    """Packets in order in, whole frames out; after a loss nothing until the next keyframe.

    A subclass says what a packet adds to the frame under way (``_add``) and makes the frame of it
    (``_finish``); either returns False or None for what can not be used.
    """

    def __init__(self) -> None:
        self.awaiting_keyframe = True
        """Frames are held back until a keyframe: ask the sender for one."""
        self.damaged_frames = 0
        self._timestamp: int | None = None
        self._damaged = False
        self._size_bytes = 0

    def push(self, packet: RtpPacket) -> list[EncodedFrame]:
        """Take the next packet in order; return the frames that it completes (two at most)."""
        frames: list[EncodedFrame] = []
        if self._timestamp is not None and self._timestamp != packet.timestamp:
            # The last packet of the frame had no marker: some senders never set it.
            frames += self._close()
        if packet.payload:
            self._timestamp = packet.timestamp
            self._size_bytes += len(packet.payload)
            if self._size_bytes > MAX_FRAME_BYTES or not self._add(packet.payload):
                self._damaged = True
        if packet.marker and self._timestamp is not None:
            frames += self._close()
        return frames

    def gap(self) -> None:
        """Packets are missing here: what is under way, and what follows, can not be decoded."""
        if self._timestamp is not None:
            self.damaged_frames += 1
        self._begin()
        self.awaiting_keyframe = True

    def _close(self) -> list[EncodedFrame]:
        timestamp, damaged = self._timestamp, self._damaged
        assert timestamp is not None, "only a frame under way is closed"
        frame = None if damaged else self._finish(timestamp)
        self._begin()
        if frame is None:
            self.damaged_frames += 1
            self.awaiting_keyframe = True
            return []
        if not frame.units or (self.awaiting_keyframe and not frame.keyframe):
            return []
        self.awaiting_keyframe = False
        return [frame]

    def _begin(self) -> None:
        self._timestamp = None
        self._damaged = False
        self._size_bytes = 0
        self._reset()

    def _reset(self) -> None:
        """Forget the frame under way."""
        raise NotImplementedError

    def _add(self, payload: bytes) -> bool:
        """Take a non-empty payload; False: the frame under way is damaged."""
        raise NotImplementedError

    def _finish(self, timestamp: int) -> EncodedFrame | None:
        """Return the frame under way, without units if there is no picture in it; None: it is not
        whole."""
        raise NotImplementedError
