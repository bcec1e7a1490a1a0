"""Core: the messages of the announce protocol (ANNOUNCE.md), as the worker writes them.

A line is one JSON object in UTF-8 and a line feed, at most ``MAX_LINE_BYTES`` long.
"""

from typing import Final, Literal

import msgspec
from msgspec import Struct

from coordinator.ids import BroadcastSid, RoomName

RenditionName = Literal["multivariant", "video", "audio"]

PROTOCOL_VERSION: Final = 1
MAX_LINE_BYTES: Final = 1 << 20
"""Two playlists of the longest window are under 64 KiB; a reader may refuse more than this."""
LISTENER_QUEUE_LINES: Final = 64
"""About ten seconds of two renditions at three parts a second; then a listener is cut off."""


class Change(
    Struct, frozen=True, kw_only=True, tag_field="type", tag="change", forbid_unknown_fields=False
):
    """What is true of one rendition now; each field is described in ANNOUNCE.md."""

    rendition: RenditionName
    msn: int
    part: int
    complete_msn: int
    hint: str | None
    playlist: str
    delta: str | None
    ended: bool


class State(
    Struct, frozen=True, kw_only=True, tag_field="type", tag="state", forbid_unknown_fields=False
):
    """The first line to each listener: the latest change of each rendition."""

    v: int = PROTOCOL_VERSION
    broadcast: BroadcastSid
    room: RoomName
    target_duration_s: int
    part_target_s: float
    ended: bool
    renditions: tuple[Change, ...]


Announcement = State | Change

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Announcement]] = msgspec.json.Decoder(Announcement)


def encode_line(message: Announcement) -> bytes:
    """Return *message* as one line, line feed included."""
    line = _encoder.encode(message) + b"\n"
    assert len(line) <= MAX_LINE_BYTES, "a playlist outgrew the protocol's line limit"
    return line


def decode_line(line: bytes) -> Announcement:
    """Return the message in *line*. Raises msgspec.DecodeError or msgspec.ValidationError."""
    return _decoder.decode(line)
