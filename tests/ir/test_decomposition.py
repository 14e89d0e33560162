"""Operators taken apart compute what they did, in operators that integer kernels exist for."""

from __future__ import annotations

import pytest
import torch
from edgewright.ir.constants import with_constants_folded
from edgewright.ir.decomposition import decomposed
from edgewright.ir.graph import editable, export, is_constant, operator
from edgewright.passes.export import Export
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional

NAMES = ("lstm", "gru", "hardsigmoid", "scaled_dot_product_attention")
KERNELS = {"linear", "sigmoid", "tanh", "add", "sub", "mul", "matmul", "softmax", "clamp"}
MOVES = {
    "view",
    "select",
    "split",
    "transpose",
    "unsqueeze",
    "getitem",
    "unbind",
    "cat",
    "squeeze",
    "permute",
    "expand",
}


class Recurrent(nn.Module):
    def __init__(self, kind: str, layers: int = 1) -> None:
        super().__init__()
        self.layer = getattr(nn, kind)(4, 6, num_layers=layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layer(x)[0]
        return hidden


class Attention(nn.Module):
    def __init__(self, **options: bool | float) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(x, x + 1, x, **self.options)  # type: ignore[arg-type]


class Numbers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 2.5 + 1 - 3) / 4


def program_of(module: nn.Module) -> tuple[ExportedProgram, Tensor]:
    torch.manual_seed(0)
    example = torch.randn(2, 5, 4)
    return export(module.eval(), (example,), open_batch=False), example


def is_close(program: ExportedProgram, module: nn.Module, example: Tensor) -> bool:
    with torch.no_grad():
        wanted, found = module(example), program.module()(example)
    return bool((found - wanted).abs().max() <= Export.numerics.relative * wanted.abs().max())


@pytest.mark.parametrize(
    "module",
    [Recurrent("LSTM"), Recurrent("GRU"), Recurrent("LSTM", 2), nn.Hardsigmoid(), Attention(), Attention(scale=0.3)],
    ids=str,
)
def test_only_kernels_and_moves_are_left_and_they_compute_the_same(module: nn.Module) -> None:
    program, example = program_of(module)
    after = with_constants_folded(decomposed(program, NAMES))
    left = {operator(node) for node in after.graph.nodes} - {""}
    assert left <= KERNELS | MOVES | {"clone", "contiguous", "reshape", "permute", "expand"}
    assert is_close(after, module, example)


def test_numbers_become_constants() -> None:
    program, example = program_of(Numbers())
    after = decomposed(program, NAMES)
    computed = [node for node in editable(after).graph.nodes if operator(node)]
    assert [operator(node) for node in computed] == ["mul", "add", "sub", "mul"]
    assert all(is_constant(node.args[1]) for node in computed)
    assert is_close(after, Numbers(), example)


def test_attention_with_a_mask_stays_whole() -> None:
    program, example = program_of(Attention(is_causal=True))
    after = decomposed(program, NAMES)
    assert "scaled_dot_product_attention" in {operator(node) for node in after.graph.nodes}
    assert is_close(after, Attention(is_causal=True), example)


def test_what_is_not_asked_for_stays() -> None:
    program, _ = program_of(nn.Hardsigmoid())
    assert "hardsigmoid" in {operator(node) for node in decomposed(program, ("lstm",)).graph.nodes}
