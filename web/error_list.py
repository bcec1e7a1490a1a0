"""Writes ERRORS.md from the one table of codes: ``python -m web.error_list``."""

from pathlib import Path
from typing import Final

from coordinator.errors import CODES

PATH: Final = Path(__file__).with_name("ERRORS.md")

_HEAD: Final = """\
# Error codes

Made by `python -m web.error_list` from `coordinator/errors.py`; a test holds them together.

An HTTP error is a problem document (RFC 9457, `application/problem+json`):

```json
{
  "type": "urn:tertulia:problem:room_full",
  "title": "The room is full.",
  "status": 409,
  "detail": "The room is full.",
  "code": "room_full"
}
```

`code` is stable: programs decide by it. `title` belongs to the code; `detail` says more about this
one case and may change. A WebSocket says the same `code` in its `error` and `goodbye` messages, and
its close code says what to do:

| close code | meaning |
| --- | --- |
| 4000-4099 | do not reconnect by yourself |
| 4100-4199 | join again at once |
| 4200-4299 | join again after a back-off |

| code | HTTP status | close code | meaning |
| --- | --- | --- | --- |
"""


def error_list() -> str:
    """The text of ERRORS.md."""
    rows = [
        f"| `{code}` | {kind.status} | {kind.close_code} | {kind.title} |"
        for code, kind in CODES.items()
    ]
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PATH.write_text(error_list())
