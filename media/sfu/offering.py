"""Subscribers: we offer, the client answers (sans-IO).

One ``SubscriberNegotiation`` lives as long as the subscriber transport. Tracks are wanted and
unwanted at any time; ``next_offer`` gathers all changes into one offer, of which at most one is
outstanding. An m-line whose track went is offered ``inactive``, and once the client has answered
that, it carries the next track of its kind under the same mid (RFC 9429 5.2.2 lets a transceiver
be used again). It must be seen inactive in between: a browser tells its page of a new track only
when the direction changes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from coordinator.errors import PeerError
from coordinator.ids import ParticipantSid, TrackSid
from coordinator.model import TrackKind
from media.sfu.codecs import ACCEPTED_EXTENSIONS, accept, plays, renumbered
from media.sfu.negotiation import RemoteTransport, check_bundle, read_transport
from media.sfu.sdp import (
    LocalMedia,
    LocalTransport,
    RejectedMedia,
    RemoteDescription,
    RemoteMedia,
    invalid,
    parse,
    write,
)
from media.sfu.spec import (
    EXT_ABS_SEND_TIME,
    EXT_AUDIO_LEVEL,
    EXT_MID,
    CodecSpec,
    Ssrc,
    SubscriptionSpec,
)

MAX_SUBSCRIBER_MEDIA: Final = 120
"""m-lines of one subscriber: sixty others with camera and microphone."""
MAX_ANSWER_CHARS: Final = 120 * 1024
"""A browser writes 600 to 900 characters for an m-line. A WebSocket message has 128 KiB."""

_EXTENSION_IDS: Final = {EXT_MID: 1, EXT_AUDIO_LEVEL: 2, EXT_ABS_SEND_TIME: 3}
# Dynamic payload types: 96-127 first, then 35-63 (RFC 3551 3 leaves them unassigned), as browsers
# do. Even/odd pairs: a codec and its RTX.
_PAYLOAD_TYPES: Final = (*range(96, 127), *range(35, 63))

SlotState = Literal["free", "sending", "closing", "rejected"]
"""Of one m-line.

free -> sending (a track is put on it) -> closing (the track went; the client does not know yet)
-> free (it knows). rejected: the client answered port 0; only a new mid can take the place.
"""


@dataclass(frozen=True, slots=True)
class WantedTrack:
    """A track that a subscriber is to get."""

    track: TrackSid
    participant: ParticipantSid
    kind: TrackKind
    codec: CodecSpec
    """As the publisher sends it."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One offer; *tracks* maps the mid of each sending m-line to its track."""

    id: int
    sdp: str
    tracks: dict[str, TrackSid]


@dataclass(frozen=True, slots=True)
class AnswerOutcome:
    """What an answer changes."""

    remote: RemoteTransport | None
    """None if the client refused every m-line."""
    first: bool
    """The transport has no remote yet."""
    started: tuple[SubscriptionSpec, ...]
    refused: tuple[TrackSid, ...]
    """The client cannot or will not play them; they are not offered to it again."""


@dataclass(slots=True)
class _Slot:
    """One m-line."""

    mid: str
    kind: TrackKind
    state: SlotState = "free"
    wanted: WantedTrack | None = None
    codec: CodecSpec | None = None
    """The last one offered; an inactive m-line keeps it."""
    ssrc: Ssrc | None = None
    rtx_ssrc: Ssrc | None = None
    started: bool = False
    """The client has accepted the track."""
    offered: SlotState | None = None
    """The state in the outstanding offer."""


@dataclass(slots=True)
class _PayloadTypes:
    """Payload types of one transport: one pair for each codec, never changed (RFC 8843 9.1)."""

    assigned: list[CodecSpec] = field(default_factory=list)

    def renumber(self, codec: CodecSpec) -> CodecSpec | None:
        """Return *codec* with this transport's payload types; None when there is none left."""
        for known in self.assigned:
            if (known.mime, known.fmtp) == (codec.mime, codec.fmtp):
                return _offered(codec, known.payload_type)
        first = 2 * len(self.assigned)
        if first + 1 < len(_PAYLOAD_TYPES):
            mine = _offered(codec, _PAYLOAD_TYPES[first])
            self.assigned.append(mine)
            return mine
        # Publishers can make up any number of H.264 levels; a near one serves as well.
        for known in self.assigned:
            if plays(known, codec):
                return known
        return None


