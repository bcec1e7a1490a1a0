"""Real media for the broadcast's tests: encoded by PyAV, packetized by aiortc, sent on time."""

import asyncio
import functools
import io
import json
import re
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiortc.codecs import get_encoder
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

FRAME_RATE_HZ = 30
PAYLOAD_TYPES = {
    "video/VP8": 96,
    "video/VP9": 98,
    "video/H264": 102,
    "video/AV1": 45,
    "audio/opus": 111,
}
ENCODERS = {
    "video/VP8": "libvpx",
    "video/VP9": "libvpx-vp9",
    "video/H264": "libx264",
    "video/AV1": "libsvtav1",
}
LIBVPX_OPTIONS = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "g": "9999"}
ENCODER_OPTIONS = {
    "video/VP8": LIBVPX_OPTIONS,
    "video/VP9": LIBVPX_OPTIONS,
    "video/H264": {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": "repeat-headers=1",
    },
    "video/AV1": {"preset": "11", "svtav1-params": "pred-struct=1:rtc=1:keyint=30"},
}
MTU_BYTES = 1100


def rtp(
    payload: bytes,
    *,
    sequence_number: int,
    timestamp: int,
    marker: bool = False,
    payload_type: int = 96,
    ssrc: int = 1,
) -> bytes:
    """One RTP packet (RFC 3550 5.1) with the plainest header."""
    return (
        struct.pack(
            ">BBHII",
            0x80,
            payload_type | (0x80 if marker else 0),
            sequence_number & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            ssrc,
        )
        + payload
    )


@dataclass
class Track:
    """A track as a sender would send it: bursts of packets, each with the time it is due."""

    mime: str
    bursts: list[tuple[float, list[bytes]]]
    encoded: list[bytes] = field(default_factory=list)
    """The frames before packetization."""

    @property
    def payload_type(self) -> int:
        return PAYLOAD_TYPES[self.mime]

    @property
    def clock_rate_hz(self) -> int:
        return 48000 if self.mime == "audio/opus" else 90000


def picture(index: int, width: int, height: int, brightness: int) -> av.VideoFrame:
    """A grey picture with a bright bar that moves 4 pixels a frame."""
    frame = av.VideoFrame(width, height, "yuv420p")
    rows = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)  # type: ignore[call-overload]
    rows[:] = brightness
    left = index * 4 % (width - 16)
    rows[:, left : left + 16] = 235
    for plane in frame.planes[1:]:
        np.frombuffer(plane, np.uint8)[:] = 128  # type: ignore[call-overload]
    return frame


def packetize(mime: str, packet: Any) -> list[bytes]:
    """The payloads of one frame: VP8 and H.264 as aiortc cuts them, the others here."""
    if mime == "video/VP9":
        return packetize_vp9(bytes(packet), keyframe=packet.is_keyframe)
    if mime == "video/AV1":
        return packetize_av1(bytes(packet), keyframe=packet.is_keyframe)
    codec = RTCRtpCodecParameters(mimeType=mime, clockRate=90000)
    payloads, _ = PACKERS.setdefault(mime, get_encoder(codec)).pack(packet)
    return list(payloads)


PACKERS: dict[str, Any] = {}


def packetize_vp9(frame: bytes, *, keyframe: bool) -> list[bytes]:
    """RFC 9628 in non-flexible mode: picture id, P, B and E."""
    pieces = [frame[at : at + MTU_BYTES] for at in range(0, len(frame), MTU_BYTES)]
    payloads = []
    for index, piece in enumerate(pieces):
        flags = 0x80 | (0 if keyframe else 0x40)
        flags |= (0x08 if index == 0 else 0) | (0x04 if index == len(pieces) - 1 else 0)
        payloads.append(bytes([flags, 0x01]) + piece)
    return payloads


