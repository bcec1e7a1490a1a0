"""A broadcast made beforehand and served as if it happened now."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

SEGMENT_S = 1.0
LENGTH_S = 40
WINDOW = 8
AHEAD_S = 6.0
"""A player finds this much when it begins."""


class LivePlaylist:
    """One-second fMP4 segments of a moving test picture with a tone. ``text`` grows with time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started = time.time() - AHEAD_S
        self.ended = False

    @classmethod
    async def make(cls, directory: Path) -> None:
        """Write the segments into *directory*, with ffmpeg."""
        process = await asyncio.create_subprocess_exec(
            *["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=15"],
            *["-f", "lavfi", "-i", "sine=440", "-t", str(LENGTH_S)],
            *["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "15"],
            *["-c:a", "aac", "-f", "hls", "-hls_time", "1", "-hls_segment_type", "fmp4"],
            *["-hls_list_size", "0", "-hls_segment_filename", str(directory / "s%d.m4s")],
            str(directory / "all.m3u8"),
        )
        assert await process.wait() == 0, "ffmpeg could not make the test broadcast"

    def text(self) -> str:
        """The media playlist as it stands now."""
        count = int(min(LENGTH_S, (time.time() - self._started) / SEGMENT_S))
        first = max(0, count - WINDOW)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            "#EXT-X-TARGETDURATION:1",
            f"#EXT-X-MEDIA-SEQUENCE:{first}",
            '#EXT-X-MAP:URI="init.mp4"',
        ]
        for number in range(first, count):
            date = datetime.fromtimestamp(self._started + number * SEGMENT_S, UTC)
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{date.isoformat(timespec='milliseconds')}")
            lines.extend((f"#EXTINF:{SEGMENT_S:.3f},", f"s{number}.m4s"))
        if self.ended:
            lines.append("#EXT-X-ENDLIST")
        return "\n".join([*lines, ""])
