"""Who speaks: levels in, an ordered list out, told only when it changes (sans-IO).

Levels are smoothed with a fast attack and a slow release. A participant begins to speak above one
threshold and stops some time after falling below a lower one, so that pauses between words do not
flicker. The first of the list is the dominant speaker, whom pictures follow: another one takes its
place only by being clearly louder for a while.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from coordinator.ids import ParticipantSid

FLOOR_DB: Final = -60.0
"""Levels are given from 0 (here and below) to 1 (0 dBov)."""
START_LEVEL: Final = 0.30
"""-42 dBov. Speech into a headset lies at -20 to -35, a quiet office at -60 and below."""
STOP_LEVEL: Final = 0.20
QUIET_S: Final = 0.8
"""Longer than the pause between two words, shorter than the one between two people."""
ATTACK_S: Final = 0.1
RELEASE_S: Final = 0.4
OVERTAKE_LEVEL: Final = 0.08
"""5 dB louder ..."""
OVERTAKE_S: Final = 0.6
"""... for so long makes another one dominant."""


def perceived(amplitude: float) -> float:
    """A linear amplitude (0 to 1) as a level from 0 to 1 in equal steps of decibels."""
    if amplitude <= 0.0:
        return 0.0
    return min(1.0, max(0.0, 1.0 - 20.0 * math.log10(amplitude) / FLOOR_DB))


@dataclass(slots=True)
class _Voice:
    level: float = 0.0
    loud_at_s: float = -math.inf
    """When it was last above STOP_LEVEL."""


class SpeakerDetector:
    """The speakers of one room."""

    def __init__(self) -> None:
        self._voices: dict[ParticipantSid, _Voice] = {}
        self._speaking: list[ParticipantSid] = []
        self._at_s: float | None = None
        self._challenger: ParticipantSid | None = None
        self._challenged_at_s = 0.0

    @property
    def speaking(self) -> tuple[tuple[ParticipantSid, float], ...]:
        """(participant, level 0 to 1), the dominant one first."""
        return tuple((sid, self._voices[sid].level) for sid in self._speaking)

    def observe(self, amplitudes: Mapping[ParticipantSid, float], now: float) -> bool:
        """Take how loud each participant with a microphone was since the last call (linear
        amplitude, 0 to 1). Those left out have none any more. Returns whether the list changed."""
        before = list(self._speaking)
        elapsed_s = 0.0 if self._at_s is None else max(0.0, now - self._at_s)
        self._at_s = now
        for gone in [sid for sid in self._voices if sid not in amplitudes]:
            del self._voices[gone]
            if gone in self._speaking:
                self._speaking.remove(gone)
        for sid, amplitude in amplitudes.items():
            self._follow(sid, perceived(amplitude), elapsed_s, now)
        self._challenge(now)
        return self._speaking != before

    def _follow(self, sid: ParticipantSid, level: float, elapsed_s: float, now: float) -> None:
        voice = self._voices.setdefault(sid, _Voice())
        time_constant_s = ATTACK_S if level > voice.level else RELEASE_S
        voice.level += (level - voice.level) * (1.0 - math.exp(-elapsed_s / time_constant_s))
        if voice.level > STOP_LEVEL:
            voice.loud_at_s = now
        if sid not in self._speaking:
            if voice.level >= START_LEVEL:
                self._speaking.append(sid)
        elif now - voice.loud_at_s > QUIET_S:
            self._speaking.remove(sid)

    def _challenge(self, now: float) -> None:
        """Let the loudest take the first place if it has been clearly louder for long enough."""
        if len(self._speaking) < 2:
            self._challenger = None
            return
        loudest = max(self._speaking, key=lambda sid: self._voices[sid].level)
        dominant = self._voices[self._speaking[0]]
        if self._voices[loudest].level < dominant.level + OVERTAKE_LEVEL:
            self._challenger = None
        elif self._challenger != loudest:
            self._challenger, self._challenged_at_s = loudest, now
        elif now - self._challenged_at_s >= OVERTAKE_S:
            self._speaking.remove(loudest)
            self._speaking.insert(0, loudest)
            self._challenger = None
