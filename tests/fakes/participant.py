"""A participant made of aiohttp and aiortc: what a native client of the WebSocket protocol does.

Not a fake of ours but a real peer on the other side of the wire; it follows signaling/PROTOCOL.md.
"""

import asyncio
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)

Message = dict[str, Any]
WAIT_S = 15.0


class Participant:
    """One WebSocket and two peer connections. Use as an async context manager."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str, room: str, token: str) -> None:
        self._http = http
        self._url = f"{base_url}/v1/rooms/{room}/join"
        self._token = token
        self._arrived = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None
        self._offers = 0
        self.messages: list[Message] = []
        self.close_code: int | None = None
        self.tracks: dict[str, MediaStreamTrack] = {}
        """Track sid -> the received track."""
        configuration = RTCConfiguration(iceServers=[])
        self.publisher = RTCPeerConnection(configuration)
        self.subscriber = RTCPeerConnection(configuration)

    async def __aenter__(self) -> Self:
        self._socket = await self._http.ws_connect(
            self._url, protocols=["tertulia.v1"], params={"access_token": self._token}
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._socket.close()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)
        await self.publisher.close()
        await self.subscriber.close()

    async def _read(self) -> None:
        async for frame in self._socket:
            if frame.type is not aiohttp.WSMsgType.TEXT:
                continue
            message = json.loads(frame.data)
            if message["type"] == "subscriber_offer":
                await self._answer(message)
            async with self._arrived:
                self.messages.append(message)
                self._arrived.notify_all()
        async with self._arrived:
            self.close_code = self._socket.close_code
            self._arrived.notify_all()

    async def _answer(self, offer: Message) -> None:
        await self.subscriber.setRemoteDescription(RTCSessionDescription(offer["sdp"], "offer"))
        for transceiver in self.subscriber.getTransceivers():
            sid = offer["tracks"].get(transceiver.mid)
            if sid is not None:
                self.tracks[sid] = transceiver.receiver.track
        await self.subscriber.setLocalDescription(await self.subscriber.createAnswer())
        await self.send(
            type="subscriber_answer",
            offer_id=offer["offer_id"],
            sdp=self.subscriber.localDescription.sdp,
        )

    async def send(self, **message: Any) -> None:
        await self._socket.send_str(json.dumps(message))

    async def send_text(self, text: str) -> None:
        """Send *text* as it is: for nonsense."""
        await self._socket.send_str(text)

    async def publish(self, *tracks: MediaStreamTrack) -> list[str]:
        """Publish camera and microphone tracks. Returns their sids, in order."""
        await self.wait_for("joined")
        for track in tracks:
            self.publisher.addTrack(track)
        await self.publisher.setLocalDescription(await self.publisher.createOffer())
        source = {"audio": "microphone", "video": "camera"}
        announced = [
            {"mid": transceiver.mid, "source": source[transceiver.kind]}
            for transceiver in self.publisher.getTransceivers()
        ]
        self._offers += 1
        sdp = self.publisher.localDescription.sdp
        await self.send(type="publisher_offer", id=self._offers, sdp=sdp, tracks=announced)
        answer = await self.wait_for("publisher_answer", lambda m: m["id"] == self._offers)
        await self.publisher.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        sid_of_mid = {track["mid"]: track["sid"] for track in answer["tracks"]}
        mid_of = {
            transceiver.sender.track: transceiver.mid
            for transceiver in self.publisher.getTransceivers()
        }
        return [sid_of_mid[mid_of[track]] for track in tracks]

    async def wait_for(
        self, kind: str, accept: Callable[[Message], bool] = lambda message: True
    ) -> Message:
        """The first message of *kind* that *accept* takes, old or yet to come."""

        def found() -> Message | None:
            return next((m for m in self.messages if m["type"] == kind and accept(m)), None)

        async with self._arrived:
            try:
                await asyncio.wait_for(
                    self._arrived.wait_for(lambda: found() or self.close_code is not None), WAIT_S
                )
            except TimeoutError:
                seen = [message["type"] for message in self.messages]
                raise AssertionError(f"waited for {kind}, saw {seen}") from None
            message = found()
        assert message is not None, f"closed with {self.close_code} while waiting for {kind}"
        return message

    async def wait_closed(self) -> int:
        """Wait for the server to close the socket. Returns the close code."""
        async with self._arrived:
            await asyncio.wait_for(
                self._arrived.wait_for(lambda: self.close_code is not None), WAIT_S
            )
        assert self.close_code is not None
        return self.close_code

    async def wait_for_track(self, sid: str) -> MediaStreamTrack:
        """The received track *sid*, once an offer with it was answered."""
        await self.wait_for("subscriber_offer", lambda m: sid in m["tracks"].values())
        return self.tracks[sid]
