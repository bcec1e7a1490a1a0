"""Which addresses the plane binds and announces."""

import asyncio
import socket

import pytest

from media.config import MediaConfig
from media.sfu.plane import MediaPlane, Transport
from media.transport.seams import StunClass, StunMessage, StunMethod, parse_stun


class Nobody:
    def connected(self, transport: Transport) -> None: ...

    def failed(self, transport: Transport, why: str) -> None: ...


async def test_checks_are_answered_over_ipv6() -> None:
    try:
        plane = await MediaPlane.open(MediaConfig(host="::1", port=0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    transport = plane.create_transport(Nobody())
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("::1", plane.port))
        message = StunMessage(StunMethod.BINDING, StunClass.REQUEST)
        message.attributes["USERNAME"] = f"{transport.ufrag}:peer"
        message.add_message_integrity(transport.pwd.encode())
        sock.send(bytes(message))
        answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 2048), 5)
        assert parse_stun(answer).attributes["XOR-MAPPED-ADDRESS"] == sock.getsockname()[:2]
    await plane.close()


async def test_announced_hosts_stand_behind_the_bound_one_with_falling_priority() -> None:
    plane = await MediaPlane.open(MediaConfig(port=0, announced_hosts=("203.0.113.7",)))
    words = [line.split() for line in plane.candidates]
    assert [w[4] for w in words] == ["127.0.0.1", "203.0.113.7"]
    assert {w[5] for w in words} == {str(plane.port)}
    assert int(words[0][3]) > int(words[1][3])
    await plane.close()


async def test_a_taken_port_is_an_error_and_leaves_nothing_open() -> None:
    plane = await MediaPlane.open(MediaConfig(port=0))
    with pytest.raises(OSError, match="in use"):
        await MediaPlane.open(MediaConfig(port=plane.port))
    await plane.close()
    await plane.close()  # twice is once
