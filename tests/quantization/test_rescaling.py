"""Scales that move between layers: what may be a pair, the factors by hand, and outputs that stay."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from edgewright.ir.graph import editable, export, tensor_of
from edgewright.quantization import rescaling
from edgewright.quantization.rescaling import Norm, Pair
from torch import Tensor, nn
from torch.fx import GraphModule


def graph(network: nn.Module, *shape: int) -> GraphModule:
    """The network's graph; of (2, *shape)."""
    return editable(export(network.eval(), (torch.zeros(2, *shape),), open_batch=False))


def answers(module: Callable[[Tensor], Tensor], *shape: int) -> Tensor:
    with torch.no_grad():
        return module(torch.randn(2, *shape, generator=torch.Generator().manual_seed(1)))


def spread(module: GraphModule, pair: Pair) -> None:
    """The first layer's channels have ranges from 0.01 to 1 times what they had, and the second makes up for it."""
    rows = len(tensor_of(module, pair.first.args[1]))  # type: ignore[arg-type]
    rescaling._divide_rows(module, pair.first, torch.logspace(0, 2, rows))
    rescaling.multiply_columns(module, pair.second, torch.logspace(0, 2, rows).repeat_interleave(pair.repeats))


CHAINS = {
    "relu": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)), 1, 1),
    "depthwise": (
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.LeakyReLU(), nn.Conv2d(8, 4, 1)),
        2,
        1,
    ),
    "groups": (nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1, groups=2)), 1, 1),
    "flattened": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 9, 5)), 1, 9),
    "averaged": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)), 1, 1),
    "prelu": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(4), nn.Conv2d(4, 2, 1)), 1, 1),
}


@pytest.mark.parametrize(("network", "count", "repeats"), CHAINS.values(), ids=CHAINS)
def test_scales_move_without_a_change_of_what_is_computed(network: nn.Module, count: int, repeats: int) -> None:
    whole = answers(network.eval(), 3, 8, 8)
    module = graph(network, 3, 8, 8)
    found, stops = rescaling.pairs(module)
    assert [pair.repeats for pair in found] == [repeats] * count
    assert not stops
    before = answers(module, 3, 8, 8)
    for pair in found:
        spread(module, pair)
    torch.testing.assert_close(answers(module, 3, 8, 8), before, rtol=1e-3, atol=1e-4)
    for pair in found * 30:
        rescaling.equalize(module, pair)
    torch.testing.assert_close(answers(module, 3, 8, 8), before, rtol=1e-3, atol=1e-4)
    for pair in found:
        rows = tensor_of(module, pair.first.args[1]).detach().abs().flatten(1).amax(1)  # type: ignore[arg-type]
        columns = rescaling.column_ranges(module, pair.second).reshape(len(rows), -1).amax(1)
        torch.testing.assert_close(rows, columns, rtol=0.05, atol=1e-6)
    assert torch.equal(answers(network, 3, 8, 8), whole), "the program that the graph was made of has changed"


def test_the_factors_are_those_of_the_paper() -> None:
    network = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    first, second = network[0], network[2]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[8.0], [1.0]]))
        first.bias.copy_(torch.tensor([4.0, 1.0]))
        second.weight.copy_(torch.tensor([[2.0, -4.0]]))
    module = graph(network, 1)
    ((pair,), _) = rescaling.pairs(module)
    assert rescaling.equalize(module, pair) == 2
    assert tensor_of(module, pair.first.args[1]).flatten().tolist() == [4, 2]  # type: ignore[arg-type]
    assert tensor_of(module, pair.first.args[2]).tolist() == [2, 2]  # type: ignore[arg-type]
    assert tensor_of(module, pair.second.args[1]).flatten().tolist() == [4, -2]  # type: ignore[arg-type]


def test_channels_without_weights_stay() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1))
    with torch.no_grad():
        network[0].weight[0] = 0
        network[1].weight[:, 1] = 0
    module = graph(network, 1, 4, 4)
    before = answers(module, 1, 4, 4)
    ((pair,), _) = rescaling.pairs(module)
    assert rescaling.equalize(module, pair) == 1
    assert torch.equal(answers(module, 1, 4, 4), before)


class Shared(nn.Module):
    """Two readers of one convolution, and one layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        inner: Tensor = self.twice(x.relu())
        outputs: Tensor = self.twice(inner) + x
        return outputs


def test_what_others_read_is_no_pair() -> None:
    assert rescaling.pairs(graph(Shared(), 3, 4, 4)) == ([], {})


def test_what_stands_in_the_way_is_counted() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Conv2d(4, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 4, 1))
    found, stops = rescaling.pairs(graph(network, 3, 4, 4))
    assert (not found and set(stops) == {"hardtanh", "sigmoid"}) or set(stops) == {"relu6", "sigmoid"}


def test_residual_blocks_have_pairs_inside(networks: ModuleType) -> None:
    module = graph(networks.random(networks.Residual), 3, 16, 16)
    assert not rescaling.pairs(module)[0], "batch normalization is not folded yet"


class Attention(nn.Module):
    """A normalization that two linear layers read, and one whose values are added as well."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.left, self.right = nn.LayerNorm(6), nn.Linear(6, 4), nn.Linear(6, 4, bias=False)
        self.last, self.head = nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        y = self.last(self.left(x) * self.right(x))
        outputs: Tensor = self.head(y) + y
        return outputs


def test_outliers_move_from_activations_into_weights() -> None:
    network = Attention()
    module = graph(network, 3, 6)
    before = answers(module, 3, 6)
    (norm,) = rescaling.norms(module)
    assert isinstance(norm, Norm)
    assert len(norm.readers) == 2
    largest = torch.tensor([16.0, 1, 1, 1, 1, 1])
    columns = torch.maximum(*(rescaling.column_ranges(module, reader) for reader in norm.readers))
    rescaling.smooth(module, norm, largest, 0.5)
    torch.testing.assert_close(answers(module, 3, 6), before, rtol=1e-4, atol=1e-5)
    expected = network.norm.weight.detach() / (largest / columns).sqrt()
    torch.testing.assert_close(tensor_of(module, norm.norm.args[2]).detach(), expected)  # type: ignore[arg-type]
