"""A layer and its smaller ones compute the same where the ranks are those of its weight."""

from __future__ import annotations

import pytest
import torch
from edgewright.ir.factors import Factors
from edgewright.low_rank.parts import energy_kept, taken_apart
from torch import Tensor, nn
from torch.testing import assert_close


def of_rank_two(layer: nn.Module) -> nn.Module:
    """The layer with a weight that is a sum of two products of vectors, which has rank two in every way."""
    generator = torch.Generator().manual_seed(0)
    weight: Tensor = layer.get_parameter("weight")
    factors = [torch.randn(size, 2, generator=generator) for size in weight.shape]
    letters = "abcde"[: weight.dim()]
    made = torch.einsum(",".join(f"{letter}r" for letter in letters) + f"->{letters}", *factors)
    weight.data = made.double()
    return layer.double()


CONVOLUTIONS = [
    nn.Conv1d(6, 8, 5, 2, 2),
    nn.Conv2d(6, 8, 3, (2, 1), (1, 0), bias=False),
    nn.Conv2d(6, 8, 3, padding="same", dilation=2, padding_mode="circular"),
    nn.Conv2d(6, 8, (1, 3), padding=(0, 1)),
    nn.Conv2d(6, 8, (3, 1), stride=(1, 2)),
    nn.Conv3d(6, 8, 3, 2, 1),
]


@pytest.mark.parametrize(
    "ranks", [("svd", (2,)), ("tucker", (2, 2)), ("tucker", (6, 2)), ("tucker", (2, 8)), ("cp", (2,))]
)
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=str)
def test_a_convolution_of_that_rank_is_the_same(layer: nn.Module, ranks: tuple[str, tuple[int, ...]]) -> None:
    layer, factors = of_rank_two(layer), Factors(*ranks)  # type: ignore[arg-type]
    sizes = (2, 6, *(7 + axis for axis in range(layer.get_parameter("weight").dim() - 2)))
    samples = torch.randn(sizes, dtype=torch.float64)
    with torch.no_grad():
        expected, found = layer(samples), taken_apart(layer, factors)(samples)
    assert_close(found.float(), expected.float())
    assert_close(torch.tensor(energy_kept(layer, factors)), torch.tensor(1.0))


@pytest.mark.parametrize("layer", [nn.Linear(6, 8), nn.Conv2d(6, 8, 1, 2, 1, bias=False)], ids=str)
def test_a_matrix_of_that_rank_is_the_same(layer: nn.Module) -> None:
    layer = of_rank_two(layer)
    samples = torch.randn((2, 5, 6) if isinstance(layer, nn.Linear) else (2, 6, 5, 5), dtype=torch.float64)
    with torch.no_grad():
        assert_close(taken_apart(layer, Factors("svd", (2,)))(samples), layer(samples))


def test_what_is_kept_is_counted_by_hand_and_the_layer_stays_as_it_was() -> None:
    layer = nn.Linear(3, 3)
    layer.weight.data = torch.diag(torch.tensor([4.0, 2.0, 1.0]))
    before = layer.weight.clone()
    assert_close(torch.tensor(energy_kept(layer, Factors("svd", (1,)))), torch.tensor(16 / 21))
    sequence = taken_apart(layer, Factors("svd", (1,)))
    assert_close(sequence(torch.ones(1, 3)), layer.bias[None] + torch.tensor([[4.0, 0.0, 0.0]]))
    assert torch.equal(layer.weight, before)
    layer.weight.data.zero_()
    assert energy_kept(layer, Factors("svd", (1,))) == 1.0
