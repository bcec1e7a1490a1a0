"""Which publication a received packet belongs to (RFC 8843 9.2). A sans-IO core."""

from typing import Final, Generic, Protocol, TypeVar

from media.sfu.spec import EXT_MID, PublicationSpec

LEARNED_MAX: Final = 64
"""Ssrcs learned per transport beyond those named in SDP. Each costs SRTP state, and whoever holds
the keys could invent them without end."""


class Routed(Protocol):
    """What a route leads to."""

    @property
    def spec(self) -> PublicationSpec: ...


T = TypeVar("T", bound=Routed)


class Routes(Generic[T]):
    """The receiving side of one transport."""

    def __init__(self) -> None:
        self.media: dict[int, T] = {}
        """By media ssrc. Read by the hot path."""
        self.retransmission: dict[int, T] = {}
        """By RTX ssrc (RFC 4588)."""
        self._publications: list[T] = []
        self._learned: set[int] = set()
        self.mid_id: int | None = None

    def add(self, publication: T) -> None:
        spec = publication.spec
        self._publications.append(publication)
        if spec.ssrc is not None:
            self.media[spec.ssrc] = publication
        if spec.rtx_ssrc is not None:
            self.retransmission[spec.rtx_ssrc] = publication
        self.mid_id = spec.extensions.get(EXT_MID, self.mid_id)

    def remove(self, publication: T) -> None:
        if publication in self._publications:
            self._publications.remove(publication)
        for table in (self.media, self.retransmission):
            for ssrc in [ssrc for ssrc, owner in table.items() if owner is publication]:
                del table[ssrc]

    @property
    def publications(self) -> tuple[T, ...]:
        return tuple(self._publications)

    @property
    def full(self) -> bool:
        """Whether no more ssrcs are learned."""
        return len(self._learned) >= LEARNED_MAX

    def learn(self, ssrc: int, payload_type: int, mid: str | None) -> T | None:
        """The publication of a new *ssrc*, remembered in ``media`` or ``retransmission``.

        By MID if the packet has one, else by payload type where only one publication uses it.
        Counts against LEARNED_MAX whether it is found or not.
        """
        self._learned.add(ssrc)
        candidates = [
            publication
            for publication in self._publications
            if (mid is None or publication.spec.mid == mid)
            and _usage(publication.spec, payload_type) is not None
        ]
        if len(candidates) != 1:
            return None
        publication = candidates[0]
        if _usage(publication.spec, payload_type) == "rtx":
            self.retransmission[ssrc] = publication
        else:
            self.media[ssrc] = publication
        return publication


def _usage(spec: PublicationSpec, payload_type: int) -> str | None:
    for codec in spec.codecs:
        if codec.payload_type == payload_type:
            return "media"
        if codec.rtx_payload_type == payload_type:
            return "rtx"
    return None
