"""When the socket is polled instead of waiting to be woken."""

from media.transport.moderation import CALM_POLLS, WAKEUPS, WITHIN_S, Moderation


def woken(moderation: Moderation, interval_s: float, times: int) -> list[bool]:
    return [moderation.woken(turn * interval_s) for turn in range(times)]


def test_a_busy_socket_is_polled() -> None:
    assert any(woken(Moderation(), WITHIN_S / WAKEUPS / 2, 3 * WAKEUPS))


def test_a_quiet_one_wakes_us_at_each_packet() -> None:
    moderation = Moderation()
    moderation.woken(-100.0)
    assert not any(woken(moderation, WITHIN_S / WAKEUPS * 2, 10 * WAKEUPS))


def test_polling_ends_when_it_finds_little_for_a_while() -> None:
    moderation = Moderation()
    assert all(moderation.polled(5) for _ in range(100))
    calm = [moderation.polled(0) for _ in range(CALM_POLLS)]
    assert calm == [True] * (CALM_POLLS - 1) + [False]
