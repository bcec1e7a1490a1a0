"""Keyframe requests to one publisher: many wishes, few requests. A sans-IO core."""

from typing import Final

INTERVAL_S: Final = 0.4
"""Between two requests: a keyframe costs the publisher several frames' bits, and a subscriber is
promised a picture within a second, with one request lost on the way."""


class KeyframeRequests:
    """Merges wishes into requests at least INTERVAL_S apart, repeated until a keyframe comes."""

    __slots__ = ("_sent_at_s", "wanted")

    def __init__(self) -> None:
        self.wanted = False
        self._sent_at_s = float("-inf")

    def want(self) -> None:
        """Somebody cannot go on without a keyframe."""
        self.wanted = True

    def arrived(self) -> None:
        """A keyframe began: all wishes are granted."""
        self.wanted = False

    def due(self, now: float) -> bool:
        """Whether to send a request now; it then counts as sent."""
        if not self.wanted or now - self._sent_at_s < INTERVAL_S:
            return False
        self._sent_at_s = now
        return True

    def next_due_s(self) -> float | None:
        """When ``due`` may be true next."""
        return self._sent_at_s + INTERVAL_S if self.wanted else None
