"""Audio levels from the header extension (RFC 6464), without decoding. A sans-IO core."""

from typing import Final

import numpy as np

SAMPLES_MAX: Final = 512
"""Per poll; 512 packets of 20 ms are 10 s, longer than anyone waits between two polls."""

# -dBov to a linear amplitude, 0 (silent) to 1; 127 is digital silence (RFC 6464 3).
_AMPLITUDE: Final = np.power(10.0, -np.arange(128) / 20.0)
_AMPLITUDE[127] = 0.0


class AudioLevels:
    """The levels heard on one source since the last poll."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples = bytearray()

    def add(self, value: bytes) -> None:
        """One extension element: V flag and level in its first byte."""
        if value and len(self._samples) < SAMPLES_MAX:
            self._samples.append(value[0])

    def poll(self) -> float:
        """How loud it was, 0 to 1 (root mean square of the amplitudes), and begin anew."""
        if not self._samples:
            return 0.0
        column = np.frombuffer(bytes(self._samples), np.uint8) & 0x7F
        self._samples.clear()
        return float(np.sqrt(np.mean(np.square(_AMPLITUDE[column]))))
