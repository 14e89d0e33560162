"""Which layers of a network can be taken apart: those that nobody would miss."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from edgewright.low_rank.layers import find_layers
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

IMAGE = (torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)),)


class Doubled(nn.Linear):
    """Not what its base class is."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Odd(nn.Module):
    """One layer for each thing that stands in the way."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.kept = nn.Linear(4, 4), nn.Linear(4, 4)
        self.normed, self.hooked = parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4)
        self.own, self.up = Doubled(4, 4), nn.ConvTranspose1d(4, 4, 1)
        self.tied, self.tie = nn.Linear(4, 4), nn.Linear(4, 4)
        self.tie.weight = self.tied.weight
        self.read, self.counted, self.asked = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.twice = nn.Linear(4, 4)
        self.alias = self.twice
        self.attention = nn.MultiheadAttention(4, 2)
        self.hooked.register_forward_hook(lambda layer, given, output: output + 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.plain, self.kept, self.normed, self.hooked, self.own, self.tied, self.tie, self.twice):
            x = layer(x)
        x = self.up(x.T[None])[0].T
        x = functional.linear(x, self.read.weight)
        x = self.counted(x) * self.counted.out_features
        x = self.attention(x, x, x)[0]
        return self.asked(x) if isinstance(self.asked, nn.Linear) else x


def test_what_would_be_missed_stays_whole_with_the_reason() -> None:
    module = Odd()
    hooks = dict(module.hooked._forward_hooks)
    names = dict(module.named_modules())
    layers = find_layers(module, (torch.randn(2, 4),), ["kept"])
    assert [layer.name for layer in layers.found] == ["plain"]
    assert dict(layers.whole) == {
        "kept": "the recipe keeps it",
        "normed": "its weights are computed, not stored",
        "hooked": "it has hooks, which would be lost",
        "own": "it is a Doubled of the network's own, which may compute something else",
        "up": "it is a transposed convolution",
        "tied": "tie has the same weights",
        "tie": "tied has the same weights",
        "read": "the network does not call it as a layer with one tensor",
        "counted": "the network can't run with another module in its place"
        " (AttributeError: 'Sequential' object has no attribute 'out_features')",
        "asked": "the network computes something else with another module in its place",
        "twice": "alias has the same weights",
        "attention.out_proj": "it is a NonDynamicallyQuantizableLinear of the network's own,"
        " which may compute something else",
    }
    assert dict(module.named_modules()) == names
    assert dict(module.hooked._forward_hooks) == hooks


def test_positions_are_those_of_the_first_call(networks: ModuleType) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Flatten(2), nn.Linear(49, 5))
    first, last = find_layers(module, IMAGE).found
    assert (first.name, first.input_shape, first.before, first.behind) == ("0", (2, 3, 16, 16), (16, 16), (7, 7))
    assert (last.name, last.before, last.behind) == ("2", (4,), (4,))
    grouped = find_layers(networks.random(networks.Grouped), IMAGE)
    assert dict(grouped.whole) == {"grouped.0": "it has 8 groups, and each is small already"}
    assert [layer.name for layer in grouped.found] == ["head", "stem.0", "last.0"]


def test_a_network_that_is_a_layer_stays(networks: ModuleType) -> None:
    assert dict(find_layers(nn.Linear(4, 4), (torch.randn(2, 4),)).whole) == {"": "it is the network itself"}


@pytest.mark.parametrize("kind", ["Plain", "Residual", "Attention", "Dense", "Shuffled"])
def test_in_plain_networks_every_layer_can_be_taken_apart(kind: str, networks: ModuleType) -> None:
    layers = find_layers(networks.random(getattr(networks, kind)), IMAGE)
    assert layers.found
    assert not layers.whole
