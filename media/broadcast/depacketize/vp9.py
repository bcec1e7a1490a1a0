"""Core: VP9 over RTP (RFC 9628)."""

from media.broadcast.depacketize.frame import Depacketizer, EncodedFrame


class Vp9Depacketizer(Depacketizer):
    """Joins the layer frames of a picture.

    A sender with several spatial layers gets a superframe without an index, which decoders of
    single-layer streams do not take; no answer of ours asks for such layers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._predicted = True
        self._ended = True

    def _reset(self) -> None:
        self._pieces = []
        self._predicted = True
        self._ended = True

    def _add(self, payload: bytes) -> bool:
        header_bytes = descriptor_bytes(payload)
        if header_bytes is None or header_bytes >= len(payload):
            return False
        first = payload[0]
        begins = bool(first & 0x08)
        if begins != self._ended:  # RFC 9628 4.2: B begins a layer frame, E ends it
            return False
        if not self._pieces:
            self._predicted = bool(first & 0x40)
        self._ended = bool(first & 0x04)
        self._pieces.append(payload[header_bytes:])
        return True

    def _finish(self, timestamp: int) -> EncodedFrame | None:
        if not self._pieces or not self._ended:
            return None
        return EncodedFrame(timestamp, not self._predicted, (b"".join(self._pieces),))


def descriptor_bytes(payload: bytes) -> int | None:
    """The size of the payload descriptor (RFC 9628 4.2); None if the payload ends inside it."""
    first, size = payload[0], 1
    flexible = bool(first & 0x10)
    if first & 0x80:  # I: a picture id of 7 or, with M, 15 bits
        if len(payload) <= size:
            return None
        size += 2 if payload[size] & 0x80 else 1
    if first & 0x20:  # L: layer indices, and TL0PICIDX in non-flexible mode
        size += 1 if flexible else 2
    if flexible and first & 0x40:  # F and P: one to three reference indices, N tells of more
        for count in range(1, 4):
            if len(payload) <= size:
                return None
            more = payload[size] & 0x01
            size += 1
            if not more:
                break
            if count == 3:
                return None
    if first & 0x02:  # V
        after = _scalability_structure_end(payload, size)
        if after is None:
            return None
        size = after
    return size if size <= len(payload) else None


def _scalability_structure_end(payload: bytes, start: int) -> int | None:
    """RFC 9628 4.2.1."""
    if len(payload) <= start:
        return None
    first, position = payload[start], start + 1
    if first & 0x10:  # Y: width and height of each spatial layer
        position += 4 * ((first >> 5) + 1)
    if first & 0x08:  # G: the pictures of a group
        if len(payload) <= position:
            return None
        pictures = payload[position]
        position += 1
        for _ in range(pictures):
            if len(payload) <= position:
                return None
            position += 1 + (payload[position] >> 2 & 0x03)
    return position