def _offered(codec: CodecSpec, payload_type: int) -> CodecSpec:
    """*codec* as we offer to send it: video with feedback and RTX, whatever the publisher has."""
    video = codec.mime.startswith("video/")
    index = _PAYLOAD_TYPES.index(payload_type)
    rtx = _PAYLOAD_TYPES[index + 1] if video else None
    return replace(
        renumbered(codec, payload_type, rtx), nack=video, pli=video, fir=video, remb=video
    )


class SubscriberNegotiation:
    """Makes the offers of one subscriber transport. *new_ssrc* gives random, unused ssrcs."""

    def __init__(self, *, session_id: int, new_ssrc: Callable[[], Ssrc]) -> None:
        self._session_id = session_id
        self._new_ssrc = new_ssrc
        self._payload_types = _PayloadTypes()
        self._slots: list[_Slot] = []
        self._waiting: dict[TrackSid, WantedTrack] = {}
        self._refused: set[TrackSid] = set()
        self._outstanding: Offer | None = None
        self._offers = 0
        self._mids = 0
        self._remote: RemoteTransport | None = None

    @property
    def outstanding(self) -> Offer | None:
        """The offer that waits for its answer."""
        return self._outstanding

    @property
    def remote(self) -> RemoteTransport | None:
        return self._remote

    @property
    def waiting(self) -> int:
        """Tracks that have no m-line yet."""
        return len(self._waiting)

    def want(self, track: WantedTrack) -> None:
        """Put *track* into the next offer. Wanted twice is wanted once."""
        known = any(slot.wanted and slot.wanted.track == track.track for slot in self._slots)
        if not known and track.track not in self._refused:
            self._waiting[track.track] = track

    def unwant(self, track: TrackSid) -> None:
        """Take *track* out with the next offer. The caller stops sending it at once."""
        self._waiting.pop(track, None)
        self._refused.discard(track)
        for slot in self._slots:
            if slot.wanted is not None and slot.wanted.track == track:
                self._close(slot)

    def next_offer(self, transport: LocalTransport) -> Offer | None:
        """Return an offer with all changes, None if there are none or one is outstanding."""
        if self._outstanding is not None:
            return None
        changed = any(slot.state == "closing" for slot in self._slots)
        for wanted in list(self._waiting.values()):
            if self._place(wanted):
                del self._waiting[wanted.track]
                changed = True
        if not changed:
            return None
        self._offers += 1
        for slot in self._slots:
            slot.offered = slot.state
        tracks = {s.mid: s.wanted.track for s in self._slots if s.wanted is not None}
        sdp = write(
            session_id=self._session_id,
            version=self._offers,
            # We will be passive, but an offer says actpass (RFC 8842 5.2).
            setup="actpass",
            transport=transport,
            media=[_local_media(slot) for slot in self._slots],
        )
        self._outstanding = Offer(self._offers, sdp, tracks)
        return self._outstanding

    def answer(self, offer_id: int, sdp: str) -> AnswerOutcome:
        """Take the client's answer.

        Raises PeerError: wrong_state if *offer_id* is not outstanding; invalid_sdp, after which the
        offer still waits for a better answer.
        """
        if self._outstanding is None or self._outstanding.id != offer_id:
            raise PeerError("wrong_state", "There is no such offer outstanding.")
        answer = parse(sdp, max_chars=MAX_ANSWER_CHARS)
        self._check_lines(answer)
        live = [m for m in answer.media if not m.rejected]
        remote = self._remote
        if live:
            check_bundle(answer, live)
            remote = read_transport(live, frozenset({"active"}))
            if self._remote is not None and self._remote != remote:
                raise invalid("The transport cannot change in an answer to no restart.")
        first = self._remote is None and remote is not None
        self._remote = remote
        self._outstanding = None
        started, refused = self._apply(answer.media)
        return AnswerOutcome(remote if live else None, first, started, refused)

    def _check_lines(self, answer: RemoteDescription) -> None:
        if len(answer.media) != len(self._slots):
            raise invalid("An answer has as many m-lines as its offer.")
        for slot, media in zip(self._slots, answer.media, strict=True):
            if media.kind != slot.kind or (media.mid != slot.mid and not media.rejected):
                raise invalid("An answer's m-lines stand in the order of its offer's.")

    def _apply(
        self, lines: tuple[RemoteMedia, ...]
    ) -> tuple[tuple[SubscriptionSpec, ...], tuple[TrackSid, ...]]:
        started: list[SubscriptionSpec] = []
        refused: list[TrackSid] = []
        for slot, media in zip(self._slots, lines, strict=True):
            offered, slot.offered = slot.offered, None
            if offered == "closing":
                slot.state = "free"
                continue
            if media.rejected:
                if slot.wanted is not None:
                    refused.append(slot.wanted.track)
                slot.wanted, slot.state = None, "rejected"
                continue
            # slot.state may be "closing" by now: the track went while the offer was under way.
            if slot.state != "sending" or slot.wanted is None or slot.started:
                continue
            spec = _subscription(slot, slot.wanted, media)
            if spec is None:
                refused.append(slot.wanted.track)
                self._close(slot)
            else:
                slot.started = True
                started.append(spec)
        self._refused.update(refused)
        return tuple(started), tuple(refused)

    def _close(self, slot: _Slot) -> None:
        slot.wanted = None
        slot.started = False
        if slot.state == "sending":
            slot.state = "closing"

    def _place(self, wanted: WantedTrack) -> bool:
        """Put *wanted* on an m-line: a free one of its kind, or a new one."""
        codec = self._payload_types.renumber(wanted.codec)
        if codec is None:
            return False
        slot = next(
            (s for s in self._slots if s.kind == wanted.kind and s.state == "free"), None
        ) or self._new_slot(wanted.kind)
        if slot is None:
            return False
        slot.state, slot.wanted, slot.codec, slot.started = "sending", wanted, codec, False
        slot.ssrc = self._new_ssrc()
        slot.rtx_ssrc = self._new_ssrc() if codec.rtx_payload_type is not None else None
        return True

    def _new_slot(self, kind: TrackKind) -> _Slot | None:
        fresh = _Slot(mid=str(self._mids), kind=kind)
        for index, slot in enumerate(self._slots):
            if slot.state == "rejected":
                self._slots[index] = fresh
                break
        else:
            if len(self._slots) >= MAX_SUBSCRIBER_MEDIA:
                return None
            self._slots.append(fresh)
        self._mids += 1
        return fresh


