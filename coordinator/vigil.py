"""When may anybody be called dead? A sans-IO core.

A lease that is missing proves a death only if its holder could have renewed it all the while.
"""

from typing import Final


class Vigil:
    """Since when Redis has been seen without a break."""

    def __init__(self, lease_ttl_s: float) -> None:
        self._lease_ttl_s: Final = lease_ttl_s
        self._since_s = float("inf")
        self._last_s = float("-inf")
        self._server = ""

    def saw(self, server: str, now_s: float) -> None:
        """Redis, in the run named *server*, answered."""
        if server != self._server or now_s - self._last_s > self._lease_ttl_s / 2:
            self._since_s = now_s
        self._server = server
        self._last_s = now_s

    def missed(self) -> None:
        """Redis did not answer."""
        self._last_s = float("-inf")

    def steady(self, now_s: float) -> bool:
        """A lease that is missing now was not renewed though it could have been."""
        return now_s - self._last_s <= self._lease_ttl_s / 2 and (
            now_s - self._since_s >= self._lease_ttl_s
        )
