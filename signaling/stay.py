"""One participant's stay, as its signaling process knows it, and what such a stay can hear."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from coordinator.center import StoredEvent
from coordinator.ids import START, EventId, ParticipantSid, RoomName
from coordinator.model import LeaveReason, ParticipantKind, Snapshot
from coordinator.requests import ActiveSpeakers, SubscriberOffer
from coordinator.rooms import JoinResult


class Resynced(Struct, frozen=True):
    """Events were lost; *snapshot* replaces what is known. Events after its position follow."""

    reason: str
    snapshot: Snapshot


class Over(Struct, frozen=True):
    """The stay has ended; nothing is heard after it."""

    reason: LeaveReason


Heard = JoinResult | StoredEvent | Resynced | SubscriberOffer | ActiveSpeakers | Over
"""What a stay hears: the join's result first, ``Over`` last, in between the rest in order."""


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
        on_left: Callable[[LeaveReason], None] | None,
    ) -> None:
        self.room: Final = room
        self.sid: Final = sid
        self.kind: Final = kind
        self.ended: LeaveReason | None = None
        """None: it goes on."""
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

    def end(self, reason: LeaveReason) -> None:
        """It is over, and not by its own wish. Called again: nothing happens."""
        if self.ended is not None:
            return
        self.ended = reason
        if self._joined is None:
            return  # whoever waits for the join gets the error
        self._hear(Over(reason))
        if self._on_left is not None:
            self._on_left(reason)

    def quit(self) -> None:
        """It is over by its own wish: nothing is told any more."""
        if self.ended is None:
            self.ended = "left"
