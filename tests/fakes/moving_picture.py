"""Media that can be recognised after encoding, forwarding and decoding."""

import asyncio
import fractions
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack

VIDEO_RATE = 15
AUDIO_RATE = 48000
AUDIO_FRAME = 960


class MovingPicture(MediaStreamTrack):
    """A bright bar that moves one step per frame over a dark ground, 15 frames a second."""

    kind = "video"

    def __init__(self, width: int = 320, height: int = 240) -> None:
        super().__init__()
        self._width, self._height, self._count = width, height, 0
        self._start: float | None = None

    async def recv(self) -> Any:
        loop = asyncio.get_running_loop()
        if self._start is None:
            self._start = loop.time()
        await asyncio.sleep(max(0.0, self._start + self._count / VIDEO_RATE - loop.time()))
        picture = np.full((self._height, self._width, 3), 32, np.uint8)
        left = self._count * 8 % self._width
        picture[:, left : left + 32] = 220
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = self._count * (90000 // VIDEO_RATE)
        frame.time_base = fractions.Fraction(1, 90000)
        self._count += 1
        return frame


class Tone(MediaStreamTrack):
    """A sine of 440 Hz at half of full scale."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._start: float | None = None

    async def recv(self) -> Any:
        loop = asyncio.get_running_loop()
        if self._start is None:
            self._start = loop.time()
        due = self._start + self._count / AUDIO_RATE
        await asyncio.sleep(max(0.0, due - loop.time()))
        ticks = self._count + np.arange(AUDIO_FRAME)
        wave = (16000 * np.sin(2 * np.pi * 440 * ticks / AUDIO_RATE)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
        frame.sample_rate = AUDIO_RATE
        frame.pts = self._count
        frame.time_base = fractions.Fraction(1, AUDIO_RATE)
        self._count += AUDIO_FRAME
        return frame
