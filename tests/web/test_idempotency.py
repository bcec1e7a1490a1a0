"""Kept answers, with literal times."""

import pytest

from coordinator.errors import PeerError
from web import idempotency
from web.idempotency import TTL_S, IdempotentAnswers, KeptAnswer

KEY = ("TK", "ada", "POST", "/v1/rooms", "one")
DONE = KeptAnswer(status=201, headers=(), body=b"{}")


def test_an_answer_is_kept_until_it_expires() -> None:
    answers = IdempotentAnswers()
    assert answers.begin(KEY, b"body", now=0.0) is None
    answers.finish(KEY, DONE)
    assert answers.begin(KEY, b"body", now=TTL_S - 1) == DONE
    assert answers.replayed == 1
    assert answers.begin(KEY, b"body", now=TTL_S + 1) is None


def test_a_repeat_meets_the_first_or_is_refused() -> None:
    answers = IdempotentAnswers()
    answers.begin(KEY, b"body", now=0.0)
    with pytest.raises(PeerError, match="still running"):
        answers.begin(KEY, b"body", now=1.0)
    with pytest.raises(PeerError) as caught:
        answers.begin(KEY, b"another", now=1.0)
    assert caught.value.code == "idempotency_mismatch"
    answers.abandon(KEY)
    assert answers.begin(KEY, b"another", now=2.0) is None


def test_the_oldest_answers_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MAX_KEPT", 3)
    answers = IdempotentAnswers()
    for number in range(6):
        key = (*KEY[:-1], str(number))
        answers.begin(key, b"", now=float(number))
        answers.finish(key, DONE)
    assert answers.begin((*KEY[:-1], "5"), b"", now=6.0) == DONE
    assert answers.begin((*KEY[:-1], "0"), b"", now=6.0) is None
