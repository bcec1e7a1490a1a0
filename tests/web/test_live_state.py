"""What a waiting watch page hears of a room's broadcast."""

from coordinator.center import Center
from coordinator.ids import RoomName
from tests.fakes.web_door import Carrier, Door, JoinAs, OpenDoor

LIVE = "/v1/rooms/tea/live"


async def test_a_page_that_waits_hears_each_state(
    door: Door, carrier: Carrier, join_as: JoinAs
) -> None:
    tea = RoomName("tea")
    viewer = door.token(roomJoin=True, room="tea", canPublish=False)
    events = await door.events(LIVE, token=viewer)
    name, _, data = await events.next()
    none = {"room": "tea", "state": "none", "sid": None, "url": ""}
    assert (name, data) == ("broadcast", none)
    fence = (await join_as("tea", "ada")).snapshot.fence
    broadcast = (await door.call("POST", "/v1/rooms/tea/broadcast")).json
    sid = broadcast["sid"]
    assert (await events.next())[2] == {**none, "state": "requested", "sid": sid}
    url = "/live/tea/index.m3u8"
    await carrier.rooms.broadcast_live(tea, fence=fence, sid=sid, url=url, directory="/nowhere")
    assert (await events.next())[2] == {**none, "state": "live", "sid": sid, "url": url}
    late = await door.events(LIVE, token=viewer)
    assert (await late.next())[2]["state"] == "live"
    await door.call("DELETE", "/v1/rooms/tea/broadcast")
    assert (await events.next())[2] == {**none, "state": "stopping", "sid": sid, "url": url}
    await carrier.rooms.broadcast_ended(tea, fence=fence, sid=sid, reason="stopped")
    assert (await events.next())[2] == {**none, "state": "ended", "sid": sid}
    second = (await door.call("POST", "/v1/rooms/tea/broadcast")).json["sid"]
    assert (await events.next())[2] == {**none, "state": "requested", "sid": second}


async def test_pages_of_one_room_share_a_follower_that_ends_with_the_last(
    open_door: OpenDoor, center: Center
) -> None:
    door = await open_door(open_rooms=True)

    def followers() -> float:
        return next(
            family.samples[0].value
            for family in center.metrics()
            if family.name == "tertulia_center_followers"
        )

    first, second = await door.events(LIVE, token=""), await door.events(LIVE, token="")
    await first.next()
    await second.next()
    assert followers() == 1
    await door.server.drain()
    await first.ended()
    await second.ended()
    assert followers() == 0


async def test_who_may_not_watch_is_refused(door: Door) -> None:
    accept = {"Accept": "text/event-stream"}
    for token, code in (
        ("", "token_missing"),
        (door.token(roomJoin=True, room="rum"), "permission_denied"),
        (door.token(roomJoin=True, room="tea", canSubscribe=False), "permission_denied"),
    ):
        answer = await door.call("GET", LIVE, token=token, headers=accept)
        assert answer.code == code
