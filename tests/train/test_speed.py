"""The speed that is shown is that of steps, without what stands between them."""

from hyperfitting.train.speed import Speed


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


def test_steps_with_something_between_each_of_them_are_counted():
    times = iter([5.0, 15.0, 17.0, 27.0, 29.0])
    speed = Speed(now=lambda: next(times))
    speed.step(100)
    for _ in range(2):
        speed.go_on()
        speed.step(100)
    assert speed.per_second == 50
