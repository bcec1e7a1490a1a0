"""The inner loop: a publication's packets to all who receive it.

A publication's subscriptions that want packets laid out alike form a ``Group``: columns of ssrcs,
offsets, addresses and SRTP sessions, made anew only when a subscription comes, goes or changes.
``forward`` is the whole of the hot sending side behind one function, so that a compiled one could
take its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from media.rtp.packet import (
    HEADER_BYTES,
    ONE_BYTE_PROFILE,
    Element,
    Packet,
    extension_block,
    write_header,
)
from media.transport.outbox import ROWS, RUN_MAX_SEGMENTS, Outbox
from media.transport.seams import Pointer, SrtpSession

FEW: Final = 4
"""Up to so many members get a lone packet one by one: columns cost as much for one as for ten."""
_ONE_BYTE_MARK: Final = ONE_BYTE_PROFILE.to_bytes(2, "big")


class Layout(NamedTuple):
    """What a subscriber's packets look like, the numbers aside."""

    payload_type: int
    elements: tuple[tuple[int, int], ...]
    """Extension elements that are passed on: (publisher's id, subscriber's id)."""
    mid_id: int | None
    mid_bytes: int
    """Length of the subscriber's MID; its value is the subscription's own."""

    def block(self, elements: Sequence[Element], mid: bytes) -> bytes:
        """The extension block of a packet whose publisher sent *elements*."""
        out: list[Element] = []
        if self.mid_id is not None:
            out.append((self.mid_id, mid))
        if elements:
            for theirs, ours in self.elements:
                for identifier, value in elements:
                    if identifier == theirs and value:
                        out.append((ours, value))
                        break
        return extension_block(out)


@dataclass(frozen=True, slots=True)
class Member:
    """One subscription's part of a group."""

    layout: Layout
    ssrc: int
    offset: int
    """To the publisher's extended sequence number."""
    timestamp_offset: int
    mid: bytes
    session: SrtpSession
    name: int
    """Address of the receiver's sockaddr."""


class Group:
    """Members of one layout, as columns."""

    def __init__(self, layout: Layout, members: Sequence[Member]) -> None:
        self.layout: Final = layout
        self.count: Final = len(members)
        self.mid: Final = members[0].mid
        # Network byte order, so that the hot path copies and does not swap.
        self.ssrcs: Final = np.array([m.ssrc for m in members], ">u4").view(np.uint32)
        self.offset: Final = members[0].offset & 0xFFFF
        self.timestamp_offset: Final = members[0].timestamp_offset & 0xFFFFFFFF
        offsets = np.array([m.offset & 0xFFFF for m in members], np.uint16)
        timestamp_offsets = np.array([m.timestamp_offset & 0xFFFFFFFF for m in members], np.uint32)
        uniform = bool((offsets == self.offset).all()) and bool(
            (timestamp_offsets == self.timestamp_offset).all()
        )
        self.offsets: Final = None if uniform else offsets
        """None: all have ``offset`` and ``timestamp_offset``, as fresh subscriptions do."""
        self.timestamp_offsets: Final = timestamp_offsets
        self.mids: Final[npt.NDArray[np.uint8] | None] = (
            None
            if layout.mid_id is None
            else np.frombuffer(b"".join(m.mid for m in members), np.uint8).reshape(
                self.count, layout.mid_bytes
            )
        )
        self.names: Final = np.array([m.name for m in members], np.uint64)
        self.pointers: Final[list[Pointer]] = [m.session.pointer for m in members]
        self.packets = 0
        """Sent to each member so far."""
        self.octets = 0
        self.members: Final = tuple(members)
        """They keep the sessions alive, which pointers do not."""


def groups(members: Sequence[Member]) -> list[Group]:
    """*members* by layout, in pieces that fit the outbox."""
    by_layout: dict[Layout, list[Member]] = {}
    for member in members:
        by_layout.setdefault(member.layout, []).append(member)
    return [
        Group(layout, alike[start : start + ROWS])
        for layout, alike in by_layout.items()
        for start in range(0, len(alike), ROWS)
    ]


