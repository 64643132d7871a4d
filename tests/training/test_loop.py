"""The loop: a generator whose result depends on the seed and nothing else."""

import inspect
import itertools

import numpy as np
import pytest
import torch

from vaekit.data import Source, load
from vaekit.inference import active_units, over_rows
from vaekit.objectives import ELBO, ImportanceWeighted
from vaekit.settings import Settings, prepare
from vaekit.training import TrainingError, fit, loop
from vaekit.training.state import NARROW


def equal(a, b) -> bool:
    left, right = a.tensors(), b.tensors()
    return (
        left.keys() == right.keys()
        and all(torch.equal(left[n], right[n]) for n in left)
        and a.counters() == b.counters()
    )


def run(bench, state, **options):
    """Train to the end; the records that have metrics."""
    return [record.metrics for record in fit(state, bench.rows, bench.validation, **options) if record.metrics]


def test_it_is_a_generator_that_does_a_step_a_turn(bench):
    state = bench.state()
    records = fit(state, bench.rows, bench.validation)
    assert inspect.isgenerator(records)
    assert state.step == 0
    for step in range(1, 41):
        record = next(records)
        assert record.step == state.step == step
        assert record.epoch == step // 4
        assert (record.metrics is not None) == (step % 12 == 0 or step == 40)  # 10 steps, rounded up to whole epochs
    assert next(records, None) is None
    assert state.finished


class Watched(ELBO):
    """Notes the number of threads that each of its bounds was computed with."""

    def forward(self, *arguments, **options):
        self.__dict__.setdefault("threads", []).append(torch.get_num_threads())
        return super().forward(*arguments, **options)


def test_the_steps_of_a_narrow_network_take_one_thread(bench, monkeypatch, threads):
    torch.set_num_threads(3)
    state = bench.state(objective := Watched())
    records = fit(state, bench.rows)
    for _, _ in zip(range(3), records, strict=False):
        assert torch.get_num_threads() == 3
    monkeypatch.setattr("vaekit.training.state.NARROW", 0)
    next(records)
    assert objective.threads == [1, 1, 1, 3]


@pytest.mark.parametrize(("network", "narrow"), [("mlp", True), ("conv", False)])
def test_convolutions_are_not_narrow_however_few_their_weights(network, narrow):
    settings = Settings().changed(network=network, hidden=(4,), latent_dim=2, validation=0.0, test=0.0, device="cpu")
    state = prepare(settings, load("digits")).state
    assert (state.products * 32 <= NARROW) == narrow


def test_the_same_seed_gives_the_same_bits_whatever_the_global_state(bench):
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = bench.state()
        results.append((state, run(bench, state)))
    assert equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_another_seed_gives_other_noise(bench):
    a, b = bench.state(steps=1, seed=0), bench.state(steps=1, seed=1)
    run(bench, a)
    run(bench, b)
    assert not equal(a, b)


def test_records_and_selection_are_of_the_bound_that_is_climbed(bench):
    state = bench.state(ImportanceWeighted(20, beta=0.3, gradient="doubly-reparameterised"))
    records = run(bench, state)
    names = ("iwae", "elbo", "rate", "distortion")
    for record in records:
        assert {*names, *(f"validation_{name}" for name in names)} <= set(record)
        assert record["validation_iwae"] > record["validation_elbo"]
        assert record["validation_elbo"] == pytest.approx(-record["validation_rate"] - record["validation_distortion"])
    assert state.best_value == max(record["validation_iwae"] for record in records)
    again = over_rows(ImportanceWeighted(20), state.trained(), bench.validation.blocks(40), 0).value
    assert again.double().mean().item() == pytest.approx(state.best_value, rel=1e-6)


@pytest.mark.parametrize(("warmup", "last"), [(0, 36), (23, 36), (24, 48), (47, 60), (48, 72)])
def test_patience_does_not_count_while_the_warm_up_lasts(bench, warmup, last):
    """A record every 12 steps, and no bound better than the first: nothing is learned at a rate of 0."""
    state = bench.state(ELBO(warmup=warmup / 1000), steps=1000, patience=2, learning_rate=0.0)
    records = run(bench, state)
    assert records[-1]["step"] == state.step == last
    assert state.best_step == 0


