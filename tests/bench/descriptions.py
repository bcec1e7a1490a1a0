"""The few SDP lines that the load generator says and hears: one VP8 m-line, all candidates inside.

Written by hand (RFC 9429, RFC 9725), so that every server sees the same offer whatever aiortc
would say, and so that a fault of the server's answer is not smoothed over.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

PAYLOAD_TYPE = 96


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """Our side of ICE and DTLS, as SDP needs it."""

    ufrag: str
    password: str
    fingerprint: str
    """sha-256, colon-separated hex."""
    candidates: Sequence[str]
    """Each without its leading ``candidate:``."""


@dataclass(frozen=True, slots=True)
class RemoteTransport:
    """The server's side, from its answer."""

    ufrag: str
    password: str
    fingerprints: tuple[tuple[str, str], ...]
    setup: str
    ice_lite: bool
    candidates: tuple[str, ...]
    """Each without its leading ``candidate:``."""


def _offer(local: LocalTransport, direction: str, sender_lines: Sequence[str]) -> str:
    feedback = ("nack", "nack pli", "ccm fir", "goog-remb")
    lines = [
        "v=0",
        f"o=- {secrets.randbits(62)} 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=msid-semantic: WMS *",
        f"m=video 9 UDP/TLS/RTP/SAVPF {PAYLOAD_TYPE}",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a=ice-ufrag:{local.ufrag}",
        f"a=ice-pwd:{local.password}",
        f"a=fingerprint:sha-256 {local.fingerprint}",
        "a=setup:actpass",
        *(f"a=candidate:{candidate}" for candidate in local.candidates),
        "a=end-of-candidates",
        "a=mid:0",
        f"a={direction}",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        f"a=rtpmap:{PAYLOAD_TYPE} VP8/90000",
        *(f"a=rtcp-fb:{PAYLOAD_TYPE} {kind}" for kind in feedback),
        *sender_lines,
    ]
    return "\r\n".join(lines) + "\r\n"


def publish_offer(local: LocalTransport, ssrc: int) -> str:
    """One sendonly video track with this ssrc."""
    sender = (
        "a=msid:bench video",
        f"a=ssrc:{ssrc} cname:bench",
        f"a=ssrc:{ssrc} msid:bench video",
    )
    return _offer(local, "sendonly", sender)


def play_offer(local: LocalTransport) -> str:
    """One recvonly video m-line."""
    return _offer(local, "recvonly", ())


def parse_answer(text: str) -> RemoteTransport:
    """The transport of the answer's only m-line; ValueError when it accepts no media."""
    lines = [line.strip() for line in text.splitlines()]
    attributes = [line[2:] for line in lines if line.startswith("a=")]
    media = [line.split() for line in lines if line.startswith("m=")]
    if len(media) != 1 or media[0][1] == "0" or str(PAYLOAD_TYPE) not in media[0][3:]:
        raise ValueError(f"the answer does not accept our video: {media}")

    def values(name: str) -> list[str]:
        return [a[len(name) + 1 :] for a in attributes if a.startswith(name + ":")]

    fingerprints = tuple((f.split()[0], f.split()[1]) for f in values("fingerprint"))
    ufrag, password, setup = values("ice-ufrag"), values("ice-pwd"), values("setup")
    if not (fingerprints and ufrag and password and setup):
        raise ValueError("the answer lacks ICE credentials, a fingerprint or a DTLS role")
    return RemoteTransport(
        ufrag=ufrag[0],
        password=password[0],
        fingerprints=fingerprints,
        setup=setup[0],
        ice_lite="ice-lite" in attributes,
        candidates=tuple(values("candidate")),
    )
