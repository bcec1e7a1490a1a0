"""Core: VP8 over RTP (RFC 7741)."""

from media.broadcast.depacketize.frame import Depacketizer, EncodedFrame


class Vp8Depacketizer(Depacketizer):
    """Takes the payload descriptor off each packet and joins the rest."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def _reset(self) -> None:
        self._pieces = []

    def _add(self, payload: bytes) -> bool:
        header_bytes = descriptor_bytes(payload)
        if header_bytes is None or header_bytes >= len(payload):
            return False
        starts_partition, partition = bool(payload[0] & 0x10), payload[0] & 0x07
        # RFC 7741 4.2: S set and PID 0 is the first packet of a frame, and only that one.
        if (starts_partition and partition == 0) != (not self._pieces):
            return False
        self._pieces.append(payload[header_bytes:])
        return True

    def _finish(self, timestamp: int) -> EncodedFrame | None:
        frame = b"".join(self._pieces)
        if not frame:
            return None
        # 4.3: the P bit of the payload header is clear in a keyframe (RFC 6386 9.1); one has
        # the start code 9d 01 2a behind its 3-byte tag.
        keyframe = not frame[0] & 0x01
        if keyframe and frame[3:6] != b"\x9d\x01\x2a":
            return None
        return EncodedFrame(timestamp, keyframe, (frame,))


def descriptor_bytes(payload: bytes) -> int | None:
    """The size of the payload descriptor (RFC 7741 4.2); None if the payload ends inside it."""
    if not payload[0] & 0x80:  # X
        return 1
    if len(payload) < 2:
        return None
    extension, size = payload[1], 2
    if extension & 0x80:  # I: a picture id of 7 or, with M, 15 bits
        if len(payload) <= size:
            return None
        size += 2 if payload[size] & 0x80 else 1
    if extension & 0x40:  # L
        size += 1
    if extension & 0x30:  # T or K share a byte
        size += 1
    return size if size <= len(payload) else None
