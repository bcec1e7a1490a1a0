"""Which live playlist or file can be answered now, and which request must wait (sans-IO core).

RFC 8216bis 6.2.5: blocking playlist reload, delivery directives, and the query parameters that are
carried on to child URIs.
"""

import enum
import math
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from coordinator.errors import PeerError

MAX_CARRIED_CHARS: Final = 4096
"""Of the query carried to each child URI: a token is about 400; a playlist has some 60 URIs."""
MAX_CARRIED_PARAMETERS: Final = 16
BLOCK_TARGETS: Final = 3
"""Target durations after which a blocked request is answered 503 (6.2.5.2)."""

# A decimal-integer of 6.2.5.1; 15 digits keep it exact in every player.
_NUMBER: Final = re.compile(r"[0-9]{1,15}", re.ASCII)


class Directives(Struct, frozen=True, kw_only=True):
    """The delivery directives of one playlist request (6.2.5.1)."""

    msn: int | None = None
    part: int | None = None
    skip: bool = False
    """Answer with a delta update if there is one."""


class Position(Struct, frozen=True, kw_only=True):
    """How far one rendition is."""

    msn: int
    part: int
    """The last part that exists is part *part* of segment *msn*."""
    complete_msn: int
    """The last segment that is complete; -1 before the first."""
    ended: bool = False


class Verdict(enum.Enum):
    """What to do with a playlist request."""

    ANSWER = "answer"
    WAIT = "wait"
    TOO_DISTANT = "too distant"


def parse_directives(query: Iterable[tuple[str, str]]) -> Directives:
    """Read the directives in *query* (decoded names and values, in order).

    Unknown names that begin with ``_HLS_`` are reserved and ignored. Raises
    PeerError("bad_request").
    """
    found: dict[str, str] = {}
    for name, value in query:
        if name not in ("_HLS_msn", "_HLS_part", "_HLS_skip"):
            continue
        if name in found:
            raise PeerError("bad_request", f"{name} appears twice.")
        found[name] = value
    msn, part = _number(found, "_HLS_msn"), _number(found, "_HLS_part")
    if part is not None and msn is None:
        # 6.2.5.2: a part index without a media sequence number is a bad request.
        raise PeerError("bad_request", "_HLS_part needs _HLS_msn.")
    return Directives(msn=msn, part=part, skip=found.get("_HLS_skip") in ("YES", "v2"))


def _number(found: dict[str, str], name: str) -> int | None:
    text = found.get(name)
    if text is None:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise PeerError("bad_request", f"{name} is not a number.")
    return int(text)


def advance_part_limit(part_target_s: float) -> int:
    """How many parts ahead a request may be (6.2.5.2): three seconds of them, at least three."""
    return math.ceil(3 / part_target_s) if 0 < part_target_s < 1 else 3


def judge(position: Position | None, directives: Directives, part_limit: int) -> Verdict:
    """Say whether a playlist request can be answered at *position* (None: nothing there yet)."""
    if position is None:
        return Verdict.WAIT
    if position.ended or directives.msn is None:
        # A playlist with EXT-X-ENDLIST never changes: the directives are ignored (6.2.5.2).
        return Verdict.ANSWER
    if directives.msn > position.msn + 2:
        return Verdict.TOO_DISTANT
    if directives.part is None:
        done = position.complete_msn >= directives.msn
        return Verdict.ANSWER if done else Verdict.WAIT
    # Compared as a pair: a part index past the segment's last one then means part 0 of the next
    # segment, as 6.2.5.2 wants it.
    if (position.msn, position.part) >= (directives.msn, directives.part):
        return Verdict.ANSWER
    ahead = directives.part - (position.part if directives.msn == position.msn else 0)
    return Verdict.TOO_DISTANT if ahead > part_limit else Verdict.WAIT


def carried_query(query: Iterable[tuple[str, str]]) -> str:
    """Return ``?name=value&...`` to append to each child URI, or an empty string.

    All but the delivery directives is carried on, so that a token in the query reaches every
    request of the player. The result has unreserved characters, ``%``, ``=``, ``&`` and ``?`` only
    and so can stand in a quoted attribute. Raises PeerError("bad_request") if there is too much.
    """
    carried = [(name, value) for name, value in query if not name.startswith("_HLS_")]
    if not carried:
        return ""
    if len(carried) > MAX_CARRIED_PARAMETERS:
        raise PeerError("bad_request", "There are too many query parameters.")
    text = "?" + "&".join(
        f"{quote(name, safe='', errors='replace')}={quote(value, safe='', errors='replace')}"
        for name, value in carried
    )
    if len(text) > MAX_CARRIED_CHARS:
        raise PeerError("bad_request", "The query is too long.")
    return text
