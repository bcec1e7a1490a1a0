"""The picture that the encoder sees: one size, whatever is drawn on it (PyAV's scaler)."""

from typing import Final

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

MAX_WIDTH: Final = 1280
MAX_HEIGHT: Final = 720
EMPTY_SIZE: Final = (640, 360)
"""While nobody has shown a picture."""
_BLACK: Final = (16, 128, 128)
_CALM: Final = (30, 130, 127)
"""A dark, slightly blue grey: nobody shows a picture."""


def fitting_size(width: int, height: int) -> tuple[int, int]:
    """Return the largest even size of this shape within 1280x720, not larger than it is."""
    scale = min(1.0, MAX_WIDTH / width, MAX_HEIGHT / height)
    return max(16, int(width * scale) // 2 * 2), max(16, int(height * scale) // 2 * 2)


class Canvas:
    """A frame of a fixed size; what has another shape stands in the middle, black around it."""

    def __init__(self, width: int, height: int) -> None:
        self.width: Final = width
        self.height: Final = height
        self.drawn = False
        """A picture was drawn on it, ever."""
        self._reformatter = VideoReformatter()
        self._own = av.VideoFrame(width, height, "yuv420p")
        self._planes = [_plane(self._own, index) for index in range(3)]
        self._inside: tuple[int, int] | None = None
        self.frame = self._own
        """What to encode."""
        self.clear()

    def clear(self) -> None:
        """Nobody shows a picture."""
        self._fill(_CALM)
        self._inside = None
        self.frame = self._own

    def draw(self, picture: av.VideoFrame) -> None:
        """Put *picture* on the canvas."""
        self.drawn = True
        scale = min(self.width / picture.width, self.height / picture.height)
        width = min(self.width, max(2, round(picture.width * scale) // 2 * 2))
        height = min(self.height, max(2, round(picture.height * scale) // 2 * 2))
        fitted = self._reformatter.reformat(
            picture, width, height, "yuv420p", interpolation=Interpolation.BILINEAR
        )
        if (width, height) == (self.width, self.height):
            self.frame = fitted
            return
        if self._inside != (width, height):
            self._fill(_BLACK)
            self._inside = (width, height)
        # Even offsets: the colour planes are half as large.
        left, top = (self.width - width) // 4 * 2, (self.height - height) // 4 * 2
        for index, plane in enumerate(self._planes):
            half = 2 if index else 1
            source = _plane(fitted, index)
            x, y, w, h = left // half, top // half, width // half, height // half
            plane[y : y + h, x : x + w] = source[:h, :w]
        self.frame = self._own

    def _fill(self, colour: tuple[int, int, int]) -> None:
        for plane, value in zip(self._planes, colour, strict=True):
            plane[:] = value


def _plane(frame: av.VideoFrame, index: int) -> NDArray[np.uint8]:
    """The rows of a plane, its padding included."""
    plane = frame.planes[index]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload,no-any-return]
