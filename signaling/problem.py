"""HTTP errors as RFC 9457 problem documents, for every door of a web process.

Handlers raise; ``problem_middleware`` makes the answer. What is not meant for others becomes
``internal`` with a reference under which the log has it. Queries are never logged: they may carry a
token.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from coordinator.errors import CODES, TertuliaError

_log: Final = logging.getLogger(__name__)

PROBLEM_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:tertulia:problem:"
RETRY_AFTER_S: Final = "2"
"""With 429 and 503: a lease (3 s) has mostly run out by the time of a second try."""

_CODE_OF_STATUS: Final = {
    401: "token_missing",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    412: "precondition_failed",
    413: "message_too_large",
    415: "unsupported_media",
    417: "bad_request",
    422: "invalid_field",
    429: "rate_limited",
}
"""What aiohttp itself refuses; any other 4xx is a bad_request."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Problem(Struct, frozen=True, kw_only=True):
    """The body of an error answer (RFC 9457 3.1), with our stable *code* as its extension."""

    type: str
    title: str
    status: int
    detail: str
    code: str


def problem_response(
    error: TertuliaError, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """The answer for *error*; *status* only where HTTP has a finer one than the code's."""
    kind = error.kind
    answer_status = status or kind.status
    body = Problem(
        type=TYPE_PREFIX + error.code,
        title=kind.title,
        status=answer_status,
        detail=error.detail,
        code=error.code,
    )
    response = web.Response(
        status=answer_status, body=msgspec.json.encode(body), content_type=PROBLEM_TYPE
    )
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    if answer_status == 401:
        # RFC 6750 3: no error word where no token came.
        challenge = "Bearer" if error.code == "token_missing" else 'Bearer error="invalid_token"'
        response.headers[hdrs.WWW_AUTHENTICATE] = challenge
    elif answer_status in (429, 503):
        response.headers[hdrs.RETRY_AFTER] = RETRY_AFTER_S
    response.headers.update(headers or {})
    return response


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer whatever a handler raises. Redirects pass."""
    try:
        return await handler(request)
    except TertuliaError as error:
        return problem_response(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _refused_by_aiohttp(error)
    except ConnectionError:
        raise  # the client went away; nobody reads an answer
    except Exception:
        return problem_response(internal(f"{request.method} {_route_of(request)}"))


def internal(where: str) -> TertuliaError:
    """Log the exception being handled; the error to tell, with the reference of the log line."""
    reference = secrets.token_hex(4)
    _log.exception("%s failed, reference %s", where, reference)
    return TertuliaError("internal", f"{CODES['internal'].title} Reference: {reference}.")


def _refused_by_aiohttp(error: web.HTTPException) -> web.Response:
    if error.status >= 500:
        return problem_response(TertuliaError("internal"), status=error.status)
    code = _CODE_OF_STATUS.get(error.status, "bad_request")
    # aiohttp's own texts may repeat parts of the request: say the phrase of the status instead.
    detail = "" if code != "bad_request" else HTTPStatus(error.status).phrase + "."
    allow = error.headers.get(hdrs.ALLOW)
    return problem_response(
        TertuliaError(code, detail),
        status=error.status,
        headers={} if allow is None else {hdrs.ALLOW: allow},
    )


def _route_of(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "an unknown path" if resource is None else resource.canonical
