"""Cores: RTP payloads of one codec each, put together to frames."""

from typing import Final

from media.broadcast.depacketize.av1 import Av1Depacketizer
from media.broadcast.depacketize.frame import Depacketizer, EncodedFrame
from media.broadcast.depacketize.h264 import H264Depacketizer
from media.broadcast.depacketize.vp8 import Vp8Depacketizer
from media.broadcast.depacketize.vp9 import Vp9Depacketizer

__all__ = ["DEPACKETIZERS", "Depacketizer", "EncodedFrame"]

DEPACKETIZERS: Final[dict[str, type[Depacketizer]]] = {
    "video/h264": H264Depacketizer,
    "video/vp8": Vp8Depacketizer,
    "video/vp9": Vp9Depacketizer,
    "video/av1": Av1Depacketizer,
}
"""By mime type, in lower case."""
