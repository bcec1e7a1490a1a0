"""Who publishes, and who receives whom: ``1x30``, ``room6``, ``10xroom6``, each with ``@rate``."""

import re
from dataclasses import dataclass

_SHAPE = re.compile(
    r"(?:(?P<publishers>\d+)x(?P<viewers>\d+)|(?:(?P<rooms>\d+)x)?room(?P<parties>\d+))"
    r"(?:@(?P<rate>\d+(?:\.\d+)?))?"
)

Feed = tuple[int, int]
"""A publisher: number of the room, number of the publisher in it."""


@dataclass(frozen=True, slots=True)
class Viewing:
    """One receiving connection."""

    feed: Feed
    viewer: str
    """Unique in the room; one person who watches five others is five of these."""


@dataclass(frozen=True, slots=True)
class Shape:
    """``publishers`` in each of ``rooms``; viewers receive them all, or the parties each other."""

    name: str
    rooms: int
    publishers: int
    viewers: int
    """Per room; 0: the publishers are parties and each receives all the others."""
    packets_per_s: float | None
    """Per publisher, where the shape's name has one."""

    def feeds(self) -> list[Feed]:
        return [(room, k) for room in range(self.rooms) for k in range(self.publishers)]

    def viewings(self) -> list[Viewing]:
        if self.viewers:
            people = [(f"viewer-{n}", -1) for n in range(self.viewers)]
        else:
            people = [(f"party-{n}", n) for n in range(self.publishers)]
        return [
            Viewing((room, k), f"{who}-sees-{k}")
            for room in range(self.rooms)
            for who, own in people
            for k in range(self.publishers)
            if k != own
        ]

    @property
    def fan_out(self) -> int:
        """Receivers of each publisher."""
        return self.viewers or self.publishers - 1


def parse_shape(text: str) -> Shape:
    """Raise ValueError for anything that is not a shape."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no shape: say 1x30, room6 or 10xroom6, with @200 if wanted")
    rate = float(found["rate"]) if found["rate"] else None
    if found["parties"]:
        parties = int(found["parties"])
        if parties < 2:
            raise ValueError(f"{text!r}: nobody receives anything in a room of {parties}")
        return Shape(text, int(found["rooms"] or 1), parties, 0, rate)
    publishers, viewers = int(found["publishers"]), int(found["viewers"])
    if not publishers or not viewers:
        raise ValueError(f"{text!r}: at least one publisher and one viewer")
    return Shape(text, 1, publishers, viewers, rate)
