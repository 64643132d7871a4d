"""What is done to many tensors at once is what is done to each, whether PyTorch has a call for it or not."""

import math

import pytest
import torch

from vaekit.training import together

NAMES = ("_foreach_norm", "_foreach_mul_", "_foreach_lerp_", "_foreach_sub", "_foreach_add_", "_foreach_copy_")


@pytest.fixture(params=["as it is", "without its calls"])
def torch_now(request, monkeypatch):
    if request.param == "without its calls":
        for name in NAMES:
            monkeypatch.delattr(torch, name)


def tensors(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((3,), (2, 4), (1, 5, 2))]


@pytest.mark.usefixtures("torch_now")
def test_their_length_is_that_of_one_vector():
    expected = math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors(0)))
    assert together.norm(tensors(0)).item() == pytest.approx(expected)


@pytest.mark.usefixtures("torch_now")
def test_each_is_changed_in_place():
    averages, targets = tensors(0), tensors(1)
    expected = [a + 0.25 * (b - a) for a, b in zip(averages, targets, strict=True)]
    on_device = [average.clone() for average in averages]
    together.follow(averages, targets, 0.25)
    together.follow_on_device(on_device, targets, torch.tensor(0.25))
    for found in (averages, on_device):
        assert all(torch.allclose(a, b) for a, b in zip(found, expected, strict=True))
    together.copy(averages, targets)
    together.scale(averages, 3.0)
    assert all(torch.equal(a, 3 * b) for a, b in zip(averages, targets, strict=True))
