"""Session descriptions: text to frozen values and back (RFC 8866, RFC 9429).

The only place that touches ``aiortc.sdp``. That module parses and writes most of what WebRTC needs;
what it lacks (``ice-lite`` and groups for any set of m-lines, ``bundle-only``, ``rtcp-rsize``,
``extmap-allow-mixed``, per-codec feedback without a quadratic walk) is completed here.

The text comes from strangers: it is bounded before it is parsed, and whatever is wrong with it
becomes ``PeerError("invalid_sdp")``, never another exception.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from aiortc import sdp as codec
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters
from aiortc.rtcicetransport import RTCIceParameters
from aiortc.rtcrtpparameters import (
    RTCRtcpFeedback,
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
)

from coordinator.errors import PeerError
from media.sfu.spec import CodecSpec, Ssrc

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Setup = Literal["actpass", "active", "passive"]

MAX_SDP_CHARS: Final = 64 * 1024
MAX_MEDIA: Final = 128
"""More m-lines than either side of ours ever makes; a bound on work, not a promise."""
MAX_CODECS_PER_MEDIA: Final = 128
"""There are 128 payload types (RFC 3550 5.1)."""
MAX_SSRC_LINES_PER_MEDIA: Final = 64
"""Three simulcast layers with RTX make 24."""
MAX_CANDIDATES_PER_MEDIA: Final = 64

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}\Z")
_MID = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,32}\Z")
# RFC 8839 5.4: 4 to 256 and 22 to 256 ice-chars.
_ICE_UFRAG = re.compile(r"[A-Za-z0-9+/=-]{4,256}\Z")
_ICE_PWD = re.compile(r"[A-Za-z0-9+/=-]{22,256}\Z")
_FINGERPRINT = re.compile(r"(?:[0-9A-Fa-f]{2}:){19,63}[0-9A-Fa-f]{2}\Z")

FINGERPRINT_ALGORITHMS: Final = ("sha-256", "sha-384", "sha-512")
"""RFC 8122 5: weaker ones are not for use."""


@dataclass(frozen=True, slots=True)
class RemoteCodec:
    """One payload type of a remote m-line."""

    payload_type: int
    name: str
    """As written by the peer; compare without case."""
    clock_rate_hz: int
    channels: int | None
    parameters: dict[str, str]
    feedback: frozenset[str]
    """``nack``, ``nack pli``, ``ccm fir``, ``goog-remb`` ..."""


@dataclass(frozen=True, slots=True)
class RemoteMedia:
    """One remote m-line."""

    kind: str
    mid: str
    """Empty if the m-line has none."""
    profile: str
    formats: tuple[str, ...]
    rejected: bool
    """Port 0 without ``bundle-only`` (RFC 8843 6)."""
    direction: Direction
    codecs: tuple[RemoteCodec, ...] = ()
    extensions: tuple[tuple[str, int], ...] = ()
    """(URI, id)"""
    ssrcs: tuple[Ssrc, ...] = ()
    retransmissions: dict[Ssrc, Ssrc] = field(default_factory=dict)
    """Media ssrc -> RTX ssrc (``ssrc-group:FID``, RFC 5576 4.2)."""
    rtcp_mux: bool = False
    ice_ufrag: str = ""
    ice_pwd: str = ""
    fingerprints: tuple[tuple[str, str], ...] = ()
    setup: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteDescription:
    """What the peer says."""

    media: tuple[RemoteMedia, ...]
    bundle: tuple[str, ...] | None
    """Mids of the BUNDLE group; None without one."""


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """What we say of a transport of ours."""

    ice_ufrag: str
    ice_pwd: str
    fingerprint: str
    """sha-256."""
    candidates: tuple[str, ...]
    """``candidate:...`` each."""


@dataclass(frozen=True, slots=True)
class LocalMedia:
    """One m-line of ours. *profile* and *mid* are the peer's where it offered."""

    kind: str
    mid: str
    direction: Direction
    codecs: tuple[CodecSpec, ...]
    profile: str = "UDP/TLS/RTP/SAVPF"
    extensions: dict[str, int] = field(default_factory=dict)
    msid: str = ""
    ssrc: Ssrc | None = None
    rtx_ssrc: Ssrc | None = None
    cname: str = ""