# The plateau


PLATEAU = {"schedule": "plateau", "steps": 4000, "record_steps": 20, "patience": 3, "warmup": 4}


def test_a_bound_that_has_stopped_rising_brings_the_rate_down_and_the_training_to_its_end(make_bench):
    bench = make_bench(rows=400)
    state = bench.state(**PLATEAU, tolerance=0.05)
    records = run(bench, state)
    assert 0 < state.cooling < 3200
    assert state.finished
    assert not state.still_rising
    assert state.step <= state.recipe.last(state.cooling) == state.cooling + -(-state.cooling // 4)
    before = [record["learning_rate"] for record in records if 4 < record["step"] <= state.cooling]
    after = [record["learning_rate"] for record in records if record["step"] > state.cooling]
    assert set(before) == {state.recipe.learning_rate}
    assert all(a > b for a, b in itertools.pairwise(after))


def test_a_bound_that_falls_ends_the_training_at_once(make_bench):
    bench = make_bench(rows=12, width=64)
    state = bench.state(**PLATEAU, learning_rate=1e-2, averaging=0.9)
    records = run(bench, state)
    assert state.finished
    assert state.cooling == 0
    assert records[-1]["validation_elbo"] < state.best_value


def test_a_bound_that_has_surely_fallen_ends_the_training_before_its_patience_does(make_bench):
    """However often it is taken up again in between."""
    bench = make_bench(rows=24, width=64)
    assert len(bench.validation) >= loop.FEW_HELD_OUT
    options = {**PLATEAU, "patience": 1000, "learning_rate": 1e-2, "averaging": 0.9}
    state = bench.state(**options)
    run(bench, state)
    assert state.step < state.recipe.steps
    assert state.cooling == 0
    best, last = (
        over_rows(ELBO(), model, bench.validation.blocks(), state.recipe.seed).value
        for model in (state.trained(), state.averaged)
    )
    fall = best - last
    assert fall.mean() > fall.std() / len(fall) ** 0.5
    interrupted = bench.state(**options)
    while not interrupted.finished:
        next(record for record in fit(interrupted, bench.rows, bench.validation) if record.metrics)
    assert equal(interrupted, state)


@pytest.mark.parametrize(("schedule", "patience", "ends"), [("plateau", 9, 2), ("plateau", 0, 0), ("cosine", 9, 0)])
def test_a_fall_ends_a_training_that_waits_at_the_peak(bench, schedule, patience, ends):
    state = bench.state(schedule=schedule, patience=patience, steps=1000)
    state.judge(0.0)
    finished = []
    for _ in range(3):
        state.step += 1
        state.judge(-1.0, fallen=True)
        finished.append(state.finished)
    assert finished == [bool(ends and n >= ends) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("training", "cooling", "ends", "setbacks"), [(-1.0, 0, True, 0), (-9.0, 0, False, 1), (-9.0, 50, False, 0)]
)
def test_a_step_that_went_astray_is_no_overfitting(make_bench, training, cooling, ends, setbacks):
    """Where the training rows' bound fell too, training goes back to the weights kept; not once the rate comes down."""
    bench = make_bench(rows=60)
    state = bench.state(schedule="plateau", patience=9, steps=1000)
    held_out = loop.HeldOut(bench.validation)
    kept = held_out.bound(state, state.averaged)
    held_out.judge(state, kept, -2.0)
    assert state.best_training == -2.0
    weights = {name: tensor.clone() for name, tensor in state.weights().items()}
    state.cooling = cooling
    with torch.no_grad():
        for parameter in state.parameters:
            parameter.add_(1.0)
    lower = kept._replace(value=kept.value - 5.0)
    for _ in range(3):
        state.step += 1
        held_out.judge(state, lower, training)
    assert state.finished == ends
    assert state.best_value == kept.selected
    assert state.setbacks == setbacks
    back = all(torch.equal(tensor, weights[name]) for name, tensor in state.last.state_dict().items())
    assert back == bool(setbacks)
    assert state.rate(state.step) == state.recipe.rate(state.step, cooling) / (2 if setbacks else 1)


def test_a_rate_that_has_to_come_down_waits_as_long_as_any(make_bench):
    """Records without a better bound from before do not count."""
    bench = make_bench(rows=60)
    state = bench.state(schedule="plateau", steps=50, patience=3)
    state.judge(0.0)
    state.step = state.recipe.latest_cooling - 1
    state.judge(-0.1)
    state.judge(-0.1)
    state.advance(bench.rows.train_batch(state.step, 16))
    assert state.cooling == state.step
    state.judge(-0.1)
    assert not state.finished


def test_a_bound_that_still_rises_has_the_rate_down_at_the_last_step(bench):
    state = bench.state(schedule="plateau", steps=50, record_steps=10, patience=100)
    records = run(bench, state)
    assert state.cooling == 40
    assert state.step == 50
    assert state.still_rising == (state.best_step == 50)
    assert 0 < records[-1]["learning_rate"] < 0.1 * state.recipe.learning_rate


def test_gains_within_the_tolerance_are_none(bench):
    state = bench.state(learning_rate=1e-9, patience=2, steps=1000, tolerance=0.1)
    assert run(bench, state)[-1]["step"] == 36
    state = bench.state(learning_rate=1e-9, patience=2, steps=1000, tolerance=0.1)
    state.judge(0.0)
    for _ in range(3):
        state.step += 1
        state.judge(state.reference + 0.09)
    assert state.stale == 3
    state.judge(0.11)  # small gains add up
    assert state.stale == 0


def test_without_validation_the_training_bound_is_judged(bench):
    state = bench.state(**PLATEAU, tolerance=0.3)
    for _ in fit(state, bench.rows):
        pass
    assert state.best is None
    assert state.step < 4000


@pytest.mark.slow
def test_a_training_that_has_ended_can_go_on_from_the_peak(make_bench):
    bench = make_bench(rows=400)
    state = bench.state(**PLATEAU, tolerance=0.05)
    run(bench, state)
    ended = state.step
    state.reopen()
    assert not state.finished
    assert state.rate(state.step) == state.recipe.learning_rate
    run(bench, state)
    assert state.step > ended


def test_what_training_starts_from_is_kept_where_nothing_better_comes(make_bench):
    bench = make_bench(rows=12)
    state = bench.state(learning_rate=30.0, clip=0.0, steps=20)
    start = over_rows(ELBO(), state.averaged, bench.validation.blocks(), 0).value.double().mean().item()
    run(bench, state)
    assert (state.best_step, state.best_value) == (0, pytest.approx(start, rel=1e-9))


class Recording(ELBO):
    """Keeps what it said."""

    def __init__(self):
        super().__init__()
        self.bounds = []

    def forward(self, model, batch, *noise, step=0):
        bound = super().forward(model, batch, *noise, step=step)
        if torch.is_grad_enabled():  # a training step
            self.bounds.append(
                {"elbo": bound.value.mean().item()} | {k: v.mean().item() for k, v in bound.terms.items()}
            )
        return bound


def test_records_are_means_over_the_steps_since_the_last(bench):
    state = bench.state(Recording())
    records = run(bench, state)
    assert [record["step"] for record in records] == [12, 24, 36, 40]
    bounds = state.objective.bounds
    for start, record in zip((0, 12, 24, 36), records, strict=True):
        steps = bounds[start : record["step"]]
        for name in ("elbo", "rate", "distortion"):
            assert record[name] == pytest.approx(sum(b[name] for b in steps) / len(steps), rel=1e-9)
        assert record["learning_rate"] == state.recipe.rate(record["step"] - 1)
    assert state.sums == {}


def test_validation_is_the_true_bound_of_the_averaged_weights(bench):
    state = bench.state(ELBO(beta=0.1))
    *_, last = run(bench, state)
    averages = over_rows(ELBO(), state.averaged, bench.validation.blocks(40), 0)
    assert last["validation_elbo"] == pytest.approx(averages.value.mean().item(), rel=1e-6)
    assert last["validation_rate"] == pytest.approx(averages.terms["rate"].mean().item(), rel=1e-6)
    assert last["active_units"] == active_units(averages.means)


def test_without_validation_the_averaged_weights_are_kept(bench):
    state = bench.state()
    for record in fit(state, bench.rows):
        assert not record.metrics or "validation_elbo" not in record.metrics
    assert state.best is None
    for a, b in zip(state.trained().parameters(), state.averaged.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.fixture(scope="module")
def overfitted(make_bench):
    """Twelve rows learned by heart."""
    bench = make_bench(rows=12, width=64)
    state = bench.state(steps=3000, patience=5, record_steps=50, learning_rate=1e-2, averaging=0.9)
    return bench, state, run(bench, state)


def test_overfitting_is_seen_in_the_records(overfitted):
    _, _, records = overfitted
    assert all({"elbo", "validation_elbo"} <= set(record) for record in records)
    assert records[-1]["elbo"] > records[-1]["validation_elbo"] + 2


def test_early_stopping_keeps_the_best_weights(overfitted):
    bench, state, records = overfitted
    bounds = [record["validation_elbo"] for record in records]
    best = max(range(len(bounds)), key=bounds.__getitem__)
    assert state.step < state.recipe.steps
    assert state.finished
    assert len(bounds) == best + 1 + 5  # five records without a better bound
    assert state.best_value >= bounds[best]
    assert state.best_step in (0, records[best]["step"])  # before the first step there is a model too
    kept = over_rows(ELBO(), state.trained(), bench.validation.blocks(40), 0).value.double().mean().item()
    assert kept == pytest.approx(state.best_value, rel=1e-7)
    latest = over_rows(ELBO(), state.averaged, bench.validation.blocks(40), 0).value.double().mean().item()
    assert latest < kept


def test_without_patience_it_trains_to_the_end(make_bench):
    bench = make_bench(rows=12, width=64)
    state = bench.state(steps=300, patience=0, record_steps=20, learning_rate=3e-2, averaging=0.9)
    run(bench, state)
    assert state.step == 300
    assert state.best_step < 300


def test_a_learning_rate_that_explodes_is_reported_with_its_step(bench):
    state = bench.state(learning_rate=1e30, warmup=0, clip=0)
    with pytest.raises(TrainingError, match=r"step \d+.*learning rate \(now 1e\+30, halved 3 times\)"):
        run(bench, state)
    assert all(p.isfinite().all() for p in state.model.parameters())


def test_few_rows_are_one_batch(make_bench):
    bench = make_bench(rows=5)
    state = bench.state(steps=3)
    run(bench, state)
    assert state.step == 3


def test_training_raises_the_bound(bench):
    state = bench.state(steps=400, learning_rate=1e-2)
    start = over_rows(ELBO(), state.averaged, bench.validation.blocks(40), 0).value.mean()
    records = run(bench, state)
    assert records[-1]["validation_elbo"] > start + 1


@pytest.mark.parametrize("seed", [5, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 7))])
def test_among_few_rows_held_out_nothing_is_better_by_chance(seed, monkeypatch):
    """Of rows from one Gaussian, the linear model that training starts from is the best there is."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 8)) + rng.normal(size=(50, 8))
    settings = Settings().changed(
        likelihood="gaussian", validation=0.1, test=0.0, epochs=150, compile="off", device="cpu"
    )

    def chosen() -> int:
        prepared = prepare(settings, Source(x))
        assert len(prepared.rows["validation"]) == 5
        for _ in fit(prepared.state, prepared.rows["train"], prepared.rows["validation"]):
            pass
        return prepared.state.best_step

    assert chosen() == 0
    monkeypatch.setattr(loop, "FEW_HELD_OUT", 0)
    assert chosen() > 0  # on these five rows it looked better
