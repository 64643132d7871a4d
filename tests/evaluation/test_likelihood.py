"""log p(x) of rows: a row's number is its own to the last bit, and the two errors are what they say."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from threading import Event, RLock, Semaphore, get_ident

import numpy as np
import pytest
import torch
from touchstone import B, Touchstone

from vaekit.data import Dataset, describe
from vaekit.evaluation import ImportanceSampling, LogLikelihood, Scores, log_likelihood
from vaekit.models import VAE
from vaekit.nets import MLP
from vaekit.parts import likelihoods, posteriors, priors

X = np.random.default_rng(0).normal(size=(70, 300)).astype(np.float32)
X[41] = X[3]


@pytest.fixture(scope="module")
def model() -> VAE:
    """Wide enough for more than one thread to be worth it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, decoder = MLP(300, (64,), 6), MLP(3, (64,), 300)
    return VAE(encoder, posteriors.Diagonal(3), priors.StandardNormal(3), decoder, likelihoods.Gaussian((300,)))


def rows(x: np.ndarray = X) -> Dataset:
    return Dataset(x, describe(X), seed=0)


# the numbers


def test_it_is_log_p_with_its_sign():
    stone = Touchstone()
    x = stone.x.numpy().astype(np.float32)
    found = log_likelihood(stone.model.float(), Dataset(x, describe(x), seed=0), ImportanceSampling(30))
    assert found.value.shape == (B,)
    assert found.value.dtype == torch.float64
    assert (found.value - stone.log_p).abs().max() < 1e-3
    assert found.mean == pytest.approx(stone.log_p.mean().item(), abs=1e-3)
    assert found.untrusted == 0


def test_mean_and_both_errors_by_hand():
    value, error = [-3.0, -1.0, -2.0, -6.0], [0.1, 0.2, 0.0, 0.4]
    terms = {"pareto_k": [0.1, 0.51, 0.49, 2.0], "ess": [4.0, 2.0, 3.0, 1.0]}
    double = lambda numbers: torch.tensor(numbers, dtype=torch.float64)  # noqa: E731
    curve = double([[-4.0, -3.0], [-2.0, -1.0], [-3.0, -2.0], [-7.0, -6.0]])
    scores = Scores(double(value), double(error), {**{k: double(v) for k, v in terms.items()}, "curve": curve})
    found = LogLikelihood("iwae", scores, (1, 100))
    assert found.n == 4
    assert found.mean == -3.0
    assert found.spread == pytest.approx(np.std(value, ddof=1) / 2)  # sd/√n, over rows
    assert found.error == pytest.approx(math.sqrt(0.01 + 0.04 + 0.16) / 4)  # of the mean of these rows
    assert found.bias == pytest.approx(0.5 * 0.21 / 4)
    assert found.untrusted == 0.5  # above 1 − 1/log₁₀ 100
    scores.terms["ess"][1] = 95.0  # whatever its tail, these weights hardly differ
    assert found.untrusted == 0.25
    assert found.curve == {1: -4.0, 100: -3.0}
    numbers = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert numbers["curve"] == {"1": -4.0, "100": -3.0}
    assert numbers["n"] == 4
    for name in ("mean", "spread", "error", "bias", "untrusted"):
        assert numbers[name] == getattr(found, name)


def test_the_estimate_s_error_shrinks_with_the_draws_and_the_spread_with_the_rows(model):
    few, many = (log_likelihood(model, rows(X[:20]), ImportanceSampling(k)) for k in (10, 1000))
    assert many.error < few.error / 3
    assert many.bias < few.bias / 5
    assert many.spread == pytest.approx(few.spread, rel=0.2)
    more = log_likelihood(model, rows(np.concatenate([X[:20]] * 4)), ImportanceSampling(10))
    assert more.spread == pytest.approx(few.spread / 2, rel=0.1)
    assert few.mean < many.mean


def test_one_row_says_nothing_about_the_spread(model):
    found = log_likelihood(model, rows(X[:1]), ImportanceSampling(30))
    assert found.spread is None
    assert found.error > 0
    json.dumps(found.to_dict(), allow_nan=False)


def test_one_draw_says_nothing_about_the_error(model):
    found = log_likelihood(model, rows(X[:3]), ImportanceSampling(1))
    assert found.error is found.bias is found.untrusted is None
    assert found.spread > 0
    assert found.curve == {1: pytest.approx(found.mean)}
    json.dumps(found.to_dict(), allow_nan=False)


def test_by_default_it_takes_a_hundred_draws(model):
    found = log_likelihood(model, rows(X[:2]))
    assert torch.equal(found.value, log_likelihood(model, rows(X[:2]), ImportanceSampling(100)).value)
    assert found.method == "iwae"
    assert list(found.curve) == [1, 10, 100]


@pytest.mark.parametrize("samples", [1, 3, 1500])
def test_exactly_the_asked_number_of_draws_a_row_reach_the_decoder(model, samples):
    counts = []
    hook = model.decoder.register_forward_hook(lambda module, given, y: counts.append(len(given[0])))
    log_likelihood(model, rows(X[:5]), ImportanceSampling(samples))
    hook.remove()
    assert sum(counts) == 5 * samples


