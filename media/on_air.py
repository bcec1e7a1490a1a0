"""A room's broadcast on its media node: a worker process, and the room's packets to it.

All sound is tapped. Of the pictures the worker chooses one (it knows them all and who speaks) and
asks for its keyframe: that track is tapped, and the one before until the new one has settled.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from coordinator.ids import BroadcastSid, Identity, RoomName, TrackSid
from media.broadcast.feed import BroadcastFeed, FeedTrack
from media.config import MediaConfig
from media.sfu.peer import PublishedTrack
from media.sfu.plane import MediaPlane, Tap

_log: Final = logging.getLogger(__name__)

PICTURE_GRACE_S: Final = 5.0
"""A picture that the worker asked for no more is tapped for so long; its switch takes about one."""


@dataclass(frozen=True, slots=True)
class WentLive:
    """The playlist can be played."""

    sid: BroadcastSid
    directory: str


@dataclass(frozen=True, slots=True)
class WentOff:
    """The worker has ended: ``stopped`` or ``failed``."""

    sid: BroadcastSid
    reason: str


BroadcastNews = WentLive | WentOff


class _TrackTap:
    """Hands one publication's packets to the feed."""

    def __init__(self, feed: BroadcastFeed, track: TrackSid) -> None:
        self._feed = feed
        self._track = track

    def packets(self, packets: list[bytes], arrival_s: float) -> None:
        self._feed.packets(self._track, packets, arrival_s)

    def sender_report(self, ntp_s: float, rtp_timestamp: int) -> None:
        self._feed.sender_report(self._track, ntp_s, rtp_timestamp)


class _Run:
    """One worker's life. Also the feed's observer."""

    def __init__(self, plane: MediaPlane, live: Callable[[str], None]) -> None:
        self._plane = plane
        self._live = live
        self._feed: BroadcastFeed | None = None
        self._told: dict[TrackSid, tuple[PublishedTrack, bool]] = {}
        """Tracks the worker knows, and whether it knows them as muted."""
        self._taps: dict[TrackSid, Tap] = {}
        self._asked_at_s: dict[TrackSid, float] = {}
        self._speaker: Identity | None = None
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[str] = self._loop.create_future()

    # What the feed says.

    def keyframe_wanted(self, track: TrackSid) -> None:
        known = self._told.get(track)
        if known is None:
            return
        self._asked_at_s[track] = self._loop.time()
        if track in self._taps:
            self._plane.request_keyframe(known[0].publication)
        else:
            self._tap(known[0])
            self._untap_old_pictures()

    def live(self, directory: str) -> None:
        self._live(directory)

    def ended(self, reason: str) -> None:
        if not self.over.done():
            self.over.set_result(reason)

    # What the room says.

    def attach(self, feed: BroadcastFeed) -> None:
        self._feed = feed

    def sync(self, tracks: tuple[PublishedTrack, ...], speaker: Identity | None) -> None:
        """Let the worker know *tracks*, their mutes and who speaks, as far as they changed."""
        feed = self._feed
        if feed is None or self.over.done():
            return
        now = {track.told.sid: track for track in tracks}
        for sid in [sid for sid in self._told if sid not in now]:
            del self._told[sid]
            self._asked_at_s.pop(sid, None)
            tap = self._taps.pop(sid, None)
            if tap is not None:
                tap.close()
            feed.remove_track(sid)
        for sid, track in now.items():
            if sid not in self._told:
                feed.add_track(_described(track))
                self._told[sid] = (track, False)
                if track.told.kind == "audio":
                    self._tap(track)
            if track.muted != self._told[sid][1]:
                feed.set_muted(sid, track.muted)
                self._told[sid] = (track, track.muted)
        if speaker != self._speaker:
            self._speaker = speaker
            feed.set_speaker(speaker)
        self._untap_old_pictures()

    async def stop(self) -> None:
        """End the worker politely."""
        self._untap()
        if self._feed is not None:
            await self._feed.stop()

    def abandon(self) -> None:
        """The worker is gone by itself."""
        self._untap()
        self._feed = None

    def _tap(self, track: PublishedTrack) -> None:
        assert self._feed is not None
        sid = track.told.sid
        self._taps[sid] = self._plane.tap(track.publication, _TrackTap(self._feed, sid))

    def _untap(self) -> None:
        for tap in self._taps.values():
            tap.close()
        self._taps.clear()

    def _untap_old_pictures(self) -> None:
        pictures = [sid for sid in self._taps if self._told[sid][0].told.kind == "video"]
        if len(pictures) < 2:
            return
        newest = max(pictures, key=lambda sid: self._asked_at_s.get(sid, 0.0))
        settled_at_s = self._asked_at_s.get(newest, 0.0) + PICTURE_GRACE_S
        for sid in pictures:
            if sid != newest and self._loop.time() >= settled_at_s:
                self._taps.pop(sid).close()


