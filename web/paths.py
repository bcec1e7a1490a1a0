"""The paths of things, for ``Location``."""

from urllib.parse import quote

from coordinator.ids import RoomName


def room_path(room: RoomName, *rest: str) -> str:
    """``/v1/rooms/{room}/...`` with every part encoded."""
    return "/v1/rooms/" + "/".join(quote(part, safe="") for part in (room, *rest))
