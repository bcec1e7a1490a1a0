"""A plane on loopback, and two kinds of peer: aiortc's, and a bare socket that holds SRTP keys."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, sdp
from aiortc.rtcdtlstransport import RTCDtlsFingerprint
from aiortc.rtcicetransport import RTCIceParameters
from aiortc.sdp import candidate_from_sdp

from coordinator.ids import ParticipantSid, new_participant_sid, new_track_sid
from coordinator.model import TrackKind
from media.config import MediaConfig
from media.rtp import rtcp
from media.sfu.plane import MediaPlane, Publication, Transport
from media.sfu.spec import CodecSpec, PublicationSpec, Ssrc, SubscriptionSpec
from media.transport import seams
from media.transport.seams import Keyed, StunClass, StunMessage, StunMethod, parse_stun

TIMEOUT_S = 5.0

VP8 = CodecSpec("video/VP8", 96, 90000, rtx_payload_type=97, nack=True, pli=True, remb=True)
OPUS = CodecSpec("audio/opus", 111, 48000, channels=2)


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """aioice leaves out the loopback interface, which is all that we use."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


@dataclass
class Observer:
    """Remembers what it was told."""

    up: asyncio.Event = field(default_factory=asyncio.Event)
    down: asyncio.Event = field(default_factory=asyncio.Event)
    why: list[str] = field(default_factory=list)

    def connected(self, transport: Transport) -> None:
        assert not self.up.is_set(), "told twice"
        self.up.set()

    def failed(self, transport: Transport, why: str) -> None:
        self.why.append(why)
        self.down.set()


class Wire:
    """A peer that is one UDP socket and two SRTP sessions, keyed without a handshake."""

    def __init__(self, plane: MediaPlane) -> None:
        self.plane = plane
        self.observer = Observer()
        self.transport = plane.create_transport(self.observer)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.sock.connect(("127.0.0.1", plane.port))
        self.to_plane, self.from_plane = os.urandom(28), os.urandom(28)
        self.sealer = seams.srtp_session(self.to_plane, gcm=True, inbound=False)
        self.opener = seams.srtp_session(self.from_plane, gcm=True, inbound=True)
        self.participant: ParticipantSid = new_participant_sid()
        self.rtcp: list[rtcp.Item] = []

    def check(self, *, pwd: str | None = None, nominate: bool = True, **attributes: object) -> None:
        """Send a connectivity check."""
        message = StunMessage(StunMethod.BINDING, StunClass.REQUEST)
        message.attributes["USERNAME"] = f"{self.transport.ufrag}:peer"
        message.attributes["PRIORITY"] = 1
        message.attributes["ICE-CONTROLLING"] = 1
        if nominate:
            message.attributes["USE-CANDIDATE"] = None
        message.attributes.update(attributes)
        message.add_message_integrity((pwd or self.transport.pwd).encode())
        self.sock.send(bytes(message))

    async def connect(self) -> None:
        """ICE by a real check; then keys by hand, as if DTLS had made them."""
        self.check()
        answer = parse_stun(await self.datagram("the answer to a check"))
        assert answer.message_class == StunClass.RESPONSE
        self.transport.adopt(
            Keyed(
                seams.srtp_session(self.to_plane, gcm=True, inbound=True),
                seams.srtp_session(self.from_plane, gcm=True, inbound=False),
                "SRTP_AEAD_AES_128_GCM",
            )
        )

    async def datagram(self, what: str, timeout_s: float = TIMEOUT_S) -> bytes:
        try:
            return await asyncio.wait_for(
                asyncio.get_running_loop().sock_recv(self.sock, 2048), timeout_s
            )
        except TimeoutError:
            raise AssertionError(f"waited {timeout_s} s for {what}") from None

    def seal(self, packet: bytes) -> bytes:
        return _in_place(seams.protect, self.sealer, packet)

    def send(self, packet: bytes) -> None:
        self.sock.send(self.seal(packet))

    def send_rtcp(self, compound: bytes) -> None:
        sealed = self.sealer.seal_rtcp(compound)
        assert sealed is not None
        self.sock.send(sealed)

    async def rtp(self, what: str, timeout_s: float = TIMEOUT_S) -> "Rtp":
        """The next RTP packet, decrypted; RTCP on the way goes to ``rtcp``."""
        while True:
            data = await self.datagram(what, timeout_s)
            if data[0] < 128:
                continue
            if 192 <= data[1] <= 223:
                self.rtcp.extend(rtcp.parse(_in_place(seams.unprotect_rtcp, self.opener, data)))
                continue
            return Rtp(_in_place(seams.unprotect, self.opener, data))

    async def rtp_until_quiet(self, quiet_s: float = 0.1) -> "list[Rtp]":
        """All RTP until none comes for *quiet_s*."""
        out = []
        while True:
            try:
                out.append(await self.rtp("more", quiet_s))
            except AssertionError:
                return out

    async def feedback(self, kind: type, what: str, timeout_s: float = TIMEOUT_S) -> rtcp.Item:
        """The next RTCP item of *kind*, earlier ones included."""
        while True:
            for item in self.rtcp:
                if isinstance(item, kind):
                    self.rtcp.remove(item)
                    return item
            data = await self.datagram(what, timeout_s)
            if data[0] >= 128 and 192 <= data[1] <= 223:
                self.rtcp.extend(rtcp.parse(_in_place(seams.unprotect_rtcp, self.opener, data)))

    def publication(self, codec: CodecSpec = VP8, **changes: object) -> PublicationSpec:
        kind: TrackKind = "video" if codec.mime.startswith("video/") else "audio"
        fields: dict[str, object] = {
            "track": new_track_sid(),
            "participant": self.participant,
            "kind": kind,
            "source": "camera" if kind == "video" else "microphone",
            "mid": "0",
            "codecs": (codec,),
            "ssrc": Ssrc(1111),
            "rtx_ssrc": Ssrc(2222) if codec.rtx_payload_type else None,
        }
        return PublicationSpec(**(fields | changes))  # type: ignore[arg-type]

    def subscription(
        self,
        publication: PublicationSpec,
        ssrc: int = 7777,
        codec: CodecSpec | None = None,
        rtx_ssrc: int | None = None,
        **changes: object,
    ) -> SubscriptionSpec:
        fields: dict[str, object] = {
            "track": publication.track,
            "mid": "0",
            "codec": codec or publication.codecs[0],
            "ssrc": Ssrc(ssrc),
            "rtx_ssrc": Ssrc(rtx_ssrc) if rtx_ssrc else None,
            "cname": "publisher",
        }
        return SubscriptionSpec(**(fields | changes))  # type: ignore[arg-type]

    def close(self) -> None:
        self.sock.close()


