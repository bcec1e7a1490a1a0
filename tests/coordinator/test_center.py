"""The message center on a real server: append, follow, request, serve, notify."""

import asyncio

import pytest

from coordinator import keys
from coordinator.center import Center, FollowOutput
from coordinator.errors import Fenced, InfrastructureError, PeerError
from coordinator.events import RoomPlaced
from coordinator.follower import position_key
from coordinator.ids import START, NodeId, ParticipantSid, RoomName, TrackSid
from coordinator.model import RoomSettings
from coordinator.requests import (
    Ack,
    ActiveSpeakers,
    CollectMetrics,
    MetricFamily,
    Metrics,
    OpenRoom,
    PublisherAnswer,
    PublisherOffer,
    Sample,
    SetTrackMuted,
)
from coordinator.rooms import Rooms
from tests.fakes.center import Connect, Join, Listener, MediaNode, counted, until

DEMO = RoomName("demo")


def placed(number: int) -> RoomPlaced:
    return RoomPlaced(node=NodeId("n"), fence=number)


def fences(listener: Listener) -> list[int]:
    return [event.event.fence for event in listener.events if isinstance(event.event, RoomPlaced)]


# -- Append and follow


async def test_followers_in_other_processes_hear_events_in_order(connect: Connect) -> None:
    one, two = await connect("web-0"), await connect("media-0")
    listener = Listener()
    two.follow(DEMO, START, listener)
    ids = [await one.append(DEMO, placed(number)) for number in range(20)]
    await listener.count(20)
    assert fences(listener) == list(range(20))
    assert [event.id for event in listener.events] == ids
    assert [event.prev for event in listener.events] == [START, *ids[:-1]]


async def test_appends_of_many_tasks_keep_one_order_for_all(connect: Connect) -> None:
    one, two = await connect("web-0"), await connect("web-1")
    heard, replayed = Listener(), Listener()
    two.follow(DEMO, START, heard)
    await asyncio.gather(
        *((one, two)[number % 2].append(DEMO, placed(number)) for number in range(600))
    )
    await heard.count(600)
    one.follow(DEMO, START, replayed)
    await replayed.count(600)
    assert sorted(fences(heard)) == list(range(600))
    assert [event.id for event in heard.events] == [event.id for event in replayed.events]
    positions = [position_key(event.id) for event in heard.events]
    assert positions == sorted(positions)


async def test_calls_of_one_process_run_in_their_order(center: Center) -> None:
    listener = Listener()
    center.follow(DEMO, START, listener)
    await asyncio.gather(*(center.append(DEMO, placed(number)) for number in range(1000)))
    await listener.count(1000)
    assert fences(listener) == list(range(1000))


async def test_rooms_do_not_hear_each_other(center: Center) -> None:
    here, there = Listener(), Listener()
    center.follow(DEMO, START, here)
    center.follow(RoomName("other"), START, there)
    await center.append(RoomName("other"), placed(1))
    await center.append(DEMO, placed(2))
    await here.count(1)
    await there.count(1)
    assert (fences(here), fences(there)) == ([2], [1])


async def test_following_from_a_position_replays_what_came_after(center: Center) -> None:
    ids = [await center.append(DEMO, placed(number)) for number in range(5)]
    listener = Listener()
    center.follow(DEMO, ids[2], listener)
    await listener.count(2)
    await center.append(DEMO, placed(5))
    await listener.count(3)
    assert fences(listener) == [3, 4, 5]


async def test_following_from_now_hears_only_what_comes(center: Center) -> None:
    await center.append(DEMO, placed(0))
    listener = Listener()
    following = center.follow(DEMO, None, listener)

    async def known() -> bool:
        return following.position is not None

    await until(known, "the follower's first position")
    await center.append(DEMO, placed(1))
    await listener.count(1)
    assert fences(listener) == [1]


async def test_a_closed_follower_hears_nothing_more(center: Center) -> None:
    closed, other = Listener(), Listener()
    following = center.follow(DEMO, START, closed)
    center.follow(DEMO, START, other)
    await center.append(DEMO, placed(1))
    await closed.count(1)
    following.close()
    following.close()
    await center.append(DEMO, placed(2))
    await other.count(2)
    assert fences(closed) == [1]


async def test_a_follower_may_close_itself_while_it_hears(center: Center) -> None:
    for number in range(3):
        await center.append(DEMO, placed(number))
    heard: list[FollowOutput] = []

    def once(output: FollowOutput) -> None:
        heard.append(output)
        following.close()

    following = center.follow(DEMO, START, once)
    other = Listener()
    center.follow(DEMO, START, other)
    await other.count(3)
    assert len(heard) == 1


