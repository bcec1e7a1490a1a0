"""Sans-IO: from the text of one WebSocket message to a Struct, or to the error that names what is
wrong with it."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from coordinator.errors import PeerError
from coordinator.ids import check_display_name
from signaling.messages import AnyFromClient, FromClient, PublisherOfferMessage

MAX_DETAIL_CHARS: Final = 200
"""Details quote field names, which may be as long as a message."""
MAX_ID: Final = 2**53 - 1


class _Head(Struct):
    type: Any = None
    id: Any = None


class Refused(PeerError):
    """A message that is not understood; *id* is the one that it carries, if any."""

    def __init__(self, code: str, detail: str, id: int | None) -> None:
        super().__init__(code, detail[:MAX_DETAIL_CHARS])
        self.id: Final = id


_decoder: Final = msgspec.json.Decoder(AnyFromClient)
_syntax: Final = msgspec.json.Decoder(msgspec.Raw)
_heads: Final = msgspec.json.Decoder(_Head)
_TYPES: Final = frozenset(str(kind.__struct_config__.tag) for kind in AnyFromClient.__args__)


def decode_message(text: str) -> FromClient:
    """Raises Refused: malformed_json, unknown_message, invalid_field, invalid_name."""
    try:
        message: FromClient = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _misfit(text, str(error)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        # msgspec's words tell byte offsets; nobody needs them.
        raise Refused("malformed_json", "", None) from None
    if isinstance(message, PublisherOfferMessage):
        _check_names(message)
    return message


def _misfit(text: str, detail: str) -> Refused:
    """*text* is not one of our messages; it may not even be JSON."""
    try:
        _syntax.decode(text)  # the other decoders stop at the first thing that does not fit
        head = _heads.decode(text)
    except msgspec.ValidationError:
        return Refused("invalid_field", "A message is a JSON object.", None)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Refused("malformed_json", "", None)
    # bool is an int in Python, not in JSON.
    has_id = type(head.id) is int and 0 <= head.id <= MAX_ID
    id = head.id if has_id else None
    if head.type is None:
        return Refused("invalid_field", "The field type is missing.", id)
    if not isinstance(head.type, str) or head.type not in _TYPES:
        return Refused("unknown_message", "", id)
    return Refused("invalid_field", detail, id)


def _check_names(offer: PublisherOfferMessage) -> None:
    for track in offer.tracks:
        if not track.name:
            continue
        try:
            check_display_name(track.name)
        except PeerError as error:
            raise Refused(error.code, f"A track's name: {error.detail}", offer.id) from None
