"""Transports and negotiations with predictable ids."""

import itertools
from collections.abc import Callable

import pytest

from coordinator.ids import ParticipantSid, TrackSid
from media.sfu.negotiation import PublisherNegotiation
from media.sfu.offering import SubscriberNegotiation
from media.sfu.playback import PlayerNegotiation
from media.sfu.sdp import LocalTransport
from media.sfu.spec import Ssrc


@pytest.fixture
def transport() -> LocalTransport:
    return LocalTransport(
        ice_ufrag="srvu",
        ice_pwd="s" * 24,
        fingerprint=":".join(["CD"] * 32),
        candidates=("candidate:1 1 udp 2130706431 127.0.0.1 7880 typ host",),
    )


@pytest.fixture
def new_track_sid() -> Callable[[], TrackSid]:
    numbers = itertools.count(1)
    return lambda: TrackSid(f"TR_{next(numbers)}")


@pytest.fixture
def new_ssrc() -> Callable[[], Ssrc]:
    numbers = itertools.count(5000)
    return lambda: Ssrc(next(numbers))


@pytest.fixture
def publisher(new_track_sid: Callable[[], TrackSid]) -> PublisherNegotiation:
    return PublisherNegotiation(ParticipantSid("PA_a"), session_id=7, new_track_sid=new_track_sid)


@pytest.fixture
def subscriber(new_ssrc: Callable[[], Ssrc]) -> SubscriberNegotiation:
    return SubscriberNegotiation(session_id=8, new_ssrc=new_ssrc)


@pytest.fixture
def player(new_ssrc: Callable[[], Ssrc]) -> PlayerNegotiation:
    return PlayerNegotiation(session_id=9, cname="c", new_ssrc=new_ssrc)