async def test_a_follower_that_fails_does_not_deafen_the_others(center: Center) -> None:
    def broken(output: FollowOutput) -> None:
        raise RuntimeError("a bug of the sink's")

    listener = Listener()
    center.follow(DEMO, START, broken)
    center.follow(DEMO, START, listener)
    await center.append(DEMO, placed(1))
    await listener.count(1)
    assert counted(center, "followers", "sink_faults") == 1


async def test_the_same_key_appends_once(center: Center) -> None:
    first = await center.append(DEMO, placed(1), idem="k")
    again = await center.append(DEMO, placed(2), idem="k")
    other = await center.append(DEMO, placed(3), idem="l")
    assert first == again != other
    listener = Listener()
    center.follow(DEMO, START, listener)
    await listener.count(2)
    assert fences(listener) == [1, 3]


async def test_a_stale_fence_is_refused(center: Center, node: MediaNode, join: Join) -> None:
    fence = (await join("demo", "ana")).snapshot.fence
    await center.append(DEMO, placed(1), fence=fence)
    for wrong in (fence - 1, fence + 1, 0):
        with pytest.raises(Fenced):
            await center.append(DEMO, placed(2), fence=wrong)


async def test_a_trimmed_position_is_told_and_following_goes_on(center: Center) -> None:
    first = await center.append(DEMO, placed(0))
    for number in range(1, 5):
        await center.append(DEMO, placed(number))
    await center.command("XTRIM", keys.ledger(DEMO), "MAXLEN", "=", 2)
    listener = Listener()
    center.follow(DEMO, first, listener)
    await listener.heard("resync trimmed")
    await center.append(DEMO, placed(5))
    await listener.count(2)
    assert listener.types == ["resync trimmed", "room.placed"]
    assert fences(listener) == [5]


async def test_a_message_that_was_never_said_is_found_in_the_ledger(center: Center) -> None:
    """The tail of a ledger without its PUBLISH: only comparing heads can find it."""
    listener = Listener()
    center.follow(DEMO, START, listener)
    id = await center.append(DEMO, placed(1))
    await listener.count(1)
    ms, seq = position_key(id)
    lost = f"{ms}-{seq + 1}"
    body = b'{"v":1,"id":"x","type":"later.on","src":"s","ts":"2026-01-02T03:04:05Z","data":{}}'
    await center.command("XADD", keys.ledger(DEMO), lost, "p", id, "d", body)
    await center.command("HSET", keys.meta(DEMO), "last", lost, "seq", seq + 1)
    await listener.count(2)
    assert listener.events[1].event is None
    await center.append(DEMO, placed(2))
    await listener.count(3)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"v":1}', b"[]", b'{"v":1,"id":3}'])
async def test_a_poison_envelope_is_counted_and_passed_over(center: Center, body: bytes) -> None:
    listener = Listener()
    center.follow(DEMO, START, listener)
    id = await center.append(DEMO, placed(1))
    ms, seq = position_key(id)
    poison = f"{ms}-{seq + 1}"
    await center.command("XADD", keys.ledger(DEMO), poison, "p", id, "d", body)
    await center.command("HSET", keys.meta(DEMO), "last", poison, "seq", seq + 1)
    await center.append(DEMO, placed(2))
    await listener.count(2)
    assert fences(listener) == [1, 2]
    assert counted(center, "followers", "poison_events") == 1


async def test_ids_grow_though_the_clock_of_redis_stepped_back(center: Center) -> None:
    listener = Listener()
    first = await center.append(DEMO, placed(1))
    ahead = f"{position_key(first)[0] + 3_600_000}-2"
    await center.command("XADD", keys.ledger(DEMO), ahead, "p", first, "d", "{}")
    await center.command("HSET", keys.meta(DEMO), "last", ahead, "seq", 2)
    second = await center.append(DEMO, placed(2))
    third = await center.append(DEMO, placed(3))
    assert position_key(first) < position_key(second) < position_key(third)
    center.follow(DEMO, START, listener)
    await listener.count(3)
    assert fences(listener) == [1, 2, 3]


async def test_noise_on_a_rooms_channel_is_counted_and_passed_over(center: Center) -> None:
    listener = Listener()
    center.follow(DEMO, START, listener)
    await center.append(DEMO, placed(1))
    await listener.count(1)
    for noise in (b"", b"noise", b"9-9 8-8 e {}", b"\xff \xff \xff \xff", b"a b c d"):
        await center.command("PUBLISH", keys.channel(DEMO), noise)
    await center.append(DEMO, placed(2))
    await listener.count(2)
    assert fences(listener) == [1, 2]


async def test_an_event_that_is_too_large_is_refused_and_nothing_is_written(
    center: Center,
) -> None:
    with pytest.raises(PeerError) as refused:
        await center.append(DEMO, RoomPlaced(node=NodeId("n" * 70_000), fence=1))
    assert refused.value.code == "message_too_large"
    assert await center.command("EXISTS", keys.ledger(DEMO)) == 0


