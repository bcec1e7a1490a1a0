"""ICE-lite: addresses are learned from authenticated checks and from nothing else."""

import pytest

from media.transport.addresses import AddressKey, pack, unpack
from media.transport.ice import ADDRESSES_MAX, BadCheck, IceSession, parse_check
from media.transport.seams import StunClass, StunMessage, StunMethod, parse_stun

HERE = pack("192.0.2.1", 4000)
THERE = pack("198.51.100.7", 5000)


def check(
    session: IceSession,
    *,
    ufrag: str | None = None,
    pwd: str | None = None,
    remote: str = "peer",
    nominate: bool = False,
    controlled: bool = False,
) -> bytes:
    message = StunMessage(StunMethod.BINDING, StunClass.REQUEST)
    message.attributes["USERNAME"] = f"{ufrag or session.credentials.ufrag}:{remote}"
    message.attributes["PRIORITY"] = 1
    message.attributes["ICE-CONTROLLED" if controlled else "ICE-CONTROLLING"] = 1
    if nominate:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity((pwd or session.credentials.pwd).encode())
    return bytes(message)


def handle(session: IceSession, datagram: bytes, source: AddressKey, now: float) -> StunMessage:
    return parse_stun(session.handle_check(parse_check(datagram), source, now))


def test_a_check_is_answered_with_the_address_it_came_from() -> None:
    session = IceSession()
    answer = handle(session, check(session), HERE, 1.0)
    assert answer.message_class == StunClass.RESPONSE
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == ("192.0.2.1", 4000)
    assert answer.check_message_integrity(session.credentials.pwd.encode())
    assert (session.selected, session.checked_at_s) == (HERE, 1.0)


def test_wrong_integrity_changes_nothing() -> None:
    session = IceSession()
    with pytest.raises(BadCheck) as refused:
        handle(session, check(session, pwd="x" * 24), HERE, 1.0)
    assert refused.value.reason == "bad_integrity"
    assert (session.selected, session.checked_at_s, dict(session.addresses)) == (None, None, {})


@pytest.mark.parametrize("ufrag", ["nobody", "x" * 200])
def test_another_username_is_refused(ufrag: str) -> None:
    session = IceSession()
    with pytest.raises(BadCheck) as refused:
        handle(session, check(session, ufrag=ufrag), HERE, 1.0)
    assert refused.value.reason == "wrong_username"


def test_the_peer_must_be_who_signaling_said() -> None:
    session = IceSession()
    session.remote_ufrag = "somebody"
    with pytest.raises(BadCheck):
        handle(session, check(session, remote="else"), HERE, 1.0)
    handle(session, check(session, remote="somebody"), HERE, 1.0)


def test_a_new_address_is_taken_only_when_it_is_nominated() -> None:
    session = IceSession()
    handle(session, check(session), HERE, 1.0)
    handle(session, check(session), THERE, 2.0)
    assert session.selected == HERE
    handle(session, check(session, nominate=True), THERE, 3.0)
    assert session.selected == THERE


def test_a_peer_that_will_not_control_is_told_of_the_conflict() -> None:
    session = IceSession()
    answer = handle(session, check(session, controlled=True), HERE, 1.0)
    assert answer.message_class == StunClass.ERROR
    assert answer.attributes["ERROR-CODE"] == (487, "Role Conflict")
    assert session.selected is None


def test_a_restart_keeps_the_old_credentials_until_the_new_are_used() -> None:
    session = IceSession()
    handle(session, check(session), HERE, 1.0)
    old = session.credentials
    new = session.restart()
    assert (new.ufrag, new.pwd) != (old.ufrag, old.pwd)
    handle(session, check(session, ufrag=old.ufrag, pwd=old.pwd), HERE, 2.0)
    handle(session, check(session), THERE, 3.0)
    assert session.selected == THERE
    with pytest.raises(BadCheck):
        handle(session, check(session, ufrag=old.ufrag, pwd=old.pwd), HERE, 4.0)


def test_addresses_are_bounded_and_the_selected_one_stays() -> None:
    session = IceSession()
    handle(session, check(session), HERE, 1.0)
    for port in range(1000, 1000 + ADDRESSES_MAX + 3):
        handle(session, check(session), pack("203.0.113.9", port), 2.0)
    assert len(session.addresses) == ADDRESSES_MAX
    assert HERE in session.addresses
    assert session.forgotten == [pack("203.0.113.9", port) for port in range(1000, 1004)]


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x00" * 20,
        bytes.fromhex("000100002112a442") + b"t" * 12,  # no username, no fingerprint
        bytes.fromhex("010100002112a442") + b"t" * 12,  # a response
        bytes.fromhex("0001ffff2112a442") + b"t" * 12,  # longer than the datagram
    ],
)
def test_what_is_no_check_is_dropped_with_a_reason(datagram: bytes) -> None:
    with pytest.raises(BadCheck) as refused:
        parse_check(datagram)
    assert refused.value.reason in ("malformed", "not_a_request")


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 1), ("::1", 65535), ("2001:db8::7", 80)])
def test_addresses_come_back_from_their_keys(host: str, port: int) -> None:
    assert unpack(pack(host, port)) == (host, port)
