"""Which codecs we forward, and how an offered one becomes a ``CodecSpec``.

We never decode, so a codec is supported when we can find its keyframes and its packets can be
renumbered. What a sender may do is the sender's own choice among what it offered.
"""

from dataclasses import dataclass, replace
from typing import Final

from media.sfu.sdp import RemoteCodec, RemoteMedia
from media.sfu.spec import EXT_ABS_SEND_TIME, EXT_AUDIO_LEVEL, EXT_MID, CodecSpec


@dataclass(frozen=True, slots=True)
class _Supported:
    mime: str
    clock_rate_hz: int
    channels: int | None = None


_SUPPORTED: Final = {
    "audio/opus": _Supported("audio/opus", 48000, 2),  # RFC 7587 7: always 48000/2
    "video/vp8": _Supported("video/VP8", 90000),
    "video/h264": _Supported("video/H264", 90000),
    "video/vp9": _Supported("video/VP9", 90000),
    "video/av1": _Supported("video/AV1", 90000),
}

ACCEPTED_EXTENSIONS: Final = {
    "audio": (EXT_MID, EXT_AUDIO_LEVEL, EXT_ABS_SEND_TIME),
    "video": (EXT_MID, EXT_ABS_SEND_TIME),
}

# RFC 6184 8.1: profile_idc -> how demanding it is; a decoder of one takes those below it. Baseline
# streams of WebRTC senders keep to the constrained subset, so the two are one class.
_H264_RANK: Final = {0x42: 0, 0x4D: 1, 0x58: 1, 0x64: 2}
_H264_DEFAULT_PROFILE: Final = "420010"  # RFC 6184 8.1


def choose(media: RemoteMedia) -> CodecSpec | None:
    """Return the first codec of *media* that we forward, as the peer numbers it."""
    for offered in media.codecs:
        spec = accept(media, offered)
        if spec is not None:
            return spec
    return None


def accept(media: RemoteMedia, offered: RemoteCodec) -> CodecSpec | None:
    """Return *offered* as we would answer it, or None if we do not forward it."""
    supported = _SUPPORTED.get(f"{media.kind}/{offered.name}".lower())
    if supported is None or supported.clock_rate_hz != offered.clock_rate_hz:
        return None
    if supported.channels is not None and supported.channels != offered.channels:
        return None
    fmtp = _fmtp(supported.mime, offered.parameters)
    if fmtp is None:
        return None
    return CodecSpec(
        mime=supported.mime,
        payload_type=offered.payload_type,
        clock_rate_hz=supported.clock_rate_hz,
        channels=supported.channels,
        fmtp=fmtp,
        rtx_payload_type=_rtx(media, offered),
        nack="nack" in offered.feedback,
        pli="nack pli" in offered.feedback,
        fir="ccm fir" in offered.feedback,
        remb="goog-remb" in offered.feedback,
    )


def _rtx(media: RemoteMedia, offered: RemoteCodec) -> int | None:
    for other in media.codecs:
        if other.name.lower() == "rtx" and other.parameters.get("apt") == str(offered.payload_type):
            return other.payload_type
    return None


def _fmtp(mime: str, offered: dict[str, str]) -> str | None:
    """Return our format parameters for an offered codec, None if we cannot take it so."""
    if mime == "audio/opus":
        # Stereo is the receiver's wish (RFC 7587 6.1): we wish for what the sender has.
        stereo = offered.get("stereo") == "1" or offered.get("sprop-stereo") == "1"
        return "minptime=10;useinbandfec=1" + (";stereo=1;sprop-stereo=1" if stereo else "")
    if mime == "video/H264":
        # Mode 0 (RFC 6184 6.2) forbids fragments: frames above one packet could not be sent.
        profile = offered.get("profile-level-id", _H264_DEFAULT_PROFILE).lower()
        if offered.get("packetization-mode") != "1" or h264_rank(profile) is None:
            return None
        return f"level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}"
    if mime == "video/VP9":
        # Profiles above 0 (RFC 9628 6) are 10 bit or 4:4:4, which few receivers decode.
        return "profile-id=0" if offered.get("profile-id", "0") == "0" else None
    if mime == "video/AV1":
        # Profile 0 is Main and the default (AV1 RTP payload specification, 7.2.1).
        if offered.get("profile", "0") != "0":
            return None
        kept = [f"{k}={offered[k]}" for k in ("level-idx", "profile", "tier") if _short(offered, k)]
        return ";".join(kept)
    return ""


def _short(offered: dict[str, str], key: str) -> bool:
    value = offered.get(key, "")
    return value.isascii() and value.isdigit() and len(value) <= 2


def h264_rank(profile_level_id: str) -> int | None:
    """How demanding an H.264 profile is; None if *profile_level_id* names none that we know."""
    if len(profile_level_id) != 6:
        return None
    try:
        return _H264_RANK.get(bytes.fromhex(profile_level_id)[0])
    except ValueError:
        return None


def _profile_level_id(spec: CodecSpec) -> str:
    for parameter in spec.fmtp.split(";"):
        key, _, value = parameter.partition("=")
        if key == "profile-level-id":
            return value
    return _H264_DEFAULT_PROFILE


def plays(receiver: CodecSpec, sent: CodecSpec) -> bool:
    """Whether one who negotiated *receiver* can decode what is *sent*."""
    if receiver.mime != sent.mime:
        return False
    if sent.mime != "video/H264":
        return True
    able, needed = h264_rank(_profile_level_id(receiver)), h264_rank(_profile_level_id(sent))
    return able is not None and needed is not None and able >= needed


def renumbered(spec: CodecSpec, payload_type: int, rtx_payload_type: int | None) -> CodecSpec:
    """*spec* with payload types of another transport."""
    return replace(spec, payload_type=payload_type, rtx_payload_type=rtx_payload_type)


def accept_extensions(media: RemoteMedia) -> dict[str, int]:
    """Return the header extensions of *media* that we take, URI -> id.

    Ids above 14 would need the two-byte form (RFC 8285 4.3), which we do not negotiate.
    """
    wanted = ACCEPTED_EXTENSIONS.get(media.kind, ())
    taken: dict[str, int] = {}
    for uri, identifier in media.extensions:
        if uri in wanted and 1 <= identifier <= 14 and identifier not in taken.values():
            taken.setdefault(uri, identifier)
    return taken