async def test_the_ledger_is_trimmed_to_its_length(center: Center) -> None:
    """``MAXLEN ~`` trims by whole nodes of a hundred entries."""
    limit = center.config.ledger_max_events
    batch = [center.append(DEMO, placed(number)) for number in range(limit + 400)]
    await asyncio.gather(*batch)
    assert await center.command("XLEN", keys.ledger(DEMO)) < limit + 200


async def test_the_ledger_of_an_open_room_stays_and_that_of_a_closed_one_fades(
    center: Center, rooms: Rooms
) -> None:
    await rooms.create(DEMO, RoomSettings())
    assert await center.command("PTTL", keys.ledger(DEMO)) == -1
    await rooms.close(DEMO)
    for key in (keys.ledger(DEMO), keys.meta(DEMO)):
        assert await center.command("PTTL", key) > 23 * 3600 * 1000
    await rooms.create(DEMO, RoomSettings())
    assert await center.command("PTTL", keys.ledger(DEMO)) == -1


async def test_lost_scripts_are_loaded_again_and_order_is_kept(center: Center) -> None:
    listener = Listener()
    center.follow(DEMO, START, listener)
    appends = [asyncio.ensure_future(center.append(DEMO, placed(n))) for n in range(300)]
    flush = center.command("SCRIPT", "FLUSH")
    appends += [asyncio.ensure_future(center.append(DEMO, placed(n))) for n in range(300, 900)]
    await asyncio.gather(flush, *appends)
    await listener.count(900)
    assert fences(listener) == list(range(900))
    assert counted(center, "calls", "scripts_reloaded") >= 1


# -- Request, serve, notify


async def test_a_request_is_answered(connect: Connect) -> None:
    web, media = await connect("web-0"), await connect("media-0")

    async def answer(request: PublisherOffer) -> PublisherAnswer:
        return PublisherAnswer(sdp=request.sdp.upper())

    media.serve({PublisherOffer: answer})
    offer = PublisherOffer(room=DEMO, participant=ParticipantSid("PA_1"), sdp="v=0 é")
    assert await web.request(media.node_id, offer) == PublisherAnswer(sdp="V=0 É")


async def test_a_reply_of_metrics_keeps_its_shape(connect: Connect) -> None:
    web, media = await connect("web-0"), await connect("media-0")
    family = MetricFamily(
        name="x", kind="gauge", help="h", samples=(Sample(labels={"a": "b"}, value=1.5),)
    )

    async def collect(request: CollectMetrics) -> Metrics:
        return Metrics(families=(family,))

    media.serve({CollectMetrics: collect})
    reply = await web.request(media.node_id, CollectMetrics())
    assert reply == Metrics(families=(family,))


async def test_nobody_there_is_an_error_at_once(center: Center) -> None:
    started = asyncio.get_running_loop().time()
    with pytest.raises(InfrastructureError) as failed:
        await center.request(NodeId("media-9.gone"), OpenRoom(room=DEMO), timeout_s=30)
    assert failed.value.code == "no_responder"
    assert asyncio.get_running_loop().time() - started < 1.0


async def test_a_closed_process_is_nobody(connect: Connect) -> None:
    web, media = await connect("web-0"), await connect("media-0")
    media.serve({OpenRoom: _acknowledge})
    await web.request(media.node_id, OpenRoom(room=DEMO))
    await media.close()

    async def gone() -> bool:
        try:
            await web.request(media.node_id, OpenRoom(room=DEMO))
        except InfrastructureError as error:
            return error.code == "no_responder"
        return False

    await until(gone, "no_responder")


async def _acknowledge(request: OpenRoom) -> Ack:
    return Ack()


async def test_a_late_reply_is_a_deadline_and_is_dropped(connect: Connect) -> None:
    web, media = await connect("web-0"), await connect("media-0")
    release, answered = asyncio.Event(), asyncio.Event()

    async def slow(request: OpenRoom) -> Ack:
        await release.wait()
        answered.set()
        return Ack()

    media.serve({OpenRoom: slow})
    with pytest.raises(InfrastructureError) as failed:
        await web.request(media.node_id, OpenRoom(room=DEMO), timeout_s=0.1)
    assert failed.value.code == "deadline_exceeded"
    release.set()
    await answered.wait()

    async def dropped() -> bool:
        return counted(web, "inbox", "replies_late") == 1

    await until(dropped, "the late reply")


