"""Blocks are found by what they compute, in networks of every kind."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from edgewright.blocks.find import find_blocks
from edgewright.ir.errors import StepError
from torch import Tensor, nn

IMAGE = (torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)),)


class Basic(nn.Module):
    """ReLU(x + two convolutions); the first may change the width, and then the shortcut is a convolution, too."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return (self.second(self.norm(self.first(x)).relu()) + self.shortcut(x)).relu()


class Blocky(nn.Module):
    """Two stages of two blocks, of which the second begins with a wider one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.stages = nn.Sequential(nn.Sequential(Basic(8, 8), Basic(8, 8)), nn.Sequential(Basic(8, 16), Basic(16, 16)))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.stages(self.stem(x).relu()).mean((2, 3)))
        return outputs


def test_residual_blocks_are_found_and_neither_stages_nor_layers() -> None:
    network = Blocky().train()
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    blocks = find_blocks(network, IMAGE)
    assert blocks.found == ("stages.0.0", "stages.0.1", "stages.1.1")
    assert blocks.are_residual
    assert blocks.whole == {}
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("keep", ["stages.0", "stages.0.0", "stages.0.0.second"])
def test_what_the_recipe_keeps_stays(keep: str) -> None:
    blocks = find_blocks(Blocky(), IMAGE, [keep])
    assert "stages.0.0" not in blocks.found
    assert blocks.whole["stages.0.0"] == "the recipe keeps stages.0.0"
    assert "stages.1.1" in blocks.found


def test_without_residual_blocks_layers_that_keep_shapes_are_blocks() -> None:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    blocks = find_blocks(layers, IMAGE)
    assert blocks.found == ("3",)
    assert not blocks.are_residual


def test_a_transformers_layers_are_blocks() -> None:
    """torch's encoder looks into its first layer, and so can't be without that one."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    network = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    blocks = find_blocks(network, (torch.randn(2, 3, 8),))
    assert blocks.are_residual
    assert blocks.found == ("layers.1",)
    assert blocks.whole["layers.0"].startswith("the network can't run without it (AttributeError: ")


def test_a_module_that_is_called_twice_is_no_block() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.other = Basic(3, 3), Basic(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.other(self.block(self.block(x)))
            return outputs

    assert find_blocks(Twice(), IMAGE).found == ("other",)


def test_a_block_whose_inside_is_read_is_left_whole_with_the_reason() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Basic(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.block(x.relu()) * self.block.first.weight.sum()

    blocks = find_blocks(Reads(), IMAGE)
    assert blocks.found == ()
    assert blocks.whole["block"].startswith("the network can't run without it (AttributeError: ")


def test_networks_without_blocks_have_none(networks: ModuleType) -> None:
    assert find_blocks(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)), IMAGE).found == ()


def test_a_network_that_fails_says_how() -> None:
    with pytest.raises(StepError, match="the network fails on inputs of the recipe's shapes: RuntimeError"):
        find_blocks(nn.Sequential(nn.Linear(7, 7)), IMAGE)