class Rtp:
    """A plain RTP packet, read for assertions."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        first, second, self.seq, self.timestamp, self.ssrc = struct.unpack_from("!BBHII", data)
        self.marker = bool(second & 0x80)
        self.payload_type = second & 0x7F
        at = 12
        self.block = b""
        if first & 0x10:
            words = int.from_bytes(data[14:16], "big")
            self.block = data[12 : 16 + 4 * words]
            at = 16 + 4 * words
        self.payload = data[at:]


def _in_place(
    function: Callable[[object, object, object], int], session: seams.SrtpSession, data: bytes
) -> bytes:
    rows = np.zeros((1, 2048), np.uint8)
    rows[0, : len(data)] = np.frombuffer(data, np.uint8)
    lengths = np.array([len(data)], np.int32)
    status = function(session.pointer, seams.row_pointers(rows)[0], seams.int_pointers(lengths)[0])
    assert status == 0, f"SRTP status {status}"
    return bytes(rows[0, : lengths[0]])


def rtp(
    seq: int,
    *,
    timestamp: int = 0,
    payload: bytes = b"\x10\x00key",
    ssrc: int = 1111,
    payload_type: int = 96,
    marker: bool = False,
    block: bytes = b"",
) -> bytes:
    """A plain RTP packet; its payload begins a VP8 keyframe unless told otherwise."""
    return (
        struct.pack(
            "!BBHII",
            0x90 if block else 0x80,
            payload_type | (0x80 if marker else 0),
            seq & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            ssrc,
        )
        + block
        + payload
    )


@pytest.fixture
def make_rtp() -> Callable[..., bytes]:
    return rtp


@pytest.fixture
async def plane() -> AsyncIterator[MediaPlane]:
    plane = await MediaPlane.open(MediaConfig(port=0, transport_timeout_s=5.0))
    yield plane
    await plane.close()


@pytest.fixture
def wire(plane: MediaPlane) -> Iterator[Callable[[], Wire]]:
    """Make bare peers of *plane*."""
    wires: list[Wire] = []

    def make() -> Wire:
        wires.append(Wire(plane))
        return wires[-1]

    yield make
    for each in wires:
        each.close()


# --- aiortc's peers -------------------------------------------------------------------------------


@dataclass
class Section:
    """What one m-line of an aiortc peer's offer came to."""

    kind: TrackKind
    mid: str
    codec: CodecSpec
    extensions: dict[str, int]
    ssrc: int | None
    rtx_ssrc: int | None


