"""Core: what a media node and its broadcast worker say on the socket between them.

The socket keeps datagrams whole and in order (SOCK_SEQPACKET). A datagram is either one control
message, a JSON object with ``type``, or, from node to worker, packets of one track: a byte 0x01,
the track's number (16 bits), the arrival (64-bit float, seconds on CLOCK_MONOTONIC), then each
packet behind its length in 16 bits. All in network byte order.
"""

from collections.abc import Iterable, Iterator
from struct import Struct as Layout
from typing import Final

import msgspec
from msgspec import Struct

from coordinator.ids import Identity, TrackSid
from coordinator.model import TrackKind, TrackSource

MAX_DATAGRAM_BYTES: Final = 64 * 1024
"""Well under the least default socket buffer (212,992), so that several fit."""
_MEDIA: Final = Layout(">BHd")
_LENGTH: Final = Layout(">H")
_MEDIA_TAG: Final = 0x01


class AddTrack(Struct, frozen=True, kw_only=True, tag_field="type", tag="add"):
    """A track; *number* names it in media datagrams and is not used again."""

    number: int
    sid: TrackSid
    identity: Identity
    kind: TrackKind
    source: TrackSource
    mime: str
    payload_type: int
    clock_rate_hz: int
    channels: int | None = None
    fmtp: str = ""


class RemoveTrack(Struct, frozen=True, kw_only=True, tag_field="type", tag="remove"):
    sid: TrackSid


class SetMuted(Struct, frozen=True, kw_only=True, tag_field="type", tag="muted"):
    sid: TrackSid
    muted: bool


class SetSpeaker(Struct, frozen=True, kw_only=True, tag_field="type", tag="speaker"):
    identity: Identity | None


class SenderReport(Struct, frozen=True, kw_only=True, tag_field="type", tag="report"):
    sid: TrackSid
    ntp_s: float
    rtp_timestamp: int


class Stop(Struct, frozen=True, kw_only=True, tag_field="type", tag="stop"):
    """Write the end; answered by ``Ended``."""


class KeyframeWanted(Struct, frozen=True, kw_only=True, tag_field="type", tag="keyframe"):
    sid: TrackSid


class Live(Struct, frozen=True, kw_only=True, tag_field="type", tag="live"):
    """Each rendition has a complete segment; the files are in *directory*."""

    directory: str


class Ended(Struct, frozen=True, kw_only=True, tag_field="type", tag="ended"):
    """Nothing more will be written."""


ToWorker = AddTrack | RemoveTrack | SetMuted | SetSpeaker | SenderReport | Stop
FromWorker = KeyframeWanted | Live | Ended

_encoder: Final = msgspec.json.Encoder()
_to_worker: Final[msgspec.json.Decoder[ToWorker]] = msgspec.json.Decoder(ToWorker)
_from_worker: Final[msgspec.json.Decoder[FromWorker]] = msgspec.json.Decoder(FromWorker)


def encode_control(message: ToWorker | FromWorker) -> bytes:
    return _encoder.encode(message)


def decode_from_worker(datagram: bytes) -> FromWorker:
    """Raises msgspec.DecodeError or msgspec.ValidationError."""
    return _from_worker.decode(datagram)


class MediaDatagram(Struct, frozen=True):
    """Packets of one track that came together."""

    number: int
    arrival_s: float
    packets: list[bytes]


def decode_to_worker(datagram: bytes) -> ToWorker | MediaDatagram:
    """Raises msgspec.DecodeError, msgspec.ValidationError or ValueError."""
    if datagram[:1] != b"\x01":
        return _to_worker.decode(datagram)
    if len(datagram) < _MEDIA.size:
        raise ValueError("a media datagram without its head")
    _, number, arrival_s = _MEDIA.unpack_from(datagram)
    packets = []
    position = _MEDIA.size
    while position < len(datagram):
        if position + _LENGTH.size > len(datagram):
            raise ValueError("a media datagram that ends inside a length")
        (size,) = _LENGTH.unpack_from(datagram, position)
        position += _LENGTH.size
        packets.append(datagram[position : position + size])
        if len(packets[-1]) != size:
            raise ValueError("a media datagram that ends inside a packet")
        position += size
    return MediaDatagram(number, arrival_s, packets)


def encode_media(number: int, arrival_s: float, packets: Iterable[bytes]) -> Iterator[bytes]:
    """Yield *packets* in as few datagrams as they fit in. What fits in none is left out."""
    head = _MEDIA.pack(_MEDIA_TAG, number, arrival_s)
    pieces, size_bytes = [head], len(head)
    for packet in packets:
        needed_bytes = _LENGTH.size + len(packet)
        if len(head) + needed_bytes > MAX_DATAGRAM_BYTES:
            continue  # no UDP datagram is as large
        if size_bytes + needed_bytes > MAX_DATAGRAM_BYTES:
            yield b"".join(pieces)
            pieces, size_bytes = [head], len(head)
        pieces += (_LENGTH.pack(len(packet)), packet)
        size_bytes += needed_bytes
    if len(pieces) > 1:
        yield b"".join(pieces)
