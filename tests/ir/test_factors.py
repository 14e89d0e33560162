"""Smaller layers in the place of one: their shapes, their names, what they cost, and that they are rebuilt."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from edgewright.ir.factors import Factors, assemble, kernel_of, multiplications, pieces, whole
from edgewright.ir.state import Edit, InputSpec, ModelState, load, save
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

LAYERS = [
    (nn.Linear(6, 8), (2, 6)),
    (nn.Conv1d(6, 8, 5, 2, 2), (2, 6, 11)),
    (nn.Conv2d(6, 8, 3, (2, 1), (1, 0), bias=False), (2, 6, 9, 10)),
    (nn.Conv2d(6, 8, 3, padding="same", dilation=2, padding_mode="reflect"), (2, 6, 9, 10)),
    (nn.Conv2d(6, 8, (1, 3), padding=(0, 1)), (2, 6, 9, 10)),
    (nn.Conv3d(6, 8, 3, padding=1, stride=2), (1, 6, 5, 6, 7)),
]
WAYS = [Factors("svd", (4,)), Factors("tucker", (4, 5)), Factors("tucker", (6, 5)), Factors("cp", (4,))]


def positions(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[-len(kernel_of(layer)) :] if kernel_of(layer) else (1,)


@pytest.mark.parametrize("factors", WAYS, ids=str)
@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value).partition(",")[0])
def test_the_sequence_gives_what_the_layer_gives_and_costs_what_is_said(
    layer: nn.Module, shape: tuple[int, ...], factors: Factors
) -> None:
    if not kernel_of(layer) and factors.method != "svd":
        pytest.skip("a matrix comes apart by singular values")
    sequence, samples = assemble(layer, factors), torch.randn(shape)
    expected = layer(samples).shape
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert sequence(samples).shape == expected
    places = positions(layer, shape), positions(layer, tuple(expected))
    counted = multiplications(layer, pieces(layer, factors), *places)
    assert counter.get_total_flops() == 2 * counted * shape[0]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(samples)
    assert counter.get_total_flops() == 2 * multiplications(layer, (whole(layer),), *places) * shape[0]


def test_pieces_are_called_by_what_they_do() -> None:
    convolution = nn.Conv2d(6, 8, 3)
    named = {str(way): [piece.name for piece in pieces(convolution, way)] for way in WAYS}
    assert named == {
        "svd 4": ["core", "expand"],
        "tucker 4x5": ["reduce", "core", "expand"],
        "tucker 6x5": ["core", "expand"],
        "cp 4": ["reduce", "vertical", "horizontal", "expand"],
    }
    assert [piece.name for piece in pieces(nn.Conv2d(6, 8, 1), WAYS[0])] == ["reduce", "expand"]
    flat = [piece.name for piece in pieces(nn.Conv2d(6, 8, (1, 3)), WAYS[3])]
    assert flat == ["reduce", "horizontal", "expand"]
    assert [name for name, _ in assemble(convolution, WAYS[1]).named_parameters()] == [
        "reduce.weight",
        "core.weight",
        "expand.weight",
        "expand.bias",
    ]


def test_what_the_layer_is_the_smaller_ones_are() -> None:
    layer = nn.Linear(4, 4, bias=False, dtype=torch.float64).requires_grad_(False).eval()
    sequence = assemble(layer, Factors("svd", (2,)))
    assert not sequence.training
    assert [(each.dtype, each.requires_grad) for each in sequence.parameters()] == [(torch.float64, False)] * 2
    assert math.prod(kernel_of(layer)) == 1


def test_a_stored_state_has_the_smaller_layers_again_after_earlier_edits(tmp_path: Path) -> None:
    """The middle is narrower first, and then the narrow layer is taken apart."""

    def build() -> nn.Sequential:
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6))

    narrow = nn.Linear(6, 5)
    module = nn.Sequential(assemble(narrow, Factors("svd", (2,))), nn.ReLU(), nn.Linear(5, 6)).eval()
    edits = (
        Edit("0", {"out_features": 5}, {"weight": (5, 6), "bias": (5,)}),
        Edit("2", {"in_features": 5}, {"weight": (6, 5)}),
        Edit("0", {}, {}, factors=Factors("svd", (2,))),
    )
    save(ModelState((InputSpec("x", (None, 6)),), module, edits=edits), tmp_path)
    again, samples = load(tmp_path, build), torch.randn(3, 6)
    assert again.edits == edits
    assert torch.equal(again.torch_module()(samples), module(samples))
