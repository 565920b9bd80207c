from __future__ import annotations

import random

import pytest

from streamcls_mic.clock import LossWatch

RATE = 48_000


def run(watch: LossWatch, seconds: float, delivered, start: float = 0.0, step: float = 0.05) -> list[tuple[float, int]]:
    """Observe a device whose audio up to time t is ``delivered(t)`` seconds, whenever there is more of it.

    Returns when how many samples were missed.
    """
    found, shift, t, before = [], 0, start, -1
    while t < start + seconds:
        end = round(delivered(t) * RATE)
        missing = watch.observe(t, end + shift) if end > before else 0
        before = max(end, before)
        if missing:
            found.append((t, missing))
            shift += missing
        t += step
    return found


def test_a_steady_device_loses_nothing() -> None:
    assert run(LossWatch(RATE, 1.0), 100, lambda t: t) == []


@pytest.mark.parametrize("drift", [-0.005, 0.005, 0.05])
def test_a_clock_that_goes_otherwise_is_followed(drift) -> None:
    assert run(LossWatch(RATE, 1.0), 3_600, lambda t: t * (1 + drift)) == []


@pytest.mark.parametrize("burst", [0.125, 0.5, 0.9])
def test_bursts_are_no_loss(burst) -> None:
    assert run(LossWatch(RATE, 1.0), 300, lambda t: t // burst * burst) == []


def test_random_lateness_is_no_loss() -> None:
    rng = random.Random(3)
    assert run(LossWatch(RATE, 1.0), 600, lambda t: t - rng.random() * 2) == []


def test_lost_audio_is_found_once_within_three_seconds() -> None:
    """Nothing for five seconds, then on as if nothing had been."""
    [(when, missing)] = run(LossWatch(RATE, 1.0), 60, lambda t: t if t < 20 else max(20, t - 5))
    assert missing == pytest.approx(5 * RATE, rel=0.01)
    assert 25 < when < 28.2


def test_audio_that_was_only_late_is_no_loss() -> None:
    """Nothing for ten seconds, then ten times as fast until it has caught up."""
    assert run(LossWatch(RATE, 1.0), 60, lambda t: t if t < 20 or t > 32 else max(20, min(t, 20 + (t - 30) * 10))) == []


def test_a_slow_catching_up_is_no_loss() -> None:
    """As above, but only three times as fast."""
    assert run(LossWatch(RATE, 1.0), 60, lambda t: t if t < 20 else max(20, min(t, 20 + (t - 30) * 3))) == []


def test_many_small_losses_add_up() -> None:
    found = run(LossWatch(RATE, 1.0), 100, lambda t: t - 0.3 * (t // 5))
    assert sum(missing for _, missing in found) == pytest.approx(100 / 5 * 0.3 * RATE, abs=2.5 * RATE)


def test_an_overflow_costs_what_the_clock_says() -> None:
    watch = LossWatch(RATE, 1.0)
    run(watch, 10, lambda t: t)
    assert watch.overflow(12.0, 11 * RATE) == pytest.approx(RATE, abs=0.06 * RATE)


def test_an_overflow_costs_at_least_one_sample() -> None:
    watch = LossWatch(RATE, 1.0)
    assert watch.overflow(0.0, 0) == 1
    run(watch, 10, lambda t: t)
    assert watch.overflow(10.0, 11 * RATE) == 1
