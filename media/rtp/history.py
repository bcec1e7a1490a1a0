"""The last packets of one source: for retransmission, and to tell duplicates. A sans-IO core."""

from typing import Final

from media.rtp.packet import Packet, parse


class PacketHistory:
    """A ring of at most *capacity* packets (a power of two), by extended sequence number.

    They are kept as the bytes that came, not as objects: a thousand objects per source would be
    walked by every run of the garbage collector. *capacity* packets of at most 1500 bytes bound
    its memory: 1.5 MB for 1024, which is 5 s of video at 200 packets/s, far more than any
    receiver's patience.
    """

    def __init__(self, capacity: int) -> None:
        assert capacity & (capacity - 1) == 0, "the ring is addressed by masking"
        self.capacity: Final = capacity
        self._mask: Final = capacity - 1
        self._numbers = [-1] * capacity
        self._datagrams = [b""] * capacity

    def put(self, extended: int, datagram: bytes) -> bool:
        """Keep plain RTP *datagram* in place of the one *capacity* before it. False: it was here
        already."""
        at = extended & self._mask
        if self._numbers[at] == extended:
            return False
        self._numbers[at] = extended
        self._datagrams[at] = datagram
        return True

    def __contains__(self, extended: int) -> bool:
        return self._numbers[extended & self._mask] == extended

    def get(self, extended: int) -> Packet | None:
        """The packet with exactly this number, if it is still here."""
        at = extended & self._mask
        if self._numbers[at] != extended:
            return None
        return parse(self._datagrams[at], extended)

    def clear(self) -> None:
        self._numbers = [-1] * self.capacity
        self._datagrams = [b""] * self.capacity
