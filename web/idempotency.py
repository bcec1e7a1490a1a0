"""Answers kept under a client's ``Idempotency-Key``, so that a repeated create is done once
(sans-IO core).

The answer is kept by this process for ``TTL_S``. A repeat that reaches another process finds what
the room's scripts say: a room that is there (200), a broadcast that exists (409).
"""

from collections import OrderedDict
from typing import Final

from msgspec import Struct

from coordinator.errors import PeerError

TTL_S: Final = 600.0
MAX_KEPT: Final = 10_000
MAX_KEY_CHARS: Final = 255


class KeptAnswer(Struct, frozen=True, kw_only=True):
    """A finished answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class _Entry(Struct, kw_only=True):
    fingerprint: bytes
    expires_s: float
    answer: KeptAnswer | None = None


class IdempotentAnswers:
    """``begin`` before the work, then ``finish`` with its answer, or ``abandon`` if it failed."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()
        self.replayed = 0

    def begin(self, key: tuple[str, ...], fingerprint: bytes, now: float) -> KeptAnswer | None:
        """Return the kept answer of *key*, or None: do the work.

        *key* is caller, method, path and the header's value; *fingerprint* stands for the body.
        Raises PeerError: ``bad_request`` for a bad header, ``idempotency_mismatch`` for another
        body under the same key, ``wrong_state`` while the first request is still being answered.
        """
        if not 1 <= len(key[-1]) <= MAX_KEY_CHARS or not key[-1].isprintable():
            raise PeerError(
                "bad_request", f"Idempotency-Key has 1 to {MAX_KEY_CHARS} printable characters."
            )
        self._expire(now)
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(fingerprint=fingerprint, expires_s=now + TTL_S)
            return None
        if entry.fingerprint != fingerprint:
            raise PeerError("idempotency_mismatch")
        if entry.answer is None:
            raise PeerError("wrong_state", "The first request with this key is still running.")
        self.replayed += 1
        return entry.answer

    def finish(self, key: tuple[str, ...], answer: KeptAnswer) -> None:
        entry = self._entries.get(key)
        if entry is not None:
            entry.answer = answer

    def abandon(self, key: tuple[str, ...]) -> None:
        """The work failed: a repeat tries again."""
        self._entries.pop(key, None)

    def _expire(self, now: float) -> None:
        # Inserted in the order of their expiry: the oldest stand first.
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if oldest.expires_s > now and len(self._entries) <= MAX_KEPT:
                return
            self._entries.popitem(last=False)
