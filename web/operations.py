"""One row for each operation of the HTTP API: the router and the OpenAPI document read the same."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A query parameter or header."""

    name: str
    description: str
    schema: type = str
    place: Literal["query", "header"] = "query"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What one method on one path does, takes and answers."""

    method: str
    path: str
    handler: Handler | None
    """None: another package serves it, and the row only documents it."""
    name: str
    """The OpenAPI operationId."""
    summary: str
    tag: str
    grant: str = ""
    """The grant it needs, in words; empty: none."""
    parameters: tuple[Parameter, ...] = ()
    body: type | str | None = None
    """A Struct, or a content type."""
    body_required: bool = True
    answers: tuple[tuple[int, type | str | None], ...] = ((200, None),)
    """Status -> Struct, a content type, or None for an empty body."""
    codes: tuple[str, ...] = ()
    """Error codes of its own, beside those that every operation has."""


LIST_PARAMETERS = (
    Parameter(name="limit", description="At most so many items (1 to 1000, 100).", schema=int),
    Parameter(name="cursor", description="`next_cursor` of the page before."),
)
IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    description="1 to 255 printable characters. A repeat within ten minutes gets the first answer.",
    place="header",
)
EVENT_STREAM = "text/event-stream"