@pytest.mark.parametrize(
    "raised",
    [
        PeerError("invalid_sdp", "line 3"),
        InfrastructureError("no_node", "none", retry=False),
        Fenced(),
    ],
)
async def test_what_the_handler_raises_travels(
    connect: Connect, raised: PeerError | InfrastructureError
) -> None:
    web, media = await connect("web-0"), await connect("media-0")

    async def refuse(request: SetTrackMuted) -> Ack:
        raise raised

    media.serve({SetTrackMuted: refuse})
    request = SetTrackMuted(
        room=DEMO,
        participant=ParticipantSid("PA_1"),
        track=TrackSid("TR_1"),
        muted=True,
        by="admin",
    )
    with pytest.raises((PeerError, InfrastructureError)) as failed:
        await web.request(media.node_id, request)
    assert isinstance(failed.value, PeerError) == isinstance(raised, PeerError)
    assert (failed.value.code, failed.value.detail) == (raised.code, raised.detail)
    if isinstance(failed.value, InfrastructureError) and isinstance(raised, InfrastructureError):
        assert failed.value.retry == raised.retry


async def test_a_bug_in_a_handler_tells_no_secrets(connect: Connect) -> None:
    web, media = await connect("web-0"), await connect("media-0")

    async def broken(request: OpenRoom) -> Ack:
        raise KeyError("password=hunter2")

    media.serve({OpenRoom: broken})
    with pytest.raises(InfrastructureError) as failed:
        await web.request(media.node_id, OpenRoom(room=DEMO))
    assert failed.value.code == "internal"
    assert "hunter2" not in failed.value.detail


async def test_a_request_that_nobody_handles_is_refused(connect: Connect) -> None:
    web, media = await connect("web-0"), await connect("media-0")
    with pytest.raises(PeerError) as refused:
        await web.request(media.node_id, OpenRoom(room=DEMO))
    assert refused.value.code == "unknown_message"


async def test_requests_in_flight_are_bounded(connect: Connect) -> None:
    web, media = await connect("web-0"), await connect("media-0")
    release = asyncio.Event()

    async def slow(request: OpenRoom) -> Ack:
        await release.wait()
        return Ack()

    media.serve({OpenRoom: slow})
    requests = [
        asyncio.ensure_future(web.request(media.node_id, OpenRoom(room=DEMO))) for _ in range(600)
    ]
    done, _ = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    refused = done.pop().exception()
    assert isinstance(refused, InfrastructureError)
    assert refused.code == "rate_limited"
    release.set()
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    assert sum(isinstance(outcome, Ack) for outcome in outcomes) == 512


async def test_a_notice_is_heard_and_one_to_nobody_is_counted(connect: Connect) -> None:
    web, media = await connect("web-0"), await connect("media-0")
    heard: asyncio.Queue[ActiveSpeakers] = asyncio.Queue()

    async def hear(notice: ActiveSpeakers) -> None:
        await heard.put(notice)

    web.serve({ActiveSpeakers: hear})
    notice = ActiveSpeakers(room=DEMO, speakers=())
    await media.notify(web.node_id, notice)
    assert await asyncio.wait_for(heard.get(), 5) == notice
    await media.notify(NodeId("web-9.gone"), notice)
    assert counted(media, "inbox", "notices_lost") == 1


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"{",
        b"\x00\xff",
        b'{"v":1,"id":"a","type":"reply","src":"b","ts":"2026-01-02T03:04:05Z","corr":"none"}',
        b'{"v":1,"id":"a","type":"room.open","src":"b","ts":"2026-01-02T03:04:05Z","data":{}}',
        b'{"v":1,"id":"a","type":"room.open","src":"b","ts":"2026-01-02T03:04:05Z",'
        b'"exp":"2026-01-02T03:04:06Z","data":{"room":"demo"}}',
    ],
)
async def test_noise_in_an_inbox_harms_nothing(connect: Connect, noise: bytes) -> None:
    web, media = await connect("web-0"), await connect("media-0")
    opened: list[RoomName] = []

    async def prepare(request: OpenRoom) -> Ack:
        opened.append(request.room)
        return Ack()

    media.serve({OpenRoom: prepare})
    await web.command("PUBLISH", keys.inbox(media.node_id), noise)
    await web.request(media.node_id, OpenRoom(room=RoomName("after")))
    assert opened == ["after"]


async def test_closing_ends_what_is_under_way(connect: Connect) -> None:
    web, media = await connect("web-0"), await connect("media-0")
    entered = asyncio.Event()

    async def forever(request: OpenRoom) -> Ack:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    media.serve({OpenRoom: forever})
    request = asyncio.ensure_future(web.request(media.node_id, OpenRoom(room=DEMO), timeout_s=0.5))
    await entered.wait()
    await media.close()
    with pytest.raises(InfrastructureError):
        await request


async def test_ping_says_whether_redis_answers(center: Center) -> None:
    assert await center.ping()
    await center.close()
    assert not await center.ping()
