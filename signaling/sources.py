"""Sans-IO: what an offer would send, for tokens that let publish some sources only.

The media node parses offers leniently: it takes odd line ends and indented lines, and of two lines
that contradict each other the last. Whoever reads stricter here could be led past the token. So
lines are split as the node does, and in doubt an m-line sends.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from coordinator.errors import PeerError
from coordinator.requests import TrackAnnouncement

_DIRECTIONS: Final = frozenset(("a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"))
_SEND_NOTHING: Final = frozenset(("a=recvonly", "a=inactive"))
SOURCE_OF_KIND: Final = {"audio": "microphone", "video": "camera"}
"""What an encoder's tracks count as: WHIP announces nothing."""


def check_offer(sdp: str, tracks: Iterable[TrackAnnouncement], sources: frozenset[str]) -> None:
    """Raise PeerError("permission_denied") unless *sdp* sends *sources* only, each announced.

    No *sources*: anything may be sent.
    """
    if not sources:
        return
    named: set[str] = set()
    foreign: set[str] = set()
    for track in tracks:
        (named if track.source in sources else foreign).add(track.mid)
    if not sending_mids(sdp) <= named - foreign:
        raise _denied(sources)


def check_encoder(sdp: str, sources: frozenset[str]) -> None:
    """Raise PeerError("permission_denied") unless an encoder's offer *sdp* sends *sources* only."""
    if not sources:
        return
    if any(SOURCE_OF_KIND.get(kind) not in sources for kind, _ in _sending(sdp)):
        raise _denied(sources)


def sending_mids(sdp: str) -> set[str]:
    """The mids of the m-lines on which *sdp* would send; one without a single mid counts as ``""``.

    An m-line without a direction sends (RFC 8866 6.7). Data channels carry no media.
    """
    return {mid for _, mid in _sending(sdp)}


def _sending(sdp: str) -> Iterator[tuple[str, str]]:
    """(kind, mid) of each m-line that would send."""
    for kind, lines in _sections(sdp):
        directions = _DIRECTIONS.intersection(lines)
        if kind == "application" or (directions and directions <= _SEND_NOTHING):
            continue
        mids = {line[len("a=mid:") :] for line in lines if line.startswith("a=mid:")}
        yield kind, mids.pop() if len(mids) == 1 else ""


def _sections(sdp: str) -> list[tuple[str, list[str]]]:
    """The kind of each m-line and the lines under it."""
    found: list[tuple[str, list[str]]] = []
    for line in map(str.strip, sdp.splitlines()):
        if line.startswith("m="):
            kind, *_ = line[len("m=") :].split() or [""]
            found.append((kind, []))
        elif found:
            found[-1][1].append(line)
    return found


def _denied(sources: frozenset[str]) -> PeerError:
    return PeerError(
        "permission_denied", f"The token lets publish {', '.join(sorted(sources))} only."
    )
