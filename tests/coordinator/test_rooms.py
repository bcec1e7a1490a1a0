"""Rooms: each change and its event are one step."""

from coordinator.center import Center
from coordinator.ids import Identity, RoomName, new_participant_sid
from coordinator.nodes import NodeLease
from coordinator.requests import Ack, OpenRoom
from coordinator.rooms import Rooms

DEMO = RoomName("demo")


async def test_a_join_makes_and_places_the_room(center: Center, rooms: Rooms) -> None:
    async def prepare(request: OpenRoom) -> Ack:
        return Ack()

    center.serve({OpenRoom: prepare})
    lease = NodeLease(center, kind="media")
    await lease.start()
    sid = new_participant_sid()
    joined = await rooms.join(DEMO, sid=sid, identity=Identity("ana"), display_name="Ana")
    assert joined.owner == center.node_id
    assert joined.placed
    assert [one.sid for one in joined.snapshot.participants] == [sid]
    await lease.close()
