"""A media node as a process."""

import asyncio
import logging
import signal
from typing import Final

from coordinator.center import Center
from coordinator.config import CenterConfig
from coordinator.rooms import Rooms
from media.config import MediaConfig
from media.node import MediaNode
from media.sfu.plane import MediaPlane

_log: Final = logging.getLogger(__name__)


async def run_media(center_config: CenterConfig, config: MediaConfig) -> None:
    """Be a media node until SIGTERM or SIGINT, then drain and end.

    A second signal ends it without draining. Run it on uvloop. Raises OSError if the UDP port is
    taken.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    pressed = asyncio.Event()

    def signalled() -> None:
        (pressed if asked.is_set() else asked).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    plane = await MediaPlane.open(config)
    try:
        center = await Center.connect(center_config, name=config.name)
        try:
            node = MediaNode(center, Rooms(center), plane, config)
            await node.start()
            _log.info("%s serves media on UDP port %d", center.node_id, plane.port)
            await asked.wait()
            await _drain(node, pressed)
            await node.close()
        finally:
            await center.close()
    finally:
        await plane.close()


async def _drain(node: MediaNode, pressed: asyncio.Event) -> None:
    draining = asyncio.create_task(node.drain(), name="drain")
    hurry = asyncio.create_task(pressed.wait(), name="second signal")
    await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, hurry):
        task.cancel()
    await asyncio.gather(draining, hurry, return_exceptions=True)
