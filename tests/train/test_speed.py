"""The speed that is shown is that of steps, without what stands between them."""

import time

import pytest

from hyperfitting.train.speed import Speed
from tests.tiny import tiny_model
from tests.train.running import build, monitor_row, settings


def test_the_first_step_and_what_stands_between_steps_are_left_out():
    times = iter([30.0, 31.0, 33.0, 93.0, 94.0])
    speed = Speed(now=lambda: next(times))
    assert speed.per_second is None
    speed.step(256)  # after half a minute of compiling
    assert speed.per_second is None
    speed.step(256)  # one second
    assert speed.per_second == 256
    speed.step(256)  # two
    assert speed.per_second == 512 / 3
    speed.go_on()  # after a minute of monitoring
    speed.step(256)  # one
    assert speed.per_second == 768 / 4


def test_what_a_device_had_queued_counts_as_time_of_its_steps():
    times = iter([1.0, 1.1, 1.2, 3.0, 9.0, 10.0])
    speed = Speed(now=lambda: next(times))
    for _ in range(3):
        speed.step(100)  # queued at once
    speed.settle()  # the device has done them
    assert speed.per_second == pytest.approx(100)
    speed.go_on()
    speed.step(100)
    assert speed.per_second == pytest.approx(100)


def test_a_single_step_that_settled_has_no_speed():
    times = iter([1.0, 2.0])
    speed = Speed(now=lambda: next(times))
    speed.step(100)
    speed.settle()
    assert speed.per_second is None


def test_a_training_leaves_monitoring_out_of_its_speed(monkeypatch):
    """Steps of a toy take milliseconds, each monitoring here a fifth of a second."""

    def slow(epoch, step, train_loss):
        time.sleep(0.2)
        return monitor_row(0.5)

    _, _, trainer = build(tiny_model(), settings(), monitor=slow, every_epochs=1)
    trainer.run()
    assert trainer.speed.tokens > 0
    assert trainer.speed.seconds < 0.2


def test_steps_with_something_between_each_of_them_are_counted():
    times = iter([5.0, 15.0, 17.0, 27.0, 29.0])
    speed = Speed(now=lambda: next(times))
    speed.step(100)
    for _ in range(2):
        speed.go_on()
        speed.step(100)
    assert speed.per_second == 50