def packetize_av1(unit: bytes, *, keyframe: bool) -> list[bytes]:
    """One OBU element per packet (W 1), fragmented where it does not fit."""
    payloads: list[bytes] = []
    position = 0
    while position < len(unit):
        header, size, shift, at = unit[position], 0, 0, position + 1
        assert header & 0x06 == 0x02, "an OBU with a size and without an extension"
        while True:
            size |= (unit[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not unit[at - 1] & 0x80:
                break
        position = at + size
        if header >> 3 & 0x0F == 2:
            continue  # a temporal delimiter is not sent
        obu = bytes([header & ~0x02]) + unit[at:position]
        for start in range(0, len(obu), MTU_BYTES):
            flags = 0x10 | (0x80 if start else 0) | (0x40 if start + MTU_BYTES < len(obu) else 0)
            flags |= 0x08 if keyframe and not payloads else 0
            payloads.append(bytes([flags]) + obu[start : start + MTU_BYTES])
    return payloads


@functools.cache
def encode_video(
    mime: str,
    *,
    duration_s: float,
    width: int = 320,
    height: int = 240,
    brightness: int = 60,
    keyframe_every: int = 30,
    ssrc: int = 1000,
    first_sequence_number: int = 65500,
    first_timestamp: int = 0xFFFFF000,
) -> Track:
    context = av.CodecContext.create(ENCODERS[mime], "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 90000), Fraction(FRAME_RATE_HZ, 1)
    if mime != "video/AV1":  # which has no rate control without delay
        context.bit_rate = 500_000
    context.options = dict(ENCODER_OPTIONS[mime])
    track = Track(mime, [])
    number = first_sequence_number
    frames: list[av.VideoFrame | None] = []
    for index in range(int(duration_s * FRAME_RATE_HZ)):
        frame = picture(index, width, height, brightness)
        frame.pts, frame.time_base = index * 3000, Fraction(1, 90000)
        if index % keyframe_every == 0:
            frame.pict_type = PictureType.I
        frames.append(frame)
    for packet in (packet for frame in [*frames, None] for packet in context.encode(frame)):
        packet.time_base = Fraction(1, 90000)
        assert packet.pts is not None
        track.encoded.append(bytes(packet))
        payloads = packetize(mime, packet)
        burst = []
        for position, payload in enumerate(payloads):
            burst.append(
                rtp(
                    payload,
                    sequence_number=number,
                    timestamp=first_timestamp + packet.pts,
                    marker=position == len(payloads) - 1,
                    payload_type=PAYLOAD_TYPES[mime],
                    ssrc=ssrc,
                )
            )
            number += 1
        track.bursts.append((packet.pts / 90000, burst))
    return track


@functools.cache
def encode_tone(
    *,
    duration_s: float,
    frequency_hz: float = 440.0,
    amplitude: float = 0.3,
    beep_every_s: float | None = None,
    ssrc: int = 2000,
    first_timestamp: int = 0xFFFFE000,
) -> Track:
    """A steady tone, or 100 ms beeps at the whole multiples of *beep_every_s*."""
    context = av.CodecContext.create("libopus", "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout, context.format = 48000, "stereo", "flt"
    context.bit_rate = 64_000
    track = Track("audio/opus", [])
    for index in range(int(duration_s * 50)):
        seconds = (np.arange(960) + index * 960) / 48000
        sound = amplitude * np.sin(2 * np.pi * frequency_hz * seconds)
        if beep_every_s is not None:
            sound = np.where(seconds % beep_every_s < 0.1, sound, 0.0)
        interleaved = np.repeat(sound.astype(np.float32), 2).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout="stereo")
        frame.sample_rate, frame.pts = 48000, index * 960
        for packet in context.encode(frame):
            track.encoded.append(bytes(packet))
            number = len(track.bursts)
            data = rtp(
                bytes(packet),
                sequence_number=65530 + number,
                timestamp=first_timestamp + number * 960,
                payload_type=PAYLOAD_TYPES["audio/opus"],
                ssrc=ssrc,
            )
            track.bursts.append((number / 50, [data]))
    return track


async def send_on_time(
    tracks: dict[str, Track], deliver: Callable[[str, list[bytes], float], None]
) -> None:
    """Hand each burst of each track to *deliver* when it is due."""
    loop = asyncio.get_running_loop()
    schedule = sorted(
        ((due_s, name, burst) for name, t in tracks.items() for due_s, burst in t.bursts),
        key=lambda item: item[0],
    )
    begin = loop.time()
    for due_s, name, burst in schedule:
        wait_s = begin + due_s - loop.time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        deliver(name, burst, loop.time())


def hls_faults(playlists: list[str]) -> list[str]:
    """What the npm hls-parser finds wrong in *playlists* in strict mode, by one node process."""
    # A strict parser throws at the first fault of a text.
    program = """
        import { readFileSync } from 'node:fs';
        import HLS from 'hls-parser';
        HLS.setOptions({ strictMode: true });
        const faults = [];
        for (const text of JSON.parse(readFileSync(0, 'utf8'))) {
            try { HLS.parse(text); } catch (error) { faults.push(`${error.message}\\n${text}`); }
        }
        console.log(JSON.stringify(faults));
    """
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program],
        input=json.dumps([text.replace("{{query}}", "?access_token=a.b-c") for text in playlists]),
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    faults: list[str] = json.loads(done.stdout)
    return faults


class MemorySink:
    """Files in a dict, announcements in a list; checks that a playlist names only what is there."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.removed: list[str] = []
        self.changes: list[Any] = []

    def apply(self, effects: Any) -> None:
        for effect in effects:
            if hasattr(effect, "body"):
                assert effect.name not in self.files, f"{effect.name} was written twice"
                self.files[effect.name] = effect.body
            else:
                del self.files[effect.name]
                self.removed.append(effect.name)

    def announce(self, change: Any) -> None:
        self.changes.append(change)
        for name in re.findall(r'(?:URI="|^)((?:video|audio)-[^"{]*)\{\{', change.playlist, re.M):
            assert name in self.files or name == change.hint, f"{name} is named but not there"

    def latest(self, rendition: str) -> Any:
        return [change for change in self.changes if change.rendition == rendition][-1]

    def playlists(self) -> list[str]:
        texts = [change.playlist for change in self.changes]
        return texts + [change.delta for change in self.changes if change.delta]

    def joined(self, rendition: str, init: int = 0) -> bytes:
        """Init section *init* and the segments that need it, as one file."""
        text = self.latest(rendition).playlist
        current, body = None, b""
        for line in text.splitlines():
            if line.startswith("#EXT-X-MAP"):
                current = line.split('"')[1].removesuffix("{{query}}")
            elif line.startswith(rendition) and current == f"{rendition}-init-{init}.mp4":
                body += self.files[line.removesuffix("{{query}}")]
        return self.files[f"{rendition}-init-{init}.mp4"] + body


@dataclass(frozen=True)
class Decoded:
    """What PyAV finds in a file."""

    times_s: list[float]
    keyframes_s: list[float]
    pictures: list[Any]
    sound: Any
    width: int
    height: int
    codec: str


def decode(body: bytes) -> Decoded:
    """Demux and decode a whole file of one track, as a second opinion on ours."""
    with av.open(io.BytesIO(body), "r") as container:
        stream = container.streams[0]
        times, keys, pictures, sound = [], [], [], []
        for frame in container.decode(stream):
            assert isinstance(frame, av.VideoFrame | av.AudioFrame)
            assert frame.time is not None
            times.append(frame.time)
            if isinstance(frame, av.VideoFrame):
                if frame.key_frame:
                    keys.append(frame.time)
                pictures.append(frame.to_ndarray(format="gray"))
            else:
                sound.append(frame.to_ndarray()[0])
        context = stream.codec_context
        return Decoded(
            times,
            keys,
            pictures,
            np.concatenate(sound) if sound else None,
            getattr(context, "width", 0),
            getattr(context, "height", 0),
            context.name,
        )


class Studio:
    """The functions of this file, for tests, which can not import them."""

    rtp: Any = staticmethod(rtp)
    picture: Any = staticmethod(picture)
    video: Any = staticmethod(encode_video)
    tone: Any = staticmethod(encode_tone)
    send_on_time: Any = staticmethod(send_on_time)
    hls_faults: Any = staticmethod(hls_faults)
    decode: Any = staticmethod(decode)
    sink: Any = MemorySink


@pytest.fixture(scope="session")
def studio() -> Studio:
    return Studio()
