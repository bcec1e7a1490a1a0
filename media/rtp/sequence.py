"""Sequence numbers that wrap (RFC 3550 A.1), unwrapped to numbers that only grow: sans-IO."""

from typing import Final

HALF: Final = 1 << 15
WRAP: Final = 1 << 16


def unwrap(sequence: int, near: int) -> int:
    """The extended number with low 16 bits *sequence* that is nearest to *near*.

    Exactly half-way away counts as older.
    """
    delta = (sequence - near) & 0xFFFF
    return near + (delta - WRAP if delta >= HALF else delta)


def unwrap32(timestamp: int, near: int) -> int:
    """The same for RTP timestamps."""
    delta = (timestamp - near) & 0xFFFFFFFF
    return near + (delta - (1 << 32) if delta >= 1 << 31 else delta)