# a row's number is its own


def test_a_row_s_number_is_the_same_alone_in_company_in_any_order_and_twice(model):
    method, order = ImportanceSampling(50), np.random.default_rng(1).permutation(70)
    first = log_likelihood(model, rows(), method).value
    torch.manual_seed(99)
    np.random.seed(99)
    assert torch.equal(log_likelihood(model, rows(), method).value, first)
    assert torch.equal(log_likelihood(model, rows(X[order]), method).value, first[order])
    assert torch.equal(log_likelihood(model, rows().subset(np.arange(64, 70)), method).value, first[64:])
    for row in (0, 41, 69):
        assert torch.equal(log_likelihood(model, rows(X[row : row + 1]), method).value, first[row : row + 1])
    assert first[3] == first[41]
    assert first.unique().numel() == 69


def test_another_seed_gives_other_draws(model):
    first, second = (log_likelihood(model, rows(X[:3]), ImportanceSampling(50), seed).value for seed in (0, 1))
    assert (first != second).all()
    assert torch.allclose(first, second, atol=5)


def test_the_number_of_threads_changes_no_bit(model, threads):
    found = []
    for count in (1, 2, 4):
        torch.set_num_threads(count)
        found.append(log_likelihood(model, rows(X[:9]), ImportanceSampling(1000)))
        assert torch.get_num_threads() == count
    for other in found[1:]:
        assert torch.equal(other.value, found[0].value)
        assert torch.equal(other.scores.error, found[0].scores.error)
        assert all(torch.equal(term, found[0].scores.terms[name]) for name, term in other.scores.terms.items())


# what it leaves behind


class Watched:
    """log p(x) is the first cell of x. It says what it saw."""

    name = "watched"
    size = ""
    noisy = True

    def __init__(self, fails: bool = False):
        self.fails, self.threads = fails, set()

    def __call__(self, model, batch, seed):
        self.threads.add(torch.get_num_threads())
        if self.fails:
            raise RuntimeError("it fails")
        value = batch.x[:, 0].double()
        return Scores(value, torch.zeros_like(value))


class LastFirst(Watched):
    """The first rows are done after one of the later ones."""

    def __init__(self):
        super().__init__()
        self.later = Event()

    def __call__(self, model, batch, seed):
        if batch.x[0, 0].item() < 3:
            self.later.wait()
        else:
            self.later.set()
        return super().__call__(model, batch, seed)


def test_rows_come_back_in_order_from_several_threads_of_one_each(model, threads):
    torch.set_num_threads(4)
    x, method, counts = np.zeros((150, 300), np.float32), LastFirst(), []
    x[:, 0] = np.arange(150)
    found = log_likelihood(model, rows(x), method, advance=counts.append)
    assert found.value.tolist() == list(range(150))
    assert method.threads == {1}
    assert sum(counts) == 150
    assert (found.method, found.curve, found.untrusted) == ("watched", {}, None)


def stop(count: int):
    raise KeyboardInterrupt


@pytest.mark.parametrize("case", ["finished", "method", "advance"])
def test_threads_and_random_numbers_are_as_they_were_whatever_happens(model, threads, case):
    torch.set_num_threads(3)
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    if case == "finished":
        log_likelihood(model, rows(X[:5]), ImportanceSampling(20))
    elif case == "method":
        with pytest.raises(RuntimeError, match="it fails"):
            log_likelihood(model, rows(X[:5]), Watched(fails=True))
    else:
        with pytest.raises(KeyboardInterrupt):
            log_likelihood(model, rows(X[:5]), ImportanceSampling(20), advance=stop)
    assert torch.get_num_threads() == 3
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert torch.is_grad_enabled()


class Held(Watched):
    """Says that it has begun, and waits until it may go on."""

    def __init__(self):
        super().__init__()
        self.begun, self.free = Event(), Event()

    def __call__(self, model, batch, seed):
        self.begun.set()
        self.free.wait()
        return super().__call__(model, batch, seed)


class Door:
    """A lock that counts the threads that have come to it."""

    def __init__(self):
        self.lock, self.seen, self.came = RLock(), set(), Semaphore(0)

    def acquire(self, blocking: bool = True) -> bool:
        if get_ident() not in self.seen:
            self.seen.add(get_ident())
            self.came.release()
        return self.lock.acquire(blocking)

    def release(self) -> None:
        self.lock.release()


def test_scoring_twice_at_a_time_is_scoring_one_after_the_other(model, threads, monkeypatch):
    torch.set_num_threads(3)
    door, first, second = Door(), Held(), Watched()
    monkeypatch.setattr("vaekit.threads.ALONE", door)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(log_likelihood, model, rows(X[:1]), first)
        first.begun.wait()
        two = pool.submit(log_likelihood, model, rows(X[:1]), second)
        for _ in range(2):
            door.came.acquire()
        assert not second.threads  # it is there, and has to wait
        first.free.set()
        one.result()
        two.result()
    assert first.threads == second.threads == {1}
    assert torch.get_num_threads() == 3
