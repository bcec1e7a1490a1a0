"""Core: H.264 over RTP (RFC 6184), packetization modes 0 and 1."""

from collections.abc import Iterable
from typing import Final

from media.broadcast.depacketize.frame import Depacketizer, EncodedFrame
from media.broadcast.nal import NAL_IDR, NAL_PPS, NAL_SLICE, NAL_SPS, nal_type

_STAP_A: Final = 24
_FU_A: Final = 28
_PARAMETER_SETS: Final = frozenset({NAL_SPS, NAL_PPS})


class H264Depacketizer(Depacketizer):
    """Makes access units. A keyframe is an IDR picture; its parameter sets stand in it, put there
    where the sender gave them earlier."""

    def __init__(self) -> None:
        super().__init__()
        self._nals: list[bytes] = []
        self._fragments: list[bytes] = []
        self._parameter_sets: dict[int, bytes] = {}

    def know_parameter_sets(self, nals: Iterable[bytes]) -> None:
        """Take parameter sets from the session description (RFC 6184 8.1)."""
        for nal in nals:
            if nal and nal_type(nal) in _PARAMETER_SETS:
                self._parameter_sets[nal_type(nal)] = nal

    def _reset(self) -> None:
        self._nals = []
        self._fragments = []

    def _add(self, payload: bytes) -> bool:
        kind = nal_type(payload)
        if self._fragments and kind != _FU_A:
            return False  # RFC 6184 5.8: nothing stands between the fragments of a NAL unit
        if 1 <= kind <= 23:  # 5.6: single NAL unit packet
            self._nals.append(payload)
            return True
        if kind == _STAP_A:
            return self._add_aggregate(payload)
        if kind == _FU_A:
            return self._add_fragment(payload)
        # STAP-B, MTAPs and FU-B belong to the interleaved mode, which no answer of ours allows.
        return False

    def _add_aggregate(self, payload: bytes) -> bool:
        """RFC 6184 5.7.1: a 16-bit size before each NAL unit."""
        position = 1
        while position < len(payload):
            size = int.from_bytes(payload[position : position + 2], "big")
            nal = payload[position + 2 : position + 2 + size]
            if size == 0 or len(nal) != size:
                return False
            self._nals.append(nal)
            position += 2 + size
        return True

    def _add_fragment(self, payload: bytes) -> bool:
        """RFC 6184 5.8: FU indicator, FU header (S, E, R, type), then a piece."""
        if len(payload) < 3:
            return False
        indicator, header = payload[0], payload[1]
        starts, ends = bool(header & 0x80), bool(header & 0x40)
        if starts == bool(self._fragments) or (starts and ends):
            return False
        if starts:
            self._fragments = [bytes([(indicator & 0xE0) | (header & 0x1F)])]
        self._fragments.append(payload[2:])
        if ends:
            self._nals.append(b"".join(self._fragments))
            self._fragments = []
        return True

    def _finish(self, timestamp: int) -> EncodedFrame | None:
        if self._fragments:
            return None
        self.know_parameter_sets(self._nals)
        slices = [nal for nal in self._nals if nal_type(nal) in (NAL_SLICE, NAL_IDR)]
        if not slices:
            # Parameter sets alone are known now, and put into the keyframe that follows.
            return EncodedFrame(timestamp, False, ())
        # first_mb_in_slice is ue(v) and 0 (a single 1 bit) in a picture's first slice: without
        # this a picture whose first packet was lost would look whole.
        if len(slices[0]) < 2 or not slices[0][1] & 0x80:
            return None
        if nal_type(slices[0]) != NAL_IDR:
            return EncodedFrame(timestamp, False, tuple(self._nals))
        missing = _PARAMETER_SETS - {nal_type(nal) for nal in self._nals}
        if not missing <= self._parameter_sets.keys():
            return EncodedFrame(timestamp, False, tuple(self._nals))
        known = [self._parameter_sets[kind] for kind in sorted(missing)]
        return EncodedFrame(timestamp, True, (*known, *self._nals))
