"""Sans-IO core of one participant's WebSocket: what it says and hears, without the socket.

    state     input                          becomes
    JOINING   ping                           pong
    JOINING   leave                          OVER, closed with 1000
    JOINING   any other message              waits for the join, if there is room
    JOINING   the join's result              IN_ROOM, joined; then what waited
    JOINING   the join was refused           OVER, goodbye
    IN_ROOM   ping                           pong
    IN_ROOM   publisher_offer, mute          asked of the node, on the publisher's lane
    IN_ROOM   subscriber_answer              asked of the node, on the subscriber's lane
    IN_ROOM   candidate                      asked of the node, on the lane that it names
    IN_ROOM   leave                          OVER, closed with 1000
    IN_ROOM   an event, a notice             its message, if it is for this participant's eyes
    IN_ROOM   the stay is over               OVER, goodbye with the reason's code
    any       nonsense, too much             error; OVER with rate_limited when it does not stop
    OVER      anything                       nothing

Each input returns actions, to be carried out in order. On one lane a request waits for the answer
to the one before, so that offers reach the node in the order in which they were made.
"""

import enum
from typing import Final, Literal

from msgspec import Struct

from coordinator.center import StoredEvent
from coordinator.errors import CODES, InfrastructureError, PeerError, TertuliaError
from coordinator.ids import ParticipantSid, RoomName
from coordinator.model import LeaveReason
from coordinator.requests import (
    Ack,
    ActiveSpeakers,
    Candidate,
    PublisherAnswer,
    PublisherOffer,
    Reply,
    Request,
    SetTrackMuted,
    SubscriberAnswer,
    SubscriberOffer,
)
from coordinator.rooms import JoinResult
from signaling.allowance import Allowance
from signaling.config import SignalingConfig
from signaling.decoding import Refused, decode_message
from signaling.messages import (
    CandidateMessage,
    ErrorMessage,
    FromClient,
    FromServer,
    Goodbye,
    LeaveMessage,
    MutedMessage,
    MuteMessage,
    PingMessage,
    Pong,
    PublisherAnswerMessage,
    PublisherOfferMessage,
    SubscriberAnswerMessage,
    SubscriberOfferMessage,
)
from signaling.sources import check_offer
from signaling.sources import sending_mids as sending_mids
from signaling.stay import Heard, Over, Resynced
from signaling.view import RoomView

Lane = Literal["publisher", "subscriber"]
NORMAL_CLOSE: Final = 1000
ERRORS_PER_S: Final = 1.0
"""Forgiven in the long run: a page with a fault says so and goes on, a flood does not."""

CODE_OF_REASON: Final[dict[LeaveReason, str | None]] = {
    "left": None,
    "removed": "removed",
    "room_closed": "room_closed",
    "duplicate_identity": "duplicate_identity",
    "node_lost": "node_lost",
    "signaling_lost": "signaling_lost",
    "transport_failed": "transport_failed",
    "join_failed": "no_responder",
    "server_draining": "server_draining",
}
"""What a ``participant.left`` means to the one who left. None: it was its own wish."""


class Send(Struct, frozen=True):
    message: FromServer


class Ask(Struct, frozen=True):
    """Ask the node that carries the room; tell ``answered`` or ``refused``."""

    lane: Lane
    request: Request
    id: int | None


class Close(Struct, frozen=True):
    """Close the socket once all that was sent before has gone out. The last action."""

    close_code: int


Action = Send | Ask | Close


class State(enum.Enum):
    JOINING = enum.auto()
    IN_ROOM = enum.auto()
    OVER = enum.auto()


def reconnect_advice(close_code: int) -> Literal["no", "now", "later"]:
    """What the range of an application's close code tells the client to do."""
    if close_code < 4100:
        return "no"
    return "now" if close_code < 4200 else "later"


def goodbye(error: TertuliaError) -> list[Action]:
    """The last word on a socket, and its close."""
    close_code = error.kind.close_code
    last = Goodbye(code=error.code, detail=error.detail, reconnect=reconnect_advice(close_code))
    return [Send(last), Close(close_code)]


