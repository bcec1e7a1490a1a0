"""Whose picture is shown, and when it is passed through."""

from coordinator.ids import Identity, TrackSid
from media.broadcast.director import Director, PassthroughTrial

ANN, BEN, ZOE = Identity("ann"), Identity("ben"), Identity("zoe")
ANN_CAMERA, BEN_CAMERA, BEN_SCREEN = TrackSid("TR_a"), TrackSid("TR_b"), TrackSid("TR_s")


def two_cameras() -> Director:
    director = Director()
    director.add(ANN_CAMERA, ANN, "camera")
    director.add(BEN_CAMERA, BEN, "camera")
    return director


def test_nobody_shows_a_picture() -> None:
    assert Director().choose(0.0) is None


def test_the_picture_follows_the_speaker_and_stays_when_nobody_speaks() -> None:
    director = two_cameras()
    assert director.choose(0.0) == ANN_CAMERA
    director.set_speaker(BEN)
    assert director.choose(2.0) == BEN_CAMERA
    director.set_speaker(None)
    assert director.choose(4.0) == BEN_CAMERA
    director.set_speaker(ZOE)  # without a picture
    assert director.choose(6.0) == BEN_CAMERA


def test_a_cough_changes_nothing_and_a_second_later_it_may() -> None:
    director = two_cameras()
    director.choose(0.0)
    director.set_speaker(BEN)
    assert director.choose(0.5) == ANN_CAMERA
    assert director.choose(1.0) == BEN_CAMERA


def test_a_picture_that_is_gone_is_left_at_once() -> None:
    director = two_cameras()
    director.choose(0.0)
    director.set_muted(ANN_CAMERA, True)
    assert director.choose(0.1) == BEN_CAMERA
    director.remove(BEN_CAMERA)
    assert director.choose(0.2) is None
    director.set_muted(ANN_CAMERA, False)
    assert director.choose(0.3) == ANN_CAMERA


def test_a_speaker_who_shares_a_screen_shows_the_screen() -> None:
    director = two_cameras()
    director.add(BEN_SCREEN, BEN, "screen_share")
    director.set_speaker(BEN)
    assert director.choose(0.0) == BEN_SCREEN


def frames(trial: PassthroughTrial, start_s: float, count: int, rate_hz: float = 30.0) -> float:
    for step in range(count):
        trial.frame(start_s + step / rate_hz, keyframe=step == 0)
    return start_s + (count - 1) / rate_hz


def test_a_source_without_history_may_begin_and_go_on() -> None:
    trial = PassthroughTrial()
    assert not trial.may_begin(0.0)
    now = frames(trial, 0.0, 30)
    assert trial.may_begin(now)
    assert trial.may_go_on(now)


def test_a_hole_ends_it() -> None:
    trial = PassthroughTrial()
    now = frames(trial, 0.0, 30)
    assert not trial.may_go_on(now + 0.25)
    trial.frame(now + 0.3, keyframe=False)
    assert not trial.may_go_on(now + 0.3)


def test_times_that_go_back_end_it() -> None:
    trial = PassthroughTrial()
    now = frames(trial, 0.0, 30)
    trial.frame(now - 0.03, keyframe=False)  # a B frame
    assert not trial.may_go_on(now)


def test_few_frames_a_second_end_it() -> None:
    trial = PassthroughTrial()
    frames(trial, 0.0, 30)
    now = frames(trial, 1.0, 60, rate_hz=12.0)
    assert not trial.may_go_on(now)


def test_no_keyframe_for_three_seconds_ends_it() -> None:
    trial = PassthroughTrial()
    now = frames(trial, 0.0, 85)
    assert trial.may_go_on(now)
    for step in range(85, 92):
        trial.frame(step / 30, keyframe=False)
    assert not trial.may_go_on(91 / 30)


def test_each_failure_doubles_the_time_it_must_be_good_for() -> None:
    trial = PassthroughTrial()
    start_s = 0.0
    for needed_s in (10.0, 20.0, 40.0):
        trial.failed()
        now = frames(trial, start_s, int(needed_s * 30) - 3)
        assert not trial.may_begin(now)
        now = frames(trial, now + 1 / 30, 5)
        assert trial.may_begin(now)
        start_s = now + 1