class OnAir:
    """The broadcast of one room; at most one at a time. *tell* hears how it fares."""

    def __init__(
        self,
        room: RoomName,
        plane: MediaPlane,
        config: MediaConfig,
        tell: Callable[[BroadcastNews], None],
        program: Callable[[], tuple[tuple[PublishedTrack, ...], Identity | None]],
    ) -> None:
        self._room: Final = room
        self._plane: Final = plane
        self._config: Final = config
        self._tell: Final = tell
        self._program: Final = program
        self._sid: BroadcastSid | None = None
        self._run: _Run | None = None
        self._task: asyncio.Task[None] | None = None
        self._stop: asyncio.Event = asyncio.Event()

    @property
    def sid(self) -> BroadcastSid | None:
        """The broadcast that runs, or ends just now."""
        return self._sid

    def start(self, sid: BroadcastSid) -> None:
        """*sid* is wanted; wanted twice is wanted once."""
        if self._sid == sid:
            return
        before, self._task = self._task, None
        self._stop.set()
        self._sid = sid
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(
            self._broadcast(sid, self._stop, before), name=f"broadcast {sid}"
        )

    def stop(self, sid: BroadcastSid) -> None:
        """*sid* is wanted no longer; ``WentOff`` follows when its worker has ended."""
        if self._sid == sid:
            self._stop.set()
        else:
            self._tell(WentOff(sid, "stopped"))  # it is not here (any more)

    def sync(self) -> None:
        """Tracks, mutes or speakers may have changed."""
        if self._run is not None:
            self._run.sync(*self._program())

    async def close(self) -> None:
        """End it politely and say nothing more of it."""
        self._sid = None
        self._stop.set()
        task, self._task = self._task, None
        if task is not None:
            await task

    async def _broadcast(
        self, sid: BroadcastSid, stop: asyncio.Event, before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await before
        reason = await self._one_worker(sid, stop)
        if not stop.is_set():
            _log.warning("room %s: the worker of broadcast %s ended by itself", self._room, sid)
            reason = "failed"
        if self._sid == sid:
            self._sid = None
            self._tell(WentOff(sid, reason))

    async def _one_worker(self, sid: BroadcastSid, stop: asyncio.Event) -> str:
        """Run a worker until it ends or *stop*; return ``stopped`` or ``failed``."""
        run = _Run(self._plane, lambda directory: self._live(sid, directory))
        try:
            feed = await BroadcastFeed.start(self._config, self._room, sid, run)
        except OSError as error:
            _log.error("room %s: no broadcast worker can be started: %s", self._room, error)
            return "failed"
        run.attach(feed)
        self._run = run
        self.sync()
        stopping = asyncio.create_task(stop.wait(), name=f"stop of broadcast {sid}")
        either: tuple[asyncio.Future[Any], ...] = (run.over, stopping)
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if run.over.done():
                run.abandon()
            else:
                await run.stop()
        finally:
            stopping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stopping
            if self._run is run:
                self._run = None
        return run.over.result() if run.over.done() else "stopped"

    def _live(self, sid: BroadcastSid, directory: str) -> None:
        if self._sid == sid:
            self._tell(WentLive(sid, directory))


def _described(track: PublishedTrack) -> FeedTrack:
    codec = track.publication.codec
    return FeedTrack(
        sid=track.told.sid,
        identity=track.identity,
        kind=track.told.kind,
        source=track.told.source,
        mime=codec.mime,
        payload_type=codec.payload_type,
        clock_rate_hz=codec.clock_rate_hz,
        channels=codec.channels,
        fmtp=codec.fmtp,
    )
