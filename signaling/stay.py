"""One participant's stay, as its signaling process knows it, and what such a stay can hear."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from coordinator.center import StoredEvent
from coordinator.ids import START, EventId, NodeId, ParticipantSid, RoomName
from coordinator.model import LeaveReason, ParticipantInfo, ParticipantKind, Snapshot
from coordinator.requests import ActiveSpeakers, SubscriberOffer
from coordinator.rooms import JoinResult


class Resynced(Struct, frozen=True):
    """Events were lost; *snapshot* replaces what is known. Events after its position follow."""

    reason: str
    snapshot: Snapshot


class Over(Struct, frozen=True):
    """The stay has ended; nothing is heard after it. *code* is one of ``coordinator.errors.CODES``,
    or empty: the participant went of itself."""

    code: str


Heard = JoinResult | StoredEvent | Resynced | SubscriberOffer | ActiveSpeakers | Over
"""What a stay hears: the join's result first, ``Over`` last, in between the rest in order."""

CODE_OF_REASON: Final[dict[LeaveReason, str]] = {
    "left": "",
    "removed": "removed",
    "room_closed": "room_closed",
    "duplicate_identity": "duplicate_identity",
    "node_lost": "node_lost",
    "signaling_lost": "signaling_lost",
    "transport_failed": "transport_failed",
    "join_failed": "no_responder",
    "server_draining": "server_draining",
}
"""What a ``participant.left`` means to the one who left."""


def _deaf(heard: Heard) -> None:
    """For stays that only want to know when they are over."""


class Stay:
    """Made by ``SignalingHub.admit``. *hear* and *on_left* are called on the loop, must not block,
    and may call the hub."""

    def __init__(
        self,
        room: RoomName,
        sid: ParticipantSid,
        kind: ParticipantKind,
        *,
        hear: Callable[[Heard], None] | None,
        on_left: Callable[[str], None] | None,
    ) -> None:
        self.room: Final = room
        self.sid: Final = sid
        self.kind: Final = kind
        self.ended: str | None = None
        """None: it goes on. Else the code of ``Over``."""
        self.position: EventId = START
        """What was heard up to."""
        self._hear: Final = hear or _deaf
        self._on_left: Final = on_left
        self._joined: JoinResult | None = None
        self._early: SubscriberOffer | None = None

    @property
    def admitted(self) -> bool:
        return self._joined is not None

    @property
    def joined(self) -> JoinResult:
        """What the join returned."""
        assert self._joined is not None, "not admitted yet"
        return self._joined

    @property
    def participant(self) -> ParticipantInfo:
        return self.joined.participant

    @property
    def owner(self) -> NodeId:
        """The media node that carries the room for all of this stay: it ends when the node goes."""
        return self.joined.owner

    def begin(self, joined: JoinResult) -> None:
        """The join is done: tell it, and then what was said meanwhile."""
        self._joined = joined
        self.position = joined.snapshot.position
        self._hear(joined)
        early, self._early = self._early, None
        if early is not None:
            self.hear(early)

    def hear(self, heard: Heard) -> None:
        """Hand *heard* on. The node may offer before the join's reply is here; of such offers the
        last one counts, for at most one is outstanding."""
        if self.ended is not None:
            return
        if self._joined is not None:
            self._hear(heard)
        elif isinstance(heard, SubscriberOffer):
            self._early = heard

    def end(self, code: str) -> None:
        """It is over, for the reason *code*. Called again: nothing happens."""
        if self.ended is not None:
            return
        self.ended = code
        if self._joined is None:
            return  # whoever waits for the join gets the error
        self._hear(Over(code))
        if self._on_left is not None:
            self._on_left(code)

    def quit(self) -> None:
        """It is over by its own wish: nothing is told any more."""
        if self.ended is None:
            self.ended = ""
