"""Weights that share values are found wherever a graph has them, and values that are too many are seen."""

from __future__ import annotations

import torch
from edgewright.ir.sharing import ATTACHMENT, are_fixed, has_shared_weights, shared_counts, shared_weights
from edgewright.ir.state import InputSpec, ModelState, register_quantized_operators
from torch import Tensor, nn

SPECS = (InputSpec("x", (1, 4)),)


class Stored(nn.Module):
    """A layer whose weights are int8, behind a dequantize node, under the name that a quantizer gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("quantized_weight", torch.tensor([[1, 2, 1, 2], [2, 2, 2, 1]], dtype=torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        register_quantized_operators()
        q = torch.ops.quantized_decomposed
        weight = q.dequantize_per_tensor(self.quantized_weight, 0.5, 0, -127, 127, torch.int8)
        return nn.functional.linear(x, weight)


def state(layer: nn.Module, counts: dict[str, int], is_fixed: bool = False) -> ModelState:
    program = torch.export.export(nn.Sequential(layer).eval(), (torch.zeros(1, 4),))
    return ModelState(SPECS, program=program).with_attachment(ATTACHMENT, {"counts": counts, "is_fixed": is_fixed})


def two_values() -> nn.Linear:
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0, 1.0, 2.0], [2.0, 2.0, 2.0, 1.0]]))
    return layer


def test_floats_are_found_by_their_name_and_integers_by_their_owners() -> None:
    counts = {"0.weight": 2}
    for layer in (two_values(), Stored()):
        found = state(layer, counts)
        assert shared_counts(found) == counts
        assert set(shared_weights(found)) == {"0.weight"}
        assert has_shared_weights(found)
        assert not are_fixed(found)
    assert are_fixed(state(two_values(), counts, True))


def test_a_value_too_many_is_seen_in_both() -> None:
    layer, stored = two_values(), Stored()
    with torch.no_grad():
        layer.weight[0, 0] = 3
        stored.get_buffer("quantized_weight")[0, 0] = 3
    assert not has_shared_weights(state(layer, {"0.weight": 2}))
    assert not has_shared_weights(state(stored, {"0.weight": 2}))


def test_a_state_of_which_nothing_is_said_shares_nothing() -> None:
    module = nn.Sequential(two_values())
    assert not has_shared_weights(ModelState(SPECS, module=module))
    assert shared_counts(ModelState(SPECS, module=module)) == {}
