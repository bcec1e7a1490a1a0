"""Session descriptions as real clients write them, put together from sections."""

FINGERPRINT = ":".join(["AB"] * 32)

CLIENT = (
    "a=ice-ufrag:abcd\r\n"
    "a=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
    f"a=fingerprint:sha-256 {FINGERPRINT}\r\n"
    "a=setup:{setup}\r\n"
)


def offer_of(*sections: str, bundle: str | None = None, setup: str = "actpass") -> str:
    """A whole offer of m-sections. {client} in a section is the transport's attributes."""
    mids = bundle if bundle is not None else " ".join(str(i) for i in range(len(sections)))
    group = f"a=group:BUNDLE {mids}\r\n" if mids else ""
    head = f"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{group}a=extmap-allow-mixed\r\n"
    client = CLIENT.format(setup=setup)
    return head + "".join(s.replace("{client}", client) for s in sections)


def audio(mid: str = "0", direction: str = "sendonly", ssrc: int | None = 1111) -> str:
    """As Chromium offers it, RED before Opus."""
    source = f"a=ssrc:{ssrc} cname:x\r\na=ssrc:{ssrc} msid:s t\r\n" if ssrc else ""
    return (
        "m=audio 9 UDP/TLS/RTP/SAVPF 63 111 9 0 126\r\n"
        "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n{client}"
        f"a=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n"
        "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n"
        "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n"
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
        "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"
        "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n"
        "a=fmtp:111 minptime=10;useinbandfec=1\r\n"
        "a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:126 telephone-event/8000\r\n"
        f"{source}"
    )


VP8 = (96, "VP8", "")
VP9 = (98, "VP9", "profile-id=0")
VP9_10BIT = (100, "VP9", "profile-id=2")
AV1 = (45, "AV1", "level-idx=5;profile=0;tier=0")
H264_MODE_0 = (
    102,
    "H264",
    "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f",
)
H264 = (104, "H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")
H264_HIGH = (106, "H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f")


def video(
    *codecs: tuple[int, str, str],
    mid: str = "1",
    direction: str = "sendonly",
    ssrc: int | None = 2222,
    port: int = 9,
) -> str:
    """As Chromium offers it: each codec with RTX on the next payload type."""
    codecs = codecs or (VP8, VP9, H264)
    types = " ".join(f"{pt} {pt + 1}" for pt, _, _ in codecs)
    lines = ""
    for pt, name, fmtp in codecs:
        lines += f"a=rtpmap:{pt} {name}/90000\r\n"
        for feedback in ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"):
            lines += f"a=rtcp-fb:{pt} {feedback}\r\n"
        if fmtp:
            lines += f"a=fmtp:{pt} {fmtp}\r\n"
        lines += f"a=rtpmap:{pt + 1} rtx/90000\r\na=fmtp:{pt + 1} apt={pt}\r\n"
    source = ""
    if ssrc:
        source = f"a=ssrc-group:FID {ssrc} {ssrc + 1}\r\n" + "".join(
            f"a=ssrc:{s} cname:x\r\na=ssrc:{s} msid:s t\r\n" for s in (ssrc, ssrc + 1)
        )
    return (
        f"m=video {port} UDP/TLS/RTP/SAVPF {types}\r\n"
        "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n{client}"
        f"a=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
        "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n"
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
        "a=extmap:15 urn:3gpp:video-orientation\r\n"
        f"{lines}{source}"
    )


DATA = (
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n{client}"
    "a=mid:2\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n"
)
