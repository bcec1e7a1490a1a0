"""The lines that a broadcast worker announces, as this side reads them (sans-IO core).

The protocol is described in media/broadcast/ANNOUNCE.md. ``Heard`` keeps the latest of each
rendition; unknown fields and unknown types are ignored, so that a newer worker can speak to us.
"""

import re
from typing import Final, Literal

import msgspec
from msgspec import Struct

from coordinator.errors import InfrastructureError
from web.live_reload import Position

MAX_LINE_BYTES: Final = 1 << 20
QUERY_MARKER: Final = "{{query}}"

RenditionName = Literal["multivariant", "video", "audio"]
FILE_NAME: Final = re.compile(r"(video|audio)-(init-[0-9]+\.mp4|[0-9]+(\.[0-9]+)?\.m4s)", re.ASCII)
"""The names that may be served; nothing else in the directory is for viewers."""


class Change(Struct, frozen=True, kw_only=True, tag_field="type", tag="change"):
    """What is true of one rendition now."""

    rendition: RenditionName
    msn: int
    part: int
    complete_msn: int
    hint: str | None
    playlist: str
    delta: str | None = None
    ended: bool = False

    def position(self) -> Position:
        return Position(
            msn=self.msn, part=self.part, complete_msn=self.complete_msn, ended=self.ended
        )


class State(Struct, frozen=True, kw_only=True, tag_field="type", tag="state"):
    """The first line: the latest change of each rendition."""

    v: int
    broadcast: str
    target_duration_s: int
    part_target_s: float
    ended: bool
    renditions: tuple[Change, ...]


class _Tagged(Struct):
    type: str


_decoder: Final[msgspec.json.Decoder[State | Change]] = msgspec.json.Decoder(State | Change)
_tag_decoder: Final = msgspec.json.Decoder(_Tagged)


def decode_line(line: bytes) -> State | Change | None:
    """Return the message in *line*; None for a type that we do not know.

    Raises InfrastructureError("internal"): the worker speaks another protocol.
    """
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError as error:
        try:
            tag = _tag_decoder.decode(line).type
        except msgspec.DecodeError:
            tag = "state"
        if tag not in ("state", "change"):
            return None
        raise InfrastructureError(
            "internal", f"an announcement is malformed: {error}", retry=False
        ) from error


class Heard:
    """What one worker has announced so far."""

    def __init__(self) -> None:
        self.changes: dict[str, Change] = {}
        self.target_duration_s = 2
        self.part_target_s = 0.334
        self.ended = False

    def take(self, message: State | Change) -> None:
        """Take one message in; the full state replaces all."""
        if isinstance(message, State):
            self.target_duration_s = max(1, message.target_duration_s)
            self.part_target_s = message.part_target_s
            self.changes = {change.rendition: change for change in message.renditions}
            self.ended = message.ended
            return
        self.changes[message.rendition] = message
        # Multivariant has no end of its own: the renditions' end is the broadcast's.
        media = [change for name, change in self.changes.items() if name != "multivariant"]
        self.ended = bool(media) and all(change.ended for change in media)

    def position(self, rendition: str) -> Position | None:
        change = self.changes.get(rendition)
        return change.position() if change else None

    def is_hinted(self, name: str) -> bool:
        """Whether *name* is the one file that a rendition will have next."""
        return any(change.hint == name for change in self.changes.values())