@dataclass(frozen=True, slots=True)
class RejectedMedia:
    """An m-line with port 0."""

    kind: str
    mid: str
    profile: str
    format: str


def invalid(detail: str) -> PeerError:
    return PeerError("invalid_sdp", detail)


def parse(text: str, *, max_chars: int = MAX_SDP_CHARS) -> RemoteDescription:
    """Return the description in *text*. Raises PeerError("invalid_sdp")."""
    if len(text) > max_chars:
        raise invalid(f"A session description has at most {max_chars} characters.")
    lines, feedback, bundle_only = _take_out(_bounded(text))
    try:
        session = codec.SessionDescription.parse("\r\n".join(lines) + "\r\n")
        media = tuple(
            _remote_media(m, feedback[i], i in bundle_only) for i, m in enumerate(session.media)
        )
        groups = [g for g in session.group if g.semantic == "BUNDLE"]
    except PeerError:
        raise
    except Exception as problem:
        # aiortc.sdp reports bad input by whatever happens to break first: an assert, a KeyError ...
        raise invalid("The session description cannot be parsed.") from problem
    mids = [m.mid for m in media if m.mid]
    if len(set(mids)) != len(mids):
        raise invalid("Two m-lines have the same mid.")
    bundle = tuple(str(item) for item in groups[0].items) if groups else None
    return RemoteDescription(media=media, bundle=bundle)


