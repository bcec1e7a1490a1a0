"""The scripts: loaded from ``scripts/``, composed with their shared heads, known by their SHA-1.

Redis runs one script at a time, so each is one step of the truth.
"""

import hashlib
from pathlib import Path
from typing import Final

from msgspec import Struct

_FOLDER: Final = Path(__file__).with_name("scripts")


class Script(Struct, frozen=True):
    """One script as Redis knows it."""

    name: str
    text: str
    sha: str


def _load(name: str, *heads: str) -> Script:
    text = "\n".join((_FOLDER / f"{part}.lua").read_text("utf-8") for part in (*heads, name))
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _changing(name: str) -> Script:
    """A script that changes a room: the one append first, and what is known of participants."""
    return _load(name, "append", "room")


APPEND_EVENT: Final = _changing("append_event")
CREATE: Final = _changing("create")
JOIN: Final = _changing("join")
LEAVE: Final = _changing("leave")
CANCEL: Final = _changing("cancel")
CLOSE: Final = _changing("close")
VACATE: Final = _changing("vacate")
EDGE_LOST: Final = _changing("edge_lost")
PUBLISH: Final = _changing("publish")
UNPUBLISH: Final = _changing("unpublish")
SET_MUTED: Final = _changing("set_muted")
BROADCAST: Final = _changing("broadcast")
SNAPSHOT: Final = _changing("snapshot")
PARTICIPANT: Final = _changing("participant")
LOOK: Final = _load("look")
READ: Final = _load("read")
RENEW: Final = _load("renew")
TAKE: Final = _load("take")

ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Script))
BY_SHA: Final = {script.sha: script for script in ALL}
