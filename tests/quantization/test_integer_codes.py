"""The int8 tensors of a graph, and what activations leave of their grids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from edgewright.ir.graph import editable, export
from edgewright.ir.state import register_quantized_operators
from edgewright.quantization.integer_codes import Codes, behind, float32, is_quantized_operator, read, rounded
from torch import Tensor, nn

FORM = (0.1, 3, -128, 127, torch.int8)


class Net(nn.Module):
    """A convolution with an activation, quantized, and back."""

    def __init__(self, activation: Any) -> None:
        super().__init__()
        self.first, self.activation = nn.Conv2d(1, 1, 1), activation

    def forward(self, image: Tensor) -> Tensor:
        operators = torch.ops.quantized_decomposed
        codes = operators.quantize_per_tensor(self.activation(self.first(image)), *FORM)
        back: Tensor = operators.dequantize_per_tensor(codes, *FORM)
        return back


def nodes(activation: Any) -> tuple[Any, Any]:
    """The quantize and the dequantize node."""
    register_quantized_operators()
    program = export(Net(activation).eval(), (torch.zeros(1, 1, 2, 2),), open_batch=False)
    graph = editable(program).graph
    names = ("quantize_per_tensor", "dequantize_per_tensor")
    quantize, dequantize = (next(n for n in graph.nodes if is_quantized_operator(n, name)) for name in names)
    return quantize, dequantize


@pytest.mark.parametrize(
    ("activation", "lowest", "highest"),
    [
        (nn.Identity(), -128, 127),
        (nn.ReLU(), 3, 127),
        (nn.ReLU6(), 3, 63),
        (nn.Hardtanh(), -7, 13),
        (nn.Hardtanh(-0.55, 0.25), -3, 6),  # -5.5 and 2.5 steps, halves away from zero
        (lambda x: torch.clamp(x, max=1.0), -128, 13),
        (lambda x: torch.clamp(x, min=-1.0), -7, 127),
        (lambda x: torch.relu(x).clamp(max=2.0), 3, 23),
        (nn.Hardtanh(-100.0, 100.0), -128, 127),
    ],
)
def test_activations_cut_the_grid(activation: Any, lowest: int, highest: int) -> None:
    quantize, _ = nodes(activation)
    kernel, out = behind(quantize)
    assert str(kernel.target) == "aten.conv2d.default"
    assert out == Codes(quantize, float(np.float32(0.1)), 3, lowest, highest)
    assert out.placing == (3, lowest, highest)


def test_codes_are_read_through_their_dequantize_node_alone() -> None:
    quantize, dequantize = nodes(nn.ReLU())
    found = read(dequantize)
    assert found == Codes(quantize, float(np.float32(0.1)), 3, -128, 127)
    assert read(quantize) is None
    assert read(None) is None
    assert found.has_grid_of(Codes(dequantize, float(np.float32(0.1)), 3, 0, 1))
    assert not found.has_grid_of(Codes(quantize, 0.1, 3, -128, 127))


def test_numbers_are_those_of_c() -> None:
    assert [rounded(value) for value in (0.5, -0.5, 1.49, -2.5, 3.0)] == [1, -1, 1, -3, 3]
    assert float32(0.1) == float(np.float32(0.1)) != 0.1
