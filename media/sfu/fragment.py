"""SDP fragments: what WHIP and WHEP clients PATCH (RFC 8840, RFC 9725 4.3) (sans-IO)."""

from dataclasses import dataclass
from typing import Final

from coordinator.errors import PeerError
from media.sfu.sdp import LocalTransport, candidate_lines, check_candidate, check_ice, invalid

MAX_FRAGMENT_CHARS: Final = 16 * 1024
MAX_FRAGMENT_CANDIDATES: Final = 256


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a client says in a PATCH. Its candidates were checked and are not kept."""

    ice_ufrag: str
    ice_pwd: str
    """Both empty: the fragment names no credentials."""
    candidates: int
    complete: bool
    """No more candidates will come."""


def parse_fragment(text: str) -> Fragment:
    """Return what *text* says. Raises PeerError: invalid_sdp, invalid_candidate."""
    if len(text) > MAX_FRAGMENT_CHARS:
        raise invalid(f"A fragment has at most {MAX_FRAGMENT_CHARS} characters.")
    ufrags: set[str] = set()
    pwds: set[str] = set()
    candidates = 0
    complete = False
    for line in filter(None, (raw.strip() for raw in text.splitlines())):
        if not line.startswith(("m=", "a=")):
            raise invalid("A fragment has m= and a= lines only.")
        name, _, value = line.partition(":")
        if name == "a=ice-ufrag":
            ufrags.add(value)
        elif name == "a=ice-pwd":
            pwds.add(value)
        elif name == "a=candidate":
            check_candidate("candidate:" + value)
            candidates += 1
        elif name == "a=end-of-candidates":
            complete = True
    if candidates > MAX_FRAGMENT_CANDIDATES:
        raise PeerError("invalid_candidate", "A fragment has too many candidates.")
    if len(ufrags) > 1 or len(pwds) > 1:
        raise invalid("Bundled m-lines have one set of ICE credentials.")
    ufrag, pwd = next(iter(ufrags), ""), next(iter(pwds), "")
    if ufrag or pwd:
        check_ice(ufrag, pwd)
    elif not candidates and not complete:
        raise invalid("The fragment says nothing.")
    return Fragment(ufrag, pwd, candidates, complete)


def write_fragment(transport: LocalTransport, mid: str) -> str:
    """Return the answer to an ICE restart: new credentials and all candidates (RFC 9725 4.3.3)."""
    return (
        "a=ice-lite\r\n"
        f"a=ice-ufrag:{transport.ice_ufrag}\r\n"
        f"a=ice-pwd:{transport.ice_pwd}\r\n"
        "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"
        f"a=mid:{mid}\r\n" + candidate_lines(transport)
    )