def forward(outbox: Outbox, group: Group, packets: Sequence[Packet]) -> None:
    """Write, protect and post *packets* for every member of *group*.

    Packets of one wake-up that are equally long go to each member as one segmented message.
    """
    if group.count <= FEW and (len(packets) == 1 or not outbox.segmentation):
        for packet in packets:
            _forward_plainly(outbox, group, packet)
    elif len(packets) == 1 or not outbox.segmentation:
        for packet in packets:
            row = outbox.room(group.count)
            _write(outbox, row, group, packet)
            outbox.post(group.count, group.pointers, group.names)
    else:
        limit = max(1, min(RUN_MAX_SEGMENTS, ROWS // group.count))
        for run in runs(packets, limit):
            row = outbox.room(group.count * len(run))
            for packet in run:
                _write(outbox, row, group, packet)
                row += group.count
            if len(run) == 1:
                outbox.post(group.count, group.pointers, group.names)
            else:
                outbox.post_runs(group.count, len(run), group.pointers, group.names)
    group.packets += len(packets)
    for packet in packets:
        group.octets += len(packet.payload)


def runs(packets: Sequence[Packet], limit: int) -> list[Sequence[Packet]]:
    """*packets* cut where UDP segmentation needs it: equal lengths but for a shorter last one."""
    out: list[Sequence[Packet]] = []
    start = 0
    for at in range(1, len(packets) + 1):
        if at < len(packets) and at - start < limit:
            previous, this = packets[at - 1], packets[at]
            full = len(packets[start].payload)
            if (
                len(previous.payload) == full
                and len(this.payload) <= full
                and _alike(previous, this)
            ):
                continue
        out.append(packets[start:at])
        start = at
    return out


def _alike(one: Packet, other: Packet) -> bool:
    """Whether both have extension blocks of one length."""
    return [(i, len(v)) for i, v in one.elements] == [(i, len(v)) for i, v in other.elements]


def _forward_plainly(outbox: Outbox, group: Group, packet: Packet) -> None:
    """One packet to each of few members, without columns."""
    layout = group.layout
    block = b""
    if layout.mid_id is not None or (packet.elements and layout.elements):
        block = layout.block(packet.elements, group.mid)
    first, second = packet.first(block), packet.marker | layout.payload_type
    for member in group.members:
        if member.mid != group.mid:
            block = layout.block(packet.elements, member.mid)
        header = write_header(
            first,
            second,
            (packet.extended + member.offset) & 0xFFFF,
            (packet.timestamp + member.timestamp_offset) & 0xFFFFFFFF,
            member.ssrc,
        )
        outbox.add(header + block + packet.payload, member.session.pointer, member.name)


def _write(outbox: Outbox, row: int, group: Group, packet: Packet) -> None:
    """One packet into the rows of all members, as columns."""
    layout = group.layout
    block = b""
    if layout.mid_id is not None or (packet.elements and layout.elements):
        block = layout.block(packet.elements, group.mid)
    header = write_header(
        packet.first(block),
        packet.marker | layout.payload_type,
        (packet.extended + group.offset) & 0xFFFF,
        (packet.timestamp + group.timestamp_offset) & 0xFFFFFFFF,
        0,
    )
    length = outbox.write(row, header + block + packet.payload)
    end = row + group.count
    outbox.rows[row + 1 : end, :length] = outbox.rows[row, :length]
    outbox.lengths[row:end] = length
    outbox.ssrcs[row:end] = group.ssrcs
    if group.offsets is not None:
        outbox.sequences[row:end] = group.offsets + np.uint16(packet.extended & 0xFFFF)
        outbox.timestamps[row:end] = group.timestamp_offsets + np.uint32(packet.timestamp)
    if group.mids is not None:
        # The MID is the first element: after the block's header and its own of one or two bytes.
        at = HEADER_BYTES + (5 if block[:2] == _ONE_BYTE_MARK else 6)
        outbox.rows[row:end, at : at + layout.mid_bytes] = group.mids
