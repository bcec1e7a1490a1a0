"""The contract with the private parts of our dependencies: this fails loudly on an upgrade."""

import inspect
from importlib.metadata import version

import numpy as np
from aioice import ice, stun
from aiortc import rtcdtlstransport
from pylibsrtp import Session, _binding

from media.transport import seams


def test_versions_are_the_pinned_ones() -> None:
    assert {name: version(name) for name in seams.PINNED} == seams.PINNED


def test_aiortc_still_has_what_we_reach_into() -> None:
    transport = rtcdtlstransport.RTCDtlsTransport
    source = inspect.getsource(transport)
    for name in ("_srtp_profiles", "_set_role", "_rx_srtp", "_tx_srtp", "_ssl", "_task"):
        assert name in source, name
    for name in ("_recv", "_send"):
        assert f"self.transport.{name}(" in source, name
    assert "statechange" in source


def test_pylibsrtp_still_has_a_binding_that_works_in_place() -> None:
    for name in (
        "srtp_protect",
        "srtp_unprotect",
        "srtp_protect_rtcp",
        "srtp_unprotect_rtcp",
        "srtp_remove_stream",
    ):
        assert hasattr(_binding.lib, name), name
    assert "_srtp" in inspect.getsource(Session)


def test_aioice_still_has_its_stun_codec() -> None:
    for name in ("Message", "Class", "Method", "parse_message"):
        assert hasattr(stun, name), name
    assert list(inspect.signature(ice.get_host_addresses).parameters) == ["use_ipv4", "use_ipv6"]


def test_a_packet_is_protected_and_unprotected_in_place() -> None:
    plain = bytes.fromhex("80600001 00000000 00000001") + b"payload"
    rows = np.zeros((2, 256), np.uint8)
    rows[1, : len(plain)] = np.frombuffer(plain, np.uint8)
    lengths = np.array([0, len(plain)], np.int32)
    pointer, length = seams.row_pointers(rows)[1], seams.int_pointers(lengths)[1]
    for gcm, key in ((True, bytes(range(28))), (False, bytes(range(30)))):
        sealer = seams.srtp_session(key, gcm=gcm, inbound=False)
        opener = seams.srtp_session(key, gcm=gcm, inbound=True)
        assert seams.protect(sealer.pointer, pointer, length) == 0
        assert lengths[1] == len(plain) + (16 if gcm else 10)
        assert bytes(rows[1, 12 : len(plain)]) != b"payload"
        sealed = rows[1].copy()
        assert seams.unprotect(opener.pointer, pointer, length) == 0
        assert bytes(rows[1, : lengths[1]]) == plain
        # The same packet again is a replay, and a changed one no packet at all.
        rows[1], lengths[1] = sealed, len(plain) + (16 if gcm else 10)
        assert seams.unprotect(opener.pointer, pointer, length) == seams.REPLAYED
        rows[1], lengths[1] = sealed, len(plain) + (16 if gcm else 10)
        rows[1, 3] += 1
        assert seams.unprotect(opener.pointer, pointer, length) == seams.AUTH_FAILED
        rows[1, : len(plain)] = np.frombuffer(plain, np.uint8)
        lengths[1] = len(plain)
    assert not rows[0].any()
