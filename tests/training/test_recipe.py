"""The schedule and the averaging's memory."""

import itertools
import math

import pytest

from vaekit.training import Recipe


def test_the_rate_warms_up_in_a_line_to_its_peak_and_falls_by_half_a_cosine():
    recipe = Recipe(steps=1000, learning_rate=0.3, warmup=50)
    rates = [recipe.rate(step) for step in range(1000)]
    assert rates[:50] == pytest.approx([0.3 * (i + 1) / 50 for i in range(50)])
    assert rates[50] == max(rates) == 0.3
    assert all(a > b for a, b in itertools.pairwise(rates[50:]))
    assert rates[525] == pytest.approx(0.15)
    assert rates[50 + 950 // 3] == pytest.approx(0.225, rel=1e-2)  # cos(π/3) = 1/2
    assert 0 < rates[-1] < 1e-5


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 30, 4999, 5001])
def test_the_warm_up_takes_a_tenth_of_a_short_run(steps):
    recipe = Recipe(steps=steps, learning_rate=1.0)
    rates = [recipe.rate(step) for step in range(steps)]
    assert rates.index(max(rates)) in (warm := min(500, steps // 10), max(warm - 1, 0))
    assert max(rates) == 1.0
    assert all(0 < rate <= 1 for rate in rates)


def test_the_memory_is_short_at_first():
    recipe = Recipe(steps=1, averaging=0.999)
    decays = [recipe.decay(step) for step in range(20_000)]
    assert decays[0] == pytest.approx(0.1)
    assert all(a <= b for a, b in itertools.pairwise(decays))
    assert decays[-1] == 0.999
    remains = math.prod(decays[:1000])  # the weight of the start
    assert remains < 1e-6


def test_no_averaging_keeps_nothing_of_the_past():
    assert Recipe(steps=1, averaging=0.0).decay(10_000) == 0


def test_the_rate_stays_on_the_plateau_until_it_is_told_and_comes_down_within_a_quarter():
    recipe = Recipe(steps=1000, learning_rate=0.3, warmup=50, schedule="plateau")
    assert all(recipe.rate(step) == 0.3 for step in range(50, 1000))
    last = recipe.last(cooling=400)
    assert last == 500
    rates = [recipe.rate(step, cooling=400) for step in range(last)]
    assert rates[50:401] == [0.3] * 351
    assert all(a > b > 0 for a, b in itertools.pairwise(rates[400:]))
    assert rates[400 + 25] == pytest.approx(0.15)  # 1 − √¼


@pytest.mark.parametrize("steps", [1, 4, 5, 999, 1000, 60_001])
def test_the_rate_comes_down_before_the_last_of_the_steps_there_can_be(steps):
    recipe = Recipe(steps=steps, schedule="plateau")
    assert 1 <= recipe.latest_cooling <= steps
    assert steps - 2 <= recipe.last(recipe.latest_cooling) <= steps
