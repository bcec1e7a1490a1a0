"""Core: AV1 over RTP (AOMedia "RTP Payload Format For AV1", version 1.0)."""

from typing import Final

from media.broadcast.depacketize.frame import Depacketizer, EncodedFrame

_OBU_TEMPORAL_DELIMITER: Final = 2
_OBU_TILE_LIST: Final = 8
_TEMPORAL_DELIMITER: Final = b"\x12\x00"


class Av1Depacketizer(Depacketizer):
    """Makes temporal units in the low-overhead format, each OBU with its size (AV1 5.2)."""

    def __init__(self) -> None:
        super().__init__()
        self._obus: list[bytes] = []
        self._open: bytes | None = None
        self._starts_sequence = False

    def _reset(self) -> None:
        self._obus = []
        self._open = None
        self._starts_sequence = False

    def _add(self, payload: bytes) -> bool:
        header = payload[0]
        continues, continued = bool(header & 0x80), bool(header & 0x40)  # Z, Y
        count = header >> 4 & 0x03  # W: elements in the packet, 0 not told
        elements = _split_elements(payload, count)
        if not elements or continues != (self._open is not None):
            return False
        if header & 0x08:  # N: the first packet of a coded video sequence
            self._starts_sequence = True
        if self._open is not None:
            elements[0] = self._open + elements[0]
            self._open = None
        if continued:
            self._open = elements.pop()
        self._obus += elements
        return True

    def _finish(self, timestamp: int) -> EncodedFrame | None:
        if self._open is not None or not self._obus:
            return None
        sized = [_with_size(obu) for obu in self._obus]
        if any(obu is None for obu in sized):
            return None
        data = _TEMPORAL_DELIMITER + b"".join(obu for obu in sized if obu)
        return EncodedFrame(timestamp, self._starts_sequence, (data,))


def _split_elements(payload: bytes, count: int) -> list[bytes]:
    """The OBU elements behind the aggregation header; [] where the payload is not valid.

    Each is behind its size in leb128, but for the last one where W tells the count (4.4).
    """
    elements: list[bytes] = []
    position = 1
    while position < len(payload):
        if count and len(elements) == count - 1:
            elements.append(payload[position:])
            return elements
        size, position = _read_leb128(payload, position)
        element = payload[position : position + size] if size > 0 else b""
        if not element or len(element) != size:
            return []
        elements.append(element)
        position += size
    return elements if not count or len(elements) == count else []


def _read_leb128(data: bytes, position: int) -> tuple[int, int]:
    """The value (AV1 4.10.5) and the position behind it; -1 where it does not end."""
    value = 0
    for index in range(8):
        if position >= len(data):
            return -1, position
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, position
    return -1, position


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _with_size(obu: bytes) -> bytes | None:
    """*obu* with obu_has_size_field set; b"" for those that transport drops; None: not an OBU."""
    header = obu[0]
    kind = header >> 3 & 0x0F
    if header & 0x80:
        return None
    if kind in (_OBU_TEMPORAL_DELIMITER, _OBU_TILE_LIST):
        return b""
    if header & 0x02:
        return obu
    header_bytes = 2 if header & 0x04 else 1
    if len(obu) < header_bytes:
        return None
    body = obu[header_bytes:]
    return bytes([header | 0x02]) + obu[1:header_bytes] + _leb128(len(body)) + body
