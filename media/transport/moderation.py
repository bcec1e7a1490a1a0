"""When to read the socket: at each packet, or a moment later for several at once. A sans-IO core.

Waking up costs as much as forwarding several packets. Up to a few thousand packets a second each is
forwarded as it comes; beyond that the socket is polled every millisecond, as network drivers do,
until it has calmed down. The delay this adds (half a millisecond in the mean) is below the jitter
of any access network.
"""

from typing import Final

POLL_S: Final = 0.001
"""The event loop's timers have no finer grain."""
WAKEUPS: Final = 32
WITHIN_S: Final = 0.008
"""So many wake-ups in so short a time (4,000 a second) begin polling: a poll then finds four."""
CALM_POLLS: Final = 16
CALM_DATAGRAMS: Final = 2
"""So many polls in a row with at most so many datagrams end it."""


class Moderation:
    """Decides between waking and polling; told of each."""

    __slots__ = ("_calm", "_since_s", "_wakeups")

    def __init__(self) -> None:
        self._wakeups = 0
        self._since_s = 0.0
        self._calm = 0

    def woken(self, now: float) -> bool:
        """The socket woke us. True: stop that, and poll."""
        self._wakeups += 1
        if self._wakeups < WAKEUPS:
            return False
        within_s = now - self._since_s
        self._wakeups = 0
        self._since_s = now
        self._calm = 0
        return within_s < WITHIN_S

    def polled(self, datagrams: int) -> bool:
        """A poll found *datagrams*. True: go on polling."""
        if datagrams > CALM_DATAGRAMS:
            self._calm = 0
            return True
        self._calm += 1
        return self._calm < CALM_POLLS