class Session:
    """*sources*: what the token lets publish (``canPublishSources``); empty: anything.

    *now* is monotonic, in seconds.
    """

    def __init__(
        self, room: RoomName, config: SignalingConfig, sources: tuple[str, ...] = ()
    ) -> None:
        self._room: Final = room
        self._config: Final = config
        self._sources: Final = frozenset(sources)
        self._messages: Final = Allowance(config.messages_per_s, config.message_burst)
        self._errors: Final = Allowance(ERRORS_PER_S, config.error_burst)
        self._sid = ParticipantSid("")
        self._view: RoomView | None = None
        self._early: list[FromClient] = []
        self.state = State.JOINING

    # --- from the client --------------------------------------------------------------------------

    def receive_text(self, text: str, now: float) -> list[Action]:
        """A text message came."""
        if self.state is State.OVER:
            return []
        if not self._messages.take(now):
            return self._refuse(PeerError("rate_limited"), None, now)
        # A character has at least one byte: the encoder runs only where it might be too large.
        limit = self._config.max_message_bytes
        if len(text) * 4 > limit and len(text.encode("utf-8", "replace")) > limit:
            return self.fail(
                PeerError("message_too_large", f"A message has at most {limit} bytes.")
            )
        try:
            return self._receive(decode_message(text))
        except Refused as error:
            return self._refuse(error, error.id, now)
        except _RefusedRequest as error:
            return self._refuse(error.error, error.id, now)

    def receive_binary(self, now: float) -> list[Action]:
        """A binary message came; nobody looks at it."""
        if self.state is State.OVER:
            return []
        return self._refuse(PeerError("bad_request", "Messages are text."), None, now)

    def _receive(self, message: FromClient) -> list[Action]:
        match message:
            case PingMessage(id=id):
                return [Send(Pong(id=id))]
            case LeaveMessage():
                return self._over(None)
        if isinstance(message, PublisherOfferMessage):
            self._check_sources(message)
        if self.state is State.IN_ROOM:
            return [self._ask(message)]
        if len(self._early) >= self._config.request_queue:
            error = PeerError("wrong_state", "The room is not joined yet.")
            raise _RefusedRequest(error, getattr(message, "id", None))
        self._early.append(message)
        return []

    def _ask(self, message: FromClient) -> Ask:
        room, sid = self._room, self._sid
        request: Request
        match message:
            case PublisherOfferMessage(id=id, sdp=sdp, tracks=tracks):
                request = PublisherOffer(room=room, participant=sid, sdp=sdp, tracks=tracks)
                return Ask("publisher", request, id)
            case SubscriberAnswerMessage(offer_id=offer_id, sdp=sdp):
                request = SubscriberAnswer(room=room, participant=sid, offer_id=offer_id, sdp=sdp)
                return Ask("subscriber", request, None)
            case CandidateMessage(transport=lane, candidate=candidate):
                request = Candidate(room=room, participant=sid, transport=lane, candidate=candidate)
                return Ask(lane, request, None)
            case MuteMessage(id=id, track=track, muted=muted):
                request = SetTrackMuted(
                    room=room, participant=sid, track=track, muted=muted, by="participant"
                )
                return Ask("publisher", request, id)
            case _:
                raise AssertionError(f"{message} has no row in the table")

    def _check_sources(self, offer: PublisherOfferMessage) -> None:
        try:
            check_offer(offer.sdp, offer.tracks, self._sources)
        except PeerError as error:
            raise _RefusedRequest(error, offer.id) from None

    # --- from the node ----------------------------------------------------------------------------

    def answered(self, ask: Ask, reply: Reply) -> list[Action]:
        """The node answered *ask*."""
        if self.state is State.OVER or ask.id is None:
            return []
        match ask.request, reply:
            case PublisherOffer(), PublisherAnswer(sdp=sdp, tracks=tracks):
                return [Send(PublisherAnswerMessage(id=ask.id, sdp=sdp, tracks=tracks))]
            case SetTrackMuted(track=track, muted=muted), Ack():
                return [Send(MutedMessage(id=ask.id, track=track, muted=muted))]
            case _:
                raise AssertionError(f"{type(reply).__name__} answers no {type(ask.request)}")

    def refused(self, ask: Ask, error: TertuliaError, now: float) -> list[Action]:
        """The node refused *ask*, or did not answer it; or it was not even asked."""
        if self.state is State.OVER:
            return []
        if isinstance(error, InfrastructureError):
            # No fault of the client's: it is told, and nothing is held against it.
            return [Send(ErrorMessage(code=error.code, detail=error.detail, id=ask.id))]
        return self._refuse(error, ask.id, now)

    # --- from the hub -----------------------------------------------------------------------------

    def hear(self, heard: Heard) -> list[Action]:
        """What the stay hears; the join's result first."""
        if self.state is State.OVER:
            return []
        if isinstance(heard, JoinResult):
            return self._joined(heard)
        if isinstance(heard, Over):
            return self._over(CODE_OF_REASON[heard.reason])
        assert self._view is not None, "heard before the join's result"
        message: FromServer | None
        match heard:
            case StoredEvent():
                message = self._view.event(heard)
            case Resynced(reason=reason, snapshot=snapshot):
                message = self._view.resync(reason, snapshot)
            case SubscriberOffer(offer_id=offer_id, sdp=sdp, tracks=tracks):
                message = SubscriberOfferMessage(offer_id=offer_id, sdp=sdp, tracks=tracks)
            case ActiveSpeakers():
                message = self._view.speakers(heard)
        return [] if message is None else [Send(message)]

    def fail(self, error: TertuliaError) -> list[Action]:
        """It cannot go on: the join was refused, the socket cannot keep up ..."""
        if self.state is State.OVER:
            return []
        self.state = State.OVER
        return goodbye(error)

    def _joined(self, joined: JoinResult) -> list[Action]:
        assert self.state is State.JOINING, "joined twice"
        self.state = State.IN_ROOM
        self._sid = joined.participant.sid
        self._view = RoomView(joined.participant, joined.snapshot)
        early, self._early = self._early, []
        welcome = self._view.joined(joined.snapshot, self._config.ice_servers)
        return [Send(welcome), *(self._ask(message) for message in early)]

    def _over(self, code: str | None) -> list[Action]:
        self.state = State.OVER
        if code is None:
            return [Close(NORMAL_CLOSE)]
        return goodbye(PeerError(code))

    def _refuse(self, error: TertuliaError, id: int | None, now: float) -> list[Action]:
        """The conversation goes on, unless this happens again and again."""
        if not self._errors.take(now):
            return self.fail(PeerError("rate_limited", "Too many messages were refused."))
        return [Send(ErrorMessage(code=error.code, detail=error.detail, id=id))]


class _RefusedRequest(Exception):
    """A well-formed message that is refused without asking the node."""

    def __init__(self, error: PeerError, id: int | None) -> None:
        super().__init__(error.code)
        self.error: Final = error
        self.id: Final = id


assert all(code is None or code in CODES for code in CODE_OF_REASON.values())