class Rtc:
    """An aiortc peer that offers, and the plane's transport that answers it."""

    def __init__(self, plane: MediaPlane, mime: str = "video/VP8") -> None:
        self.plane = plane
        self.mime = mime
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.observer = Observer()
        self.transport = plane.create_transport(self.observer)
        self.participant = new_participant_sid()
        self.sections: list[Section] = []
        self.remote: dict[str, object] = {}

    async def offer(self) -> None:
        """Make the peer's offer and read it."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        self.description = sdp.SessionDescription.parse(self.pc.localDescription.sdp)
        for media in self.description.media:
            assert media.kind in ("audio", "video")
            kind: TrackKind = "audio" if media.kind == "audio" else "video"
            wanted = self.mime if media.kind == "video" else "audio/opus"
            codec = next(c for c in media.rtp.codecs if c.mimeType.lower() == wanted.lower())
            rtx = next(
                (
                    c.payloadType
                    for c in media.rtp.codecs
                    if c.name.lower() == "rtx" and c.parameters.get("apt") == codec.payloadType
                ),
                None,
            )
            ssrcs = [s.ssrc for s in media.ssrc]
            self.sections.append(
                Section(
                    kind,
                    media.rtp.muxId,
                    CodecSpec(
                        codec.mimeType,
                        codec.payloadType or 0,
                        codec.clockRate,
                        codec.channels,
                        rtx_payload_type=rtx,
                        nack=media.kind == "video",
                        pli=media.kind == "video",
                    ),
                    {h.uri: h.id for h in media.rtp.headerExtensions},
                    ssrcs[0] if ssrcs else None,
                    ssrcs[1] if len(ssrcs) > 1 else None,
                )
            )

    async def answer(self, sending: dict[str, SubscriptionSpec] | None = None) -> None:
        """Answer the offer: receive all, or send *sending* by mid."""
        description = sdp.SessionDescription.parse(self.pc.localDescription.sdp)
        offered, remote = description.media[0].dtls, description.media[0].ice
        assert offered is not None
        assert remote is not None
        assert remote.usernameFragment is not None
        assert remote.password is not None
        fingerprints = [(f.algorithm, f.value) for f in offered.fingerprints]
        for media, section in zip(description.media, self.sections, strict=True):
            keep = {section.codec.payload_type, section.codec.rtx_payload_type}
            media.rtp.codecs = [c for c in media.rtp.codecs if c.payloadType in keep]
            media.fmt = [c.payloadType for c in media.rtp.codecs]
            media.ssrc, media.ssrc_group, media.msid = [], [], None
            media.direction = "recvonly"
            spec = (sending or {}).get(section.mid)
            if spec is not None:
                media.direction = "sendonly"
                media.msid = f"stream {spec.track}"
                media.ssrc = [sdp.SsrcDescription(ssrc=spec.ssrc, cname=spec.cname)]
                if spec.rtx_ssrc is not None:
                    media.ssrc.append(sdp.SsrcDescription(ssrc=spec.rtx_ssrc, cname=spec.cname))
                    media.ssrc_group = [sdp.GroupDescription("FID", [spec.ssrc, spec.rtx_ssrc])]
            media.host, media.port = "127.0.0.1", self.plane.port
            media.ice = RTCIceParameters(
                usernameFragment=self.transport.ufrag, password=self.transport.pwd, iceLite=True
            )
            media.ice_candidates = [
                candidate_from_sdp(line.removeprefix("candidate:"))
                for line in self.plane.candidates
            ]
            media.ice_candidates_complete = True
            assert media.dtls is not None
            media.dtls.fingerprints = [RTCDtlsFingerprint("sha-256", self.transport.fingerprint)]
            media.dtls.role = "server"
        self.transport.set_remote(
            fingerprints, remote_ufrag=remote.usernameFragment, remote_pwd=remote.password
        )
        await self.pc.setRemoteDescription(RTCSessionDescription(str(description), "answer"))

    def publications(self) -> list[Publication]:
        """Publish every section on the plane."""
        return [
            self.plane.publish(
                self.transport,
                PublicationSpec(
                    new_track_sid(),
                    self.participant,
                    section.kind,
                    "camera" if section.kind == "video" else "microphone",
                    section.mid,
                    (section.codec,),
                    None if section.ssrc is None else Ssrc(section.ssrc),
                    None if section.rtx_ssrc is None else Ssrc(section.rtx_ssrc),
                    section.extensions,
                ),
            )
            for section in self.sections
        ]

    def subscription_specs(self, publications: list[Publication]) -> dict[str, SubscriptionSpec]:
        """How this peer receives *publications*, one per section of the same kind, by mid."""
        left = list(publications)
        out: dict[str, SubscriptionSpec] = {}
        for index, section in enumerate(self.sections):
            publication = next((p for p in left if p.spec.kind == section.kind), None)
            if publication is None:
                continue
            left.remove(publication)
            rtx = None if section.codec.rtx_payload_type is None else Ssrc(6000 + index)
            out[section.mid] = SubscriptionSpec(
                publication.spec.track,
                section.mid,
                section.codec,
                Ssrc(5000 + index),
                rtx,
                publication.spec.participant,
                section.extensions,
            )
        return out

    async def up(self) -> None:
        try:
            await asyncio.wait_for(self.observer.up.wait(), TIMEOUT_S)
        except TimeoutError:
            raise AssertionError("waited for ICE and DTLS") from None

    async def close(self) -> None:
        await self.pc.close()


@pytest.fixture
async def rtc(plane: MediaPlane) -> "AsyncIterator[Callable[..., Rtc]]":
    """Make aiortc peers of *plane*."""
    peers: list[Rtc] = []

    def make(mime: str = "video/VP8") -> Rtc:
        peers.append(Rtc(plane, mime))
        return peers[-1]

    yield make
    for peer in peers:
        await peer.close()
