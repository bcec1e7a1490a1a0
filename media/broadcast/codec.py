"""The codecs, by PyAV. Nothing else in the broadcast touches them.

All of them run on one thread each: a worker has a core to itself at best, and threads of a codec
would only add delay.
"""

from fractions import Fraction
from typing import Final

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.codec.context import Flags
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from media.broadcast.mixer import CHANNELS, RATE_HZ, Samples
from media.broadcast.nal import join_annex_b, split_annex_b

VIDEO_TIMESCALE: Final = 90_000
MAX_PICTURE_PIXELS: Final = 4096 * 2304
AAC_BIT_RATE_BPS: Final = 128_000
AAC_CONFIG: Final = b"\x11\x90"
"""AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1): LC, 48 kHz, two channels."""
AAC_PRIMING_FRAMES: Final = 1
"""The encoder's first frame holds what comes before the first sample."""

_DECODERS: Final = {
    "video/h264": "h264",
    "video/vp8": "vp8",
    "video/vp9": "vp9",
    "video/av1": "libdav1d",
}


class VideoDecoder:
    """Decodes one track. After ``failed`` it wants a keyframe."""

    def __init__(self, mime: str) -> None:
        self._h264: Final = mime.lower() == "video/h264"
        context = av.CodecContext.create(_DECODERS[mime.lower()], "r")
        assert isinstance(context, VideoCodecContext), "a video codec"
        context.thread_count = 1
        context.flags |= Flags.low_delay
        # A keyframe of some bytes may claim 16383 x 16383, and memory would be taken for it.
        context.options = {"max_pixels": str(MAX_PICTURE_PIXELS)}
        self._context: Final = context

    def decode(self, units: tuple[bytes, ...]) -> list[av.VideoFrame] | None:
        """Return the pictures that *units* complete; None: they could not be decoded."""
        data = join_annex_b(units) if self._h264 else units[0]
        try:
            return self._context.decode(av.Packet(data))
        except (FFmpegError, ValueError):
            return None


class VideoEncoder:
    """libx264 without delay: one frame in, one access unit out, keyframes only when told."""

    def __init__(self, width: int, height: int, *, frame_rate_hz: int) -> None:
        context = av.CodecContext.create("libx264", "w")
        assert isinstance(context, VideoCodecContext), "a video codec"
        context.width, context.height = width, height
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, VIDEO_TIMESCALE)
        context.framerate = Fraction(frame_rate_hz, 1)
        context.thread_count = 1
        self.max_bps: Final = max_bps(width, height)
        context.options = {
            # superfast costs a tenth of a core at 720p30; veryfast gains little at our rates.
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "main",
            "crf": "23",
            "maxrate": str(self.max_bps),
            "bufsize": str(self.max_bps),
            # Keyframes are ours to place; parameter sets come with each of them.
            "x264-params": "keyint=infinite:scenecut=0:bframes=0:repeat-headers=1",
        }
        self._context: Final = context
        self.frames = 0
        """How many were encoded; the first must be a keyframe."""

    def encode(self, frame: av.VideoFrame, pts_ticks: int, *, keyframe: bool) -> list[bytes]:
        """Return the NAL units of *frame*, its parameter sets among them in a keyframe."""
        self.frames += 1
        frame.pts = pts_ticks
        frame.time_base = Fraction(1, VIDEO_TIMESCALE)
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        return split_annex_b(b"".join(bytes(packet) for packet in self._context.encode(frame)))


def max_bps(width: int, height: int) -> int:
    """The encoder's peak: 2.5 Mb/s at 1280x720, less for less, 600 kb/s at least."""
    return max(600_000, width * height * 2_500_000 // (1280 * 720))


class OpusDecoder:
    """Decodes one voice to stereo at 48 kHz (RFC 7587 4.1: the clock is 48 kHz always)."""

    def __init__(self) -> None:
        context = av.CodecContext.create("opus", "r")
        assert isinstance(context, AudioCodecContext), "an audio codec"
        context.sample_rate = RATE_HZ
        context.layout = "stereo"
        context.thread_count = 1
        self._context: Final = context

    def decode(self, payload: bytes) -> Samples | None:
        """Return the sound in *payload*; None: it could not be decoded."""
        try:
            frames = self._context.decode(av.Packet(payload))
        except (FFmpegError, ValueError):
            return None
        planes = [frame.to_ndarray() for frame in frames]
        if not planes:
            return None
        sound: Samples = np.concatenate(planes, axis=1).T.astype(np.float32, copy=False)
        return sound if sound.shape[1] == CHANNELS else None


class AacEncoder:
    """AAC-LC, stereo. A block of 1024 samples in, a frame out, one block late."""

    def __init__(self) -> None:
        context = av.CodecContext.create("aac", "w")
        assert isinstance(context, AudioCodecContext), "an audio codec"
        context.sample_rate = RATE_HZ
        context.layout = "stereo"
        context.format = "fltp"
        context.bit_rate = AAC_BIT_RATE_BPS
        context.time_base = Fraction(1, RATE_HZ)
        self._context: Final = context
        self._position = 0

    def encode(self, block: Samples) -> list[bytes]:
        """Return the frames that *block* completes (none the first time)."""
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(block.T), format="fltp", layout="stereo"
        )
        frame.sample_rate = RATE_HZ
        frame.pts = self._position
        frame.time_base = Fraction(1, RATE_HZ)
        self._position += len(block)
        return [bytes(packet) for packet in self._context.encode(frame)]
