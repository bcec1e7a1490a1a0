"""When a playlist request is answered, waits, or is refused (RFC 8216bis 6.2.5)."""

import pytest

from coordinator.errors import PeerError
from web.live_reload import (
    MAX_CARRIED_PARAMETERS,
    Directives,
    Position,
    Verdict,
    advance_part_limit,
    carried_query,
    judge,
    parse_directives,
)

AT = Position(msn=100, part=2, complete_msn=99)
LIMIT = 9  # parts ahead, for a part target of a third of a second


@pytest.mark.parametrize(
    ("msn", "part", "verdict"),
    [
        (None, None, Verdict.ANSWER),
        (99, None, Verdict.ANSWER),
        (99, 50, Verdict.ANSWER),  # past the end of a complete segment: part 0 of the next
        (100, None, Verdict.WAIT),  # not complete yet
        (100, 2, Verdict.ANSWER),
        (100, 3, Verdict.WAIT),
        (100, 2 + LIMIT, Verdict.WAIT),
        (100, 3 + LIMIT, Verdict.TOO_DISTANT),
        (101, 0, Verdict.WAIT),
        (101, LIMIT + 1, Verdict.TOO_DISTANT),
        (102, 0, Verdict.WAIT),
        (103, None, Verdict.TOO_DISTANT),
        (103, 0, Verdict.TOO_DISTANT),
        (10**14, None, Verdict.TOO_DISTANT),
    ],
)
def test_a_reload_is_answered_once_its_part_is_there(
    msn: int | None, part: int | None, verdict: Verdict
) -> None:
    assert judge(AT, Directives(msn=msn, part=part), LIMIT) is verdict


def test_every_request_is_answered_at_once_after_the_end() -> None:
    ended = Position(msn=100, part=2, complete_msn=100, ended=True)
    assert judge(ended, Directives(msn=10**9, part=7), LIMIT) is Verdict.ANSWER


def test_a_rendition_without_a_part_makes_everybody_wait() -> None:
    assert judge(None, Directives(), LIMIT) is Verdict.WAIT


@pytest.mark.parametrize(
    "query",
    [
        [("_HLS_part", "1")],
        [("_HLS_msn", "-1")],
        [("_HLS_msn", "1.5")],
        [("_HLS_msn", "")],
        [("_HLS_msn", "\u0661")],  # a digit, but not an ASCII one
        [("_HLS_msn", "9" * 16)],
        [("_HLS_msn", "1"), ("_HLS_part", "x")],
        [("_HLS_msn", "1"), ("_HLS_msn", "1")],
    ],
)
def test_a_directive_that_is_not_one_is_a_bad_request(query: list[tuple[str, str]]) -> None:
    with pytest.raises(PeerError) as refused:
        parse_directives(query)
    assert refused.value.code == "bad_request"


def test_directives_are_read_and_unknown_reserved_ones_ignored() -> None:
    query = [("_HLS_msn", "7"), ("_HLS_part", "2"), ("_HLS_skip", "YES"), ("_HLS_new", "1")]
    assert parse_directives(query) == Directives(msn=7, part=2, skip=True)


def test_all_but_the_directives_is_carried_and_cannot_leave_its_quotes() -> None:
    query = [("access_token", 'a"b\r\n#EXT'), ("_HLS_msn", "1"), ("\u00e9", "1 2")]
    assert carried_query(query) == "?access_token=a%22b%0D%0A%23EXT&%C3%A9=1%202"
    assert carried_query([("_HLS_msn", "1")]) == ""


@pytest.mark.parametrize(
    "query", [[("a", "x" * 5000)], [("a", "1")] * (MAX_CARRIED_PARAMETERS + 1)]
)
def test_too_long_a_query_is_refused(query: list[tuple[str, str]]) -> None:
    with pytest.raises(PeerError):
        carried_query(query)


@pytest.mark.parametrize(("target_s", "parts"), [(0.334, 9), (0.2, 15), (1.0, 3), (2.0, 3), (0, 3)])
def test_requests_may_be_three_seconds_of_parts_ahead(target_s: float, parts: int) -> None:
    assert advance_part_limit(target_s) == parts
