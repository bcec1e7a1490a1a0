"""What this machine's core takes for a fixed piece of work that the design's core was timed with.

The targets were set for one core. The prototype that gave the design its first figure (batches of
five packets of 1100 bytes to thirty receivers, columns rewritten, AES-128-GCM, sendmmsg without
GSO, back to back) is the bare loop's sending half; the quotient of the two figures says how much
dearer a packet is here, most of it the kernel's sending path.
"""

import asyncio

from tests.bench.bare import BareProcess, Hot
from tests.bench.doors import BareDoor
from tests.bench.engine import Engine
from tests.bench.measure import RECEIVE_NAP_US, RTP_HEADER_BYTES
from tests.bench.shapes import parse_shape

DESIGN_US = 2.15
"""The middle of the 2.0 to 2.3 us that the design's 2.6 GHz core took."""
RECEIVERS = 30
PACKETS = 5
PAYLOAD_BYTES = 1100
SECONDS = 2.0


async def yardstick_us() -> float:
    """CPU per packet of that work, here and now. One engine: call it in a process of its own."""
    engine, process = Engine(capture_bytes=0), await BareProcess.start("gcm128")
    engine.start(asyncio.get_running_loop())
    engine.nap(RECEIVE_NAP_US)
    door = BareDoor(engine, process=process, srtp="gcm128")
    shape = parse_shape(f"1x{RECEIVERS}")
    endpoints = [await door.publish(feed, 0, lambda rtcp: None) for feed in shape.feeds()]
    for viewing in shape.viewings():
        endpoints.append(await door.play(viewing, min_bytes=PAYLOAD_BYTES // 2, capture=False))
    size = RTP_HEADER_BYTES + PAYLOAD_BYTES
    await process.hot(Hot(seconds=0.2, packets=PACKETS, packet_bytes=size, gso=False))
    work = Hot(seconds=SECONDS, packets=PACKETS, packet_bytes=size, gso=False)
    figure = await process.hot(work)
    for endpoint in endpoints:
        await endpoint.close()
    await process.stop()
    engine.close()
    return figure.us_per_packet
