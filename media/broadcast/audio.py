"""The sound of a broadcast: all microphones, decoded, mixed and encoded on a fixed clock."""

from typing import Final

from coordinator.ids import TrackSid
from media.broadcast.codec import AAC_PRIMING_FRAMES, AacEncoder, OpusDecoder
from media.broadcast.mixer import BLOCK_SAMPLES, RATE_HZ, Mixer, Voice
from media.broadcast.output import Output
from media.broadcast.packet import RtpPacket
from media.broadcast.reorder import ReorderWindow
from media.broadcast.timeline import DELAY_S, TrackClock

_REORDER_WAIT_S: Final = DELAY_S / 2
"""What comes after a lost packet must still be in time."""


class _Microphone:
    """One Opus track."""

    def __init__(self, payload_type: int, clock: TrackClock, voice: Voice) -> None:
        self.payload_type: Final = payload_type
        self.clock: Final = clock
        self.voice: Final = voice
        self.reorder: Final = ReorderWindow(max_wait_s=_REORDER_WAIT_S)
        self.decoder: Final = OpusDecoder()
        self.muted = False
        self.undecodable_packets = 0


class AudioProgram:
    """Owns the voices. All times are media time of the broadcast, in seconds."""

    def __init__(self, output: Output, *, start_s: float) -> None:
        self._output: Final = output
        # The first picture may stand a little before the start: the picture's delay.
        self._mixer: Final = Mixer(round((start_s - 1.0) * RATE_HZ))
        self._microphones: Final[dict[TrackSid, _Microphone]] = {}
        self._encoder: AacEncoder | None = None
        self._frame_position = 0

    def add(self, sid: TrackSid, payload_type: int, clock: TrackClock) -> None:
        self._microphones[sid] = _Microphone(payload_type, clock, self._mixer.add(sid))

    def remove(self, sid: TrackSid) -> None:
        self._microphones.pop(sid, None)
        self._mixer.remove(sid)

    def set_muted(self, sid: TrackSid, muted: bool) -> None:
        if sid in self._microphones:
            self._microphones[sid].muted = muted

    def packets(
        self, sid: TrackSid, packets: list[RtpPacket], arrival_s: float, now: float
    ) -> None:
        """Take a track's packets, in the order of arrival."""
        microphone = self._microphones.get(sid)
        if microphone is None or microphone.muted:
            return
        for packet in packets:
            if packet.payload_type != microphone.payload_type or not packet.payload:
                continue
            microphone.clock.packet(packet.timestamp, arrival_s)
            for released in microphone.reorder.push(packet, now):
                _hear(microphone, released)

    def advance(self, now: float) -> None:
        """Mix and encode up to *now* less the delay; the first picture says where to begin."""
        for microphone in self._microphones.values():
            for released in microphone.reorder.poll(now):
                _hear(microphone, released)
        end = int((now - DELAY_S) * RATE_HZ)
        if self._encoder is None:
            if not self._output.started:
                self._mixer.skip_to(max(self._mixer.position, end))
                return
            self._begin(self._output.audio_start)
        assert self._encoder is not None, "the encoder was begun"
        while self._mixer.position + BLOCK_SAMPLES <= end:
            for frame in self._encoder.encode(self._mixer.read()):
                self._output.audio(self._frame_position, frame)
                self._frame_position += BLOCK_SAMPLES

    def finish(self, end_s: float) -> None:
        """Mix and encode what is there up to *end_s* at least."""
        # One block more comes out when the encoder has the next one.
        self.advance(end_s + DELAY_S + (1 + AAC_PRIMING_FRAMES) * BLOCK_SAMPLES / RATE_HZ)

    def _begin(self, position: int) -> None:
        """Let the first AAC frame stand where the first picture stands."""
        # The picture's delay is less than ours, so that its place in the mix was not read yet;
        # were it ahead, the sound would begin a little later than the picture.
        self._mixer.skip_to(max(self._mixer.position, position))
        self._encoder = AacEncoder()
        # What comes out with the first block is the encoder's own beginning.
        self._frame_position = self._mixer.position - AAC_PRIMING_FRAMES * BLOCK_SAMPLES


def _hear(microphone: _Microphone, released: object) -> None:
    if not isinstance(released, RtpPacket):
        return  # what is missing stays silent
    sound = microphone.decoder.decode(released.payload)
    if sound is None:
        microphone.undecodable_packets += 1
        return
    clock = microphone.clock
    position = round(clock.time_of(released.timestamp) * RATE_HZ)
    microphone.voice.write(position, clock.extended(released.timestamp), sound)
