"""How much somebody may do: a token bucket (RFC 2697's committed part). Sans-IO."""


class Allowance:
    """*burst* at once, *rate_per_s* in the long run. *now* is in seconds and never goes back."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._left = self._burst
        self._at_s: float | None = None

    def take(self, now: float) -> bool:
        """Whether one more is allowed."""
        if self._at_s is not None:
            self._left = min(self._burst, self._left + (now - self._at_s) * self._rate_per_s)
        self._at_s = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
