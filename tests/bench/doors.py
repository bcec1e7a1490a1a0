"""How the generator gets in: a door makes endpoints that publish and endpoints that play."""

import asyncio
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol
from urllib.parse import urljoin

import aiohttp
from aiortc import RTCCertificate

from tests.bench.association import Association
from tests.bench.bare import AddPublisher, AddSubscriber, BareProcess
from tests.bench.descriptions import play_offer, publish_offer
from tests.bench.endpoint import SRTP_PROFILES, Endpoint, srtp_session
from tests.bench.engine import Address, Engine
from tests.bench.shapes import Feed, Viewing

NEVER_MEDIA_BYTES = 1 << 30
"""A publisher's socket receives no media: nothing is that long."""
HTTP_TIMEOUT_S = 20.0
DELETES_AT_ONCE = 20


class Door(Protocol):
    """One way into a server. All joins may run at once."""

    async def publish(
        self, feed: Feed, ssrc: int, on_rtcp: Callable[[bytes], None]
    ) -> Endpoint: ...

    async def play(self, viewing: Viewing, *, min_bytes: int, capture: bool) -> Endpoint: ...

    async def close(self) -> None:
        """Leave everything that was joined."""


Authorization = Callable[[str, str, bool], str]
"""(room, identity, publishes) -> the bearer token, or "" for none."""


class WhipWhepDoor:
    """RFC 9725 and its playback sibling: POST a full offer, 201 with the answer, DELETE ends.

    The templates' ``{room}``, ``{publisher}`` and ``{viewer}`` are replaced.
    """

    def __init__(
        self, engine: Engine, *, whip: str, whep: str, srtp: str, authorize: Authorization
    ) -> None:
        self._engine, self._srtp, self._authorize = engine, srtp, authorize
        self._whip, self._whep = whip, whep
        self._certificate = RTCCertificate.generateCertificate()
        self._run = secrets.token_hex(3)
        self._resources: list[tuple[str, str]] = []
        self._associations: list[Association] = []
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=HTTP_TIMEOUT_S),
        )

    def room(self, feed: Feed) -> str:
        return f"bench-{self._run}-{feed[0]}"

    async def publish(self, feed: Feed, ssrc: int, on_rtcp: Callable[[bytes], None]) -> Endpoint:
        association = self._association()
        association.on_rtcp = on_rtcp
        local = await association.gather(min_bytes=NEVER_MEDIA_BYTES)
        room, publisher = self.room(feed), f"publisher-{feed[1]}"
        url = self._whip.replace("{room}", room).replace("{publisher}", publisher)
        token = self._authorize(room, publisher, True)
        return await association.connect(await self._post(url, token, publish_offer(local, ssrc)))

    async def play(self, viewing: Viewing, *, min_bytes: int, capture: bool) -> Endpoint:
        association = self._association()
        local = await association.gather(min_bytes=min_bytes, capture=capture)
        room, publisher = self.room(viewing.feed), f"publisher-{viewing.feed[1]}"
        url = self._whep.replace("{room}", room).replace("{publisher}", publisher)
        url = url.replace("{viewer}", viewing.viewer)
        token = self._authorize(room, viewing.viewer, False)
        return await association.connect(await self._post(url, token, play_offer(local)))

    def _association(self) -> Association:
        association = Association(self._engine, self._certificate, self._srtp)
        self._associations.append(association)
        return association

    @property
    def handshake_resends(self) -> int:
        return sum(association.resends for association in self._associations)

    async def _post(self, url: str, token: str, offer: str) -> str:
        headers = {"Content-Type": "application/sdp", **_bearer(token)}
        async with self._http.post(url, data=offer.encode(), headers=headers) as response:
            text = await response.text()
            if response.status != 201:
                raise RuntimeError(f"POST {url}: {response.status} {text[:300]}")
            if location := response.headers.get("Location"):
                self._resources.append((urljoin(url, location), token))
            return text

    async def _delete(self, url: str, token: str) -> None:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._http.delete(url, headers=_bearer(token)):
                pass

    async def close(self) -> None:
        for at in range(0, len(self._resources), DELETES_AT_ONCE):
            some = self._resources[at : at + DELETES_AT_ONCE]
            await asyncio.gather(*(self._delete(url, token) for url, token in some))
        await self._http.close()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


class BareDoor:
    """No signaling, no ICE, no DTLS: the bare loop is told addresses and keys."""

    def __init__(self, engine: Engine, *, process: BareProcess, srtp: str) -> None:
        self._engine, self._process, self._srtp = engine, process, srtp
        self._sockets: list[socket.socket] = []

    async def publish(self, feed: Feed, ssrc: int, on_rtcp: Callable[[bytes], None]) -> Endpoint:
        key, own = self._key(), self._socket()
        port = own.getsockname()[1]
        await self._process.tell(AddPublisher(name=_name(feed), key=key.hex(), port=port))
        return self._endpoint(own, key, min_bytes=NEVER_MEDIA_BYTES, capture=False)

    async def play(self, viewing: Viewing, *, min_bytes: int, capture: bool) -> Endpoint:
        key, own = self._key(), self._socket()
        port = own.getsockname()[1]
        endpoint = self._endpoint(own, key, min_bytes=min_bytes, capture=capture)
        publisher = _name(viewing.feed)
        await self._process.tell(AddSubscriber(publisher=publisher, key=key.hex(), port=port))
        return endpoint

    def _key(self) -> bytes:
        return secrets.token_bytes(SRTP_PROFILES[self._srtp][1])

    def _socket(self) -> socket.socket:
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        own.setblocking(False)
        own.bind(("127.0.0.1", 0))
        self._sockets.append(own)
        return own

    def _endpoint(
        self, own: socket.socket, key: bytes, *, min_bytes: int, capture: bool
    ) -> Endpoint:
        index = self._engine.add_socket(
            own.fileno(), min_bytes=min_bytes, capture=capture, control=_ignore
        )

        async def ended() -> None:
            self._engine.remove_socket(index)
            own.close()

        return Endpoint(
            engine=self._engine,
            index=index,
            fd=own.fileno(),
            remote=("127.0.0.1", self._process.port),
            send=_ignore,  # the bare loop knows no RTCP
            outbound=srtp_session(self._srtp, key, outbound=True),
            inbound=srtp_session(self._srtp, key, outbound=False),
            began_ns=time.time_ns(),
            ended=ended,
        )

    async def close(self) -> None:
        """The endpoints close their sockets; nobody is told."""


def _ignore(data: bytes, address: Address) -> None:
    pass


def _name(feed: Feed) -> str:
    return f"{feed[0]}/{feed[1]}"
