"""The last packets of one source, by extended sequence number: for retransmission, and to tell
duplicates. A sans-IO core."""

from typing import Final

from media.rtp.packet import Packet


class PacketHistory:
    """A ring of at most *capacity* packets (a power of two).

    *capacity* packets of at most 1500 bytes bound its memory: 1.5 MB for 1024, which is 5 s of
    video at 200 packets/s, far more than any receiver's patience.
    """

    def __init__(self, capacity: int) -> None:
        assert capacity & (capacity - 1) == 0, "the ring is addressed by masking"
        self.capacity: Final = capacity
        self._mask: Final = capacity - 1
        self._ring: list[Packet | None] = [None] * capacity

    def put(self, packet: Packet) -> None:
        """Keep *packet* in place of the one *capacity* before it."""
        self._ring[packet.extended & self._mask] = packet

    def get(self, extended: int) -> Packet | None:
        """The packet with exactly this number, if it is still here."""
        packet = self._ring[extended & self._mask]
        return packet if packet is not None and packet.extended == extended else None

    def clear(self) -> None:
        self._ring = [None] * self.capacity