def _local_media(slot: _Slot) -> LocalMedia | RejectedMedia:
    codec = slot.codec
    assert codec is not None, "an m-line is made for a track, so it has a codec"
    if slot.state == "rejected":
        return RejectedMedia(slot.kind, slot.mid, "UDP/TLS/RTP/SAVPF", str(codec.payload_type))
    wanted = slot.wanted
    return LocalMedia(
        kind=slot.kind,
        mid=slot.mid,
        direction="sendonly" if wanted else "inactive",
        codecs=(codec,),
        extensions={uri: _EXTENSION_IDS[uri] for uri in ACCEPTED_EXTENSIONS[slot.kind]},
        msid=f"{wanted.participant} {wanted.track}" if wanted else "",
        ssrc=slot.ssrc if wanted else None,
        rtx_ssrc=slot.rtx_ssrc if wanted else None,
        cname=wanted.participant if wanted else "",
    )


def _subscription(slot: _Slot, wanted: WantedTrack, media: RemoteMedia) -> SubscriptionSpec | None:
    """What the client accepted of the track on *slot*; None if it does not receive it."""
    assert slot.codec is not None
    assert slot.ssrc is not None
    if media.direction not in ("recvonly", "sendrecv"):
        return None
    offered = slot.codec
    for remote in media.codecs:
        if remote.payload_type != offered.payload_type:
            continue
        accepted = accept(media, remote)
        if accepted is None or accepted.mime != offered.mime:
            return None
        codec = replace(
            offered,
            rtx_payload_type=(
                offered.rtx_payload_type
                if accepted.rtx_payload_type == offered.rtx_payload_type
                else None
            ),
            nack=accepted.nack,
            pli=accepted.pli,
            fir=accepted.fir,
            remb=accepted.remb,
        )
        taken = dict(media.extensions)
        return SubscriptionSpec(
            track=wanted.track,
            mid=slot.mid,
            codec=codec,
            ssrc=slot.ssrc,
            rtx_ssrc=slot.rtx_ssrc if codec.rtx_payload_type is not None else None,
            cname=wanted.participant,
            extensions={
                uri: _EXTENSION_IDS[uri]
                for uri in ACCEPTED_EXTENSIONS[slot.kind]
                if taken.get(uri) == _EXTENSION_IDS[uri]
            },
        )
    return None
