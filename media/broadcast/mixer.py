"""Core: all microphones on one clock.

Positions are samples at 48 kHz on the broadcast's clock. Each voice writes what it decoded where
its timestamps say; the mixer reads blocks a fixed delay later and adds the voices up. What comes
after its place was read is lost and counted.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

RATE_HZ: Final = 48_000
CHANNELS: Final = 2
BLOCK_SAMPLES: Final = 1024
"""An AAC frame."""
_CAPACITY_SAMPLES: Final = 2 * RATE_HZ
_REANCHOR_SAMPLES: Final = RATE_HZ * 30 // 1000
"""A voice keeps its place until it is wrong by 30 ms: less can neither be heard nor seen, and a
seam at each correction of the clocks could."""
_KNEE: Final = 0.8

Samples = NDArray[np.float32]
"""Shape (samples, 2), full scale is 1."""


class Voice:
    """A ring of one track's sound, zero where nothing was written."""

    def __init__(self) -> None:
        self._ring: Samples = np.zeros((_CAPACITY_SAMPLES, CHANNELS), np.float32)
        self._read_position = 0
        self._anchor: int | None = None
        self._dirty_to = 0
        self.late_samples = 0
        self.seams = 0

    def write(self, position: int, media_position: int, samples: Samples) -> None:
        """Lay *samples* down at *position*, or close to it where that makes no seam.

        *media_position* is the same place on the sender's sample clock, wherever that begins: what
        is adjacent there is made adjacent here, and what is missing there is silence here.
        """
        if self._anchor is None or (
            abs(position - media_position - self._anchor) > _REANCHOR_SAMPLES
        ):
            self.seams += self._anchor is not None
            self._anchor = position - media_position
        position = media_position + self._anchor
        end = position + len(samples)
        if end > self._read_position + _CAPACITY_SAMPLES:
            return  # seconds ahead of its time: nothing that can be played
        late = self._read_position - position
        if late > 0:
            self.late_samples += min(late, len(samples))
            samples = samples[late:]
            position += late
        if len(samples) == 0:
            return
        self._dirty_to = max(self._dirty_to, end)
        start = position % _CAPACITY_SAMPLES
        first = min(len(samples), _CAPACITY_SAMPLES - start)
        self._ring[start : start + first] = samples[:first]
        self._ring[: len(samples) - first] = samples[first:]

    def skip_to(self, position: int) -> None:
        """Nothing before *position* will be read."""
        if position - self._read_position >= _CAPACITY_SAMPLES:
            self._ring[:] = 0
            self._read_position = position
        while self._read_position < position:
            self.read(min(BLOCK_SAMPLES, position - self._read_position))

    def read(self, count: int) -> Samples | None:
        """Take the next *count* samples; None: silence."""
        position = self._read_position
        self._read_position += count
        if self._dirty_to <= position:
            return None
        start = position % _CAPACITY_SAMPLES
        first = min(count, _CAPACITY_SAMPLES - start)
        taken = np.concatenate((self._ring[start : start + first], self._ring[: count - first]))
        self._ring[start : start + first] = 0
        self._ring[: count - first] = 0
        return taken


class Mixer:
    """The sum of the voices, block by block."""

    def __init__(self, position: int) -> None:
        self.position = position
        """The next sample to be read."""
        self._voices: dict[str, Voice] = {}

    def add(self, name: str) -> Voice:
        voice = Voice()
        voice.skip_to(self.position)
        self._voices[name] = voice
        return voice

    def remove(self, name: str) -> None:
        self._voices.pop(name, None)

    def skip_to(self, position: int) -> None:
        """Begin to read at *position*, which is not behind."""
        for voice in self._voices.values():
            voice.skip_to(position)
        self.position = position

    def read(self, count: int = BLOCK_SAMPLES) -> Samples:
        """Take the next *count* samples of the mix, within full scale."""
        self.position += count
        heard = [taken for v in self._voices.values() if (taken := v.read(count)) is not None]
        if not heard:
            return np.zeros((count, CHANNELS), np.float32)
        mix = heard[0]
        for other in heard[1:]:
            mix += other
        return soft_limit(mix)


def soft_limit(samples: Samples) -> Samples:
    """Return *samples* bent smoothly into full scale: unchanged up to the knee, never past 1."""
    loud = np.abs(samples)
    if float(loud.max(initial=0.0)) <= _KNEE:
        return samples
    room = 1.0 - _KNEE
    bent = _KNEE + room * np.tanh((loud - _KNEE) / room)
    limited: Samples = np.where(loud > _KNEE, np.copysign(bent, samples), samples).astype(
        np.float32
    )
    return limited