def _bounded(text: str) -> list[str]:
    """The lines of *text*, refused when it is no SDP at all or has too many of something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != "v=0":
        raise invalid("A session description begins with v=0.")
    if any(len(line) < 2 or line[1] != "=" for line in lines):
        raise invalid("Each line of a session description is <type>=<value>.")
    if sum(line.startswith("m=") for line in lines) > MAX_MEDIA:
        raise invalid(f"A session description has at most {MAX_MEDIA} m-lines.")
    bounds = {
        "a=rtpmap": MAX_CODECS_PER_MEDIA,
        "a=fmtp": MAX_CODECS_PER_MEDIA,
        "a=ssrc": MAX_SSRC_LINES_PER_MEDIA,
        "a=candidate": MAX_CANDIDATES_PER_MEDIA,
        "a=extmap": 256,
        "a=fingerprint": 8,
    }
    seen: dict[str, int] = {}
    for line in lines:
        if line.startswith("m="):
            seen = {}
        attribute = line.split(":", 1)[0]
        seen[attribute] = seen.get(attribute, 0) + 1
        if seen[attribute] > bounds.get(attribute, MAX_SDP_CHARS):
            raise invalid(f"An m-line has too many {attribute} lines.")
    return lines


def _take_out(lines: list[str]) -> tuple[list[str], list[dict[str, set[str]]], set[int]]:
    """Return *lines* without what we read ourselves, and what was read.

    ``rtcp-fb`` is ours because aiortc.sdp multiplies wildcards by codecs, extension attributes and
    parameters for unmapped payload types because it stumbles on them.

    Returns the lines, per m-line the feedback by payload type (``*`` for all), and the indices of
    ``bundle-only`` m-lines.
    """
    kept: list[str] = []
    feedback: list[dict[str, set[str]]] = []
    bundle_only: set[int] = set()
    mapped: set[str] = set()
    for index, line in enumerate(lines):
        if line.startswith("m="):
            feedback.append({})
            mapped = _mapped_payload_types(lines[index + 1 :])
        elif line == "a=bundle-only" and feedback:
            bundle_only.add(len(feedback) - 1)
        elif line.startswith("a=rtcp-fb:") and feedback:
            payload_type, _, value = line[len("a=rtcp-fb:") :].partition(" ")
            feedback[-1].setdefault(payload_type, set()).add(value.strip())
            continue
        elif line.startswith("a=fmtp:") and line[7:].partition(" ")[0] not in mapped:
            continue
        elif line.startswith("a=extmap:"):
            line = " ".join(line.split()[:2])
        kept.append(line)
    return kept, feedback, bundle_only


def _mapped_payload_types(lines: Iterable[str]) -> set[str]:
    mapped = set()
    for line in lines:
        if line.startswith("m="):
            break
        if line.startswith("a=rtpmap:"):
            mapped.add(line[9:].partition(" ")[0])
    return mapped


def _remote_media(
    m: codec.MediaDescription, feedback: dict[str, set[str]], bundle_only: bool
) -> RemoteMedia:
    mid = m.rtp.muxId or ""
    if mid and not _MID.match(mid):
        raise invalid("A mid is not a token.")
    fingerprints = m.dtls.fingerprints if m.dtls else []
    ice = m.ice or RTCIceParameters()
    pairs = [[int(i) for i in g.items] for g in m.ssrc_group if g.semantic == "FID"]
    return RemoteMedia(
        kind=m.kind,
        mid=mid,
        profile=m.profile,
        formats=tuple(str(f) for f in m.fmt if _TOKEN.match(str(f))),
        rejected=m.port == 0 and not bundle_only,
        direction=cast(Direction, m.direction or "sendrecv"),  # RFC 8866 6.7
        codecs=tuple(_remote_codecs(m, feedback)),
        extensions=tuple((e.uri, e.id) for e in m.rtp.headerExtensions),
        ssrcs=tuple(Ssrc(s.ssrc) for s in m.ssrc if 0 < s.ssrc < 2**32),
        retransmissions={
            Ssrc(pair[0]): Ssrc(pair[1]) for pair in pairs if len(pair) == 2 and 0 < pair[1] < 2**32
        },
        rtcp_mux=bool(m.rtcp_mux),
        ice_ufrag=ice.usernameFragment or "",
        ice_pwd=ice.password or "",
        fingerprints=tuple(
            (f.algorithm.lower(), f.value.upper())
            for f in fingerprints
            if f.algorithm.lower() in FINGERPRINT_ALGORITHMS and _FINGERPRINT.match(f.value)
        ),
        setup=codec.DTLS_ROLE_SETUP[m.dtls.role] if m.dtls else None,
    )


def _remote_codecs(
    m: codec.MediaDescription, feedback: dict[str, set[str]]
) -> Iterator[RemoteCodec]:
    """The codecs in the order of the m-line's formats, which is the peer's order of preference
    (RFC 8866 5.14), not in the order of the rtpmap lines."""
    by_type: dict[Any, RTCRtpCodecParameters] = {c.payloadType: c for c in m.rtp.codecs}
    for payload_type in m.fmt:
        c = by_type.get(payload_type)
        if c is None or not 0 <= payload_type <= 127:
            continue
        fb = feedback.get(str(payload_type), set()) | feedback.get("*", set())
        yield RemoteCodec(
            payload_type=payload_type,
            name=c.name,
            clock_rate_hz=c.clockRate,
            channels=c.channels,
            parameters={
                key.strip().lower(): "" if value is None else str(value).strip()
                for key, value in c.parameters.items()
            },
            feedback=frozenset(fb),
        )


def check_ice(ufrag: str, pwd: str) -> None:
    """Raises PeerError("invalid_sdp") unless these are ICE credentials (RFC 8839 5.4)."""
    if not _ICE_UFRAG.match(ufrag) or not _ICE_PWD.match(pwd):
        raise invalid("The ICE credentials are missing or not valid.")


def check_candidate(text: str) -> None:
    """Raises PeerError("invalid_candidate") unless *text* is ``candidate:...`` (RFC 8839 5.1).

    Nothing is kept of it: an ICE-lite agent makes no checks (RFC 8445 2.5), it learns addresses
    from those that it answers.
    """
    problem = PeerError("invalid_candidate")
    if not text.startswith("candidate:") or len(text) > 1024:
        raise problem
    try:
        candidate = codec.candidate_from_sdp(text.removeprefix("candidate:"))
    except Exception as cause:
        raise problem from cause
    if not 0 <= candidate.port <= 65535 or not 1 <= candidate.component <= 256:
        raise problem


def write(
    *,
    session_id: int,
    version: int,
    setup: Setup,
    transport: LocalTransport,
    media: Sequence[LocalMedia | RejectedMedia],
) -> str:
    """Return the description of *media*, all bundled on *transport*.

    *session_id* stays for the life of the transport, *version* grows with each description
    (RFC 9429 5.2.1).
    """
    live = [m for m in media if isinstance(m, LocalMedia)]
    session = codec.SessionDescription()
    session.origin = f"- {session_id} {version} IN IP4 127.0.0.1"
    if live:
        session.group = [codec.GroupDescription("BUNDLE", [m.mid for m in live])]
    session.msid_semantic = [codec.GroupDescription("WMS", ["*"])]
    # aiortc.sdp writes ice-lite only for descriptions with media, so we write it.
    parts = [str(session), "a=ice-lite\r\n"]
    for m in media:
        if isinstance(m, RejectedMedia):
            parts.append(_rejected(m))
        else:
            # Candidates belong to the transport; they stand once, on the tagged m-line
            # (RFC 8843 10.1).
            parts.append(_live(m, transport, setup, with_candidates=m is live[0]))
    return "".join(parts)


def _rejected(m: RejectedMedia) -> str:
    mid = f"a=mid:{m.mid}\r\n" if m.mid else ""
    return f"m={m.kind} 0 {m.profile} {m.format}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n{mid}"


def _live(m: LocalMedia, transport: LocalTransport, setup: Setup, *, with_candidates: bool) -> str:
    codecs = list(_codec_lines(m))
    out = codec.MediaDescription(m.kind, 9, m.profile, [c.payloadType for c in codecs])
    out.host = "0.0.0.0"  # noqa: S104 -- the address is in the candidates (RFC 9429 5.2.1)
    out.direction = m.direction
    out.rtp.muxId = m.mid
    out.rtp.codecs = codecs
    out.rtp.headerExtensions = [
        RTCRtpHeaderExtensionParameters(id=i, uri=uri) for uri, i in m.extensions.items()
    ]
    out.rtcp_port, out.rtcp_host, out.rtcp_mux = 9, "0.0.0.0", True  # noqa: S104
    out.msid = m.msid or None
    if m.ssrc is not None:
        sources = [m.ssrc] if m.rtx_ssrc is None else [m.ssrc, m.rtx_ssrc]
        out.ssrc = [
            codec.SsrcDescription(ssrc=s, cname=m.cname, msid=m.msid or None) for s in sources
        ]
        if m.rtx_ssrc is not None:
            out.ssrc_group = [codec.GroupDescription("FID", [m.ssrc, m.rtx_ssrc])]
    out.ice = RTCIceParameters(transport.ice_ufrag, transport.ice_pwd, iceLite=True)
    out.ice_options = "ice2 trickle"
    out.dtls = RTCDtlsParameters(
        fingerprints=[RTCDtlsFingerprint("sha-256", transport.fingerprint)],
        role=codec.DTLS_SETUP_ROLE[setup],
    )
    text = str(out) + "a=rtcp-rsize\r\n"
    if with_candidates:
        text += candidate_lines(transport)
    return text


def candidate_lines(transport: LocalTransport) -> str:
    """All of *transport*'s candidates and the word that there are no more."""
    return "".join(f"a={c}\r\n" for c in transport.candidates) + "a=end-of-candidates\r\n"


def _codec_lines(m: LocalMedia) -> Iterator[RTCRtpCodecParameters]:
    for spec in m.codecs:
        feedback = []
        if spec.remb:
            feedback.append(RTCRtcpFeedback("goog-remb"))
        if spec.fir:
            feedback.append(RTCRtcpFeedback("ccm", "fir"))
        if spec.nack:
            feedback.append(RTCRtcpFeedback("nack"))
        if spec.pli:
            feedback.append(RTCRtcpFeedback("nack", "pli"))
        yield RTCRtpCodecParameters(
            mimeType=spec.mime,
            clockRate=spec.clock_rate_hz,
            channels=spec.channels,
            payloadType=spec.payload_type,
            rtcpFeedback=feedback,
            parameters=codec.parameters_from_sdp(spec.fmtp) if spec.fmtp else {},
        )
        if spec.rtx_payload_type is not None:
            yield RTCRtpCodecParameters(
                mimeType=f"{m.kind}/rtx",
                clockRate=spec.clock_rate_hz,
                payloadType=spec.rtx_payload_type,
                parameters={"apt": spec.payload_type},
            )
