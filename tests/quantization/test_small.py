from __future__ import annotations

import pytest
import torch
from edgewright.ir.graph import editable, export, operator
from edgewright.quantization.rules import Rules
from edgewright.quantization.small import why_small
from edgewright.targets import load_target
from torch import nn


def reasons(network: nn.Module, rules: Rules) -> list[str]:
    """Why each layer of the network, which takes (N, 3, 16, 16), is too small."""
    graph = editable(export(network.eval(), (torch.zeros(2, 3, 16, 16),), True)).graph
    return [why_small(node, rules) for node in graph.nodes if operator(node) in ("conv2d", "linear")]


def rules_of(name: str) -> Rules:
    int8 = load_target(name).quantization.int8_static
    assert int8 is not None
    return Rules.of(int8)


def test_small_matrix_products_say_why() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 16), nn.Linear(16, 15), nn.Linear(15, 16))
    assert reasons(network, rules_of("nvidia-t4")) == [
        "",
        "it has 16 inputs and 15 outputs, and with fewer than 16 int8 is not worth it",
        "it has 15 inputs and 16 outputs, and with fewer than 16 int8 is not worth it",
    ]
    assert set(reasons(network, rules_of("x86-avx2"))) == {""}


@pytest.mark.parametrize(("inputs", "kernel", "groups", "size", "is_float"), [
    (4, 1, 1, 1, True),
    (5, 1, 1, 1, False),
    (4, 3, 1, 1, False),
    (4, 1, 2, 1, False),
    (4, 1, 1, 2, False),
])  # fmt: skip
def test_products_at_one_position_with_few_inputs_stay_float(
    inputs: int, kernel: int, groups: int, size: int, is_float: bool
) -> None:
    squeeze, excite = nn.Conv2d(3, inputs, 1), nn.Conv2d(inputs, 8, kernel, padding=kernel // 2, groups=groups)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(size), squeeze, nn.ReLU(), excite)
    why = f"it has {inputs} inputs at one position, and with fewer than 5 the kernel is a float one"
    assert reasons(network, rules_of("nvidia-t4"))[1] == (why if is_float else "")
