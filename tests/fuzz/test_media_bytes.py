"""Whatever the network sends, the readers of RTP, RTCP and STUN answer in the ways they promise."""

import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st

from media.rtp import keyframe, rtcp
from media.rtp.history import PacketHistory
from media.rtp.packet import extension_block, parse, read_header, split
from media.rtp.reception import RENUMBERED, RESTART_GAP, Reception
from media.transport import addresses
from media.transport.ice import BadCheck, IceSession, parse_check
from media.transport.inbox import KIND_OF, Kind
from media.transport.seams import StunClass, StunMessage, StunMethod

# An attacker with SRTP keys chooses these bytes; one without keys chooses STUN's.
DATAGRAMS = st.binary(max_size=1500)
SOURCE = addresses.pack("127.0.0.1", 40000)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(min_size=12, max_size=400))
@example(bytes.fromhex("9f60000100000000000004d2") + b"\xbe\xde\xff\xff")
@example(bytes.fromhex("9060000100000000000004d2") + b"\xbe\xde\x00\x01\x1f\x00\x00\x00")
@example(bytes.fromhex("9060000100000000000004d2") + b"\x10\x00\x00\x01\x01\xff\x00\x00")
def test_any_rtp_packet_is_taken_apart_inside_its_bounds_or_refused(datagram: bytes) -> None:
    parts = split(datagram, read_header(datagram)[0])
    packet = parse(datagram, 1)
    assert (parts is None) == (packet is None)
    if parts is None or packet is None:
        return
    start, elements = parts
    assert 12 <= start <= len(datagram)
    assert packet.payload == datagram[start:]
    assert sum(1 + len(value) for _, value in elements) <= start
    # What is passed on can always be written and fits a row beside the payload.
    writable = [(identifier, value) for identifier, value in elements if value]
    assert len(extension_block(writable)) <= start + 4 * len(writable)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(DATAGRAMS)
@example(struct.pack("!BBHI", 0x80 | 31, 201, 1, 1))
@example(struct.pack("!BBHI", 0xA0, 200, 1, 0xFF))
@example(struct.pack("!BBHI", 0x80, 203, 0xFFFF, 1))
def test_any_rtcp_is_read_or_malformed(compound: bytes) -> None:
    try:
        items = rtcp.parse(compound)
    except rtcp.MalformedRtcp:
        return
    # Four bytes of NACK name seventeen packets: nothing names more.
    named = sum(len(item.sequences) if isinstance(item, rtcp.Nack) else 1 for item in items)
    assert named <= 17 * (len(compound) // 4 + 1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 0xFFFF), max_size=40, unique=True).map(sorted),
    st.integers(0, 0xFFFFFFFF),
)
def test_a_nack_is_read_as_it_was_written(sequences: list[int], ssrc: int) -> None:
    items = rtcp.parse(rtcp.nack(1, ssrc, sequences)) if sequences else []
    assert [s for item in items if isinstance(item, rtcp.Nack) for s in item.sequences] == sequences


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(keyframe.DETECTORS)), st.binary(max_size=64))
def test_any_payload_begins_a_keyframe_or_not(mime: str, payload: bytes) -> None:
    assert keyframe.DETECTORS[mime](payload) in (True, False)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(DATAGRAMS)
@example(b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12) + b"\x00\x06\xff\xff\x00\x00\x00\x00")
@example(b"\x00\x01\x00\x04\x21\x12\xa4\x42" + bytes(12) + b"\x00\x24\x00\x00")
def test_any_stun_is_a_check_or_dropped_with_a_reason(datagram: bytes) -> None:
    reason = None
    try:
        parse_check(datagram)
    except BadCheck as bad:
        reason = bad.reason
    assert reason in (None, "malformed", "not_a_request")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 199), st.integers(1, 255))
def test_a_check_with_any_byte_changed_proves_nothing(at: int, change: int) -> None:
    session = IceSession()
    message = StunMessage(StunMethod.BINDING, StunClass.REQUEST)
    message.attributes["USERNAME"] = f"{session.credentials.ufrag}:peer"
    message.attributes["ICE-CONTROLLING"] = 7
    message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(session.credentials.pwd.encode())
    datagram = bytearray(bytes(message))
    at %= len(datagram) - 8  # the rest is FINGERPRINT, a checksum that proves nothing by itself
    datagram[at] ^= change
    try:
        session.handle_check(parse_check(bytes(datagram)), SOURCE, 1.0)
    except BadCheck:
        pass
    else:
        raise AssertionError(f"byte {at} may be changed")
    assert session.selected is None
    assert not session.addresses


def test_each_first_byte_is_of_one_kind() -> None:
    """RFC 7983 7, and nothing else."""
    kinds = {kind: [b for b in range(256) if KIND_OF[b] is kind] for kind in Kind}
    assert kinds[Kind.STUN] == [0, 1, 2, 3]
    assert kinds[Kind.DTLS] == list(range(20, 64))
    assert kinds[Kind.MEDIA] == list(range(128, 192))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=200))
def test_any_order_of_sequence_numbers_keeps_the_books(sequences: list[int]) -> None:
    """Extended numbers agree with their low bits; what is missing was never received and is
    bounded; the history never takes one number twice."""
    reception, history = Reception(90_000, repair=True), PacketHistory(1024)
    received: set[int] = set()
    for step, sequence in enumerate(sequences):
        now = step / 1000
        highest = reception.highest
        extended = reception.place(sequence, now)
        if extended == RENUMBERED:
            assert reception.highest == highest
            extended = reception.restart(sequence)
            assert extended > highest
        assert extended & 0xFFFF == sequence
        assert extended > 0
        assert reception.highest - extended <= RESTART_GAP
        if history.put(extended, bytes(12)):
            received.add(extended)
            reception.count(step * 3000, now)
        assert len(reception.missing) <= 256
        assert not received & reception.missing.keys()
    assert reception.received <= len(sequences)
    reception.report(1, 0, 0)
