"""Pruned weights are found wherever a state has them, and missing zeros are seen."""

from __future__ import annotations

import torch
from edgewright.ir.state import InputSpec, ModelState
from edgewright.ir.zeros import ATTACHMENT, has_pruned_elements, held_weights, pruned_weights
from torch import nn


def halved() -> ModelState:
    """A convolution of which the first of two filters is zero, and a linear layer without zeros."""
    module = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        module.get_parameter("0.weight")[0] = 0
    state = ModelState((InputSpec("x", (1, 1, 2, 2)),), module=module)
    return state.with_attachment(ATTACHMENT, {"0.weight": 4, "2.weight": 0})


def exported(state: ModelState) -> ModelState:
    program = torch.export.export(state.torch_module(), (torch.zeros(1, 1, 2, 2),))
    return ModelState(state.inputs, program=program, attachments=state.attachments)


def test_they_are_found_in_a_module_and_in_its_graph() -> None:
    state = halved()
    graph = exported(state)
    assert set(pruned_weights(state)) == set(pruned_weights(graph)) == {"0.weight", "2.weight"}
    assert torch.equal(pruned_weights(graph)["0.weight"], state.torch_module().get_parameter("0.weight"))
    assert has_pruned_elements(state)
    assert has_pruned_elements(graph)


def test_a_zero_that_is_gone_is_seen_in_both() -> None:
    state = halved()
    with torch.no_grad():
        state.torch_module().get_parameter("0.weight")[0, 0, 0, 0] = 1.0
    assert not has_pruned_elements(state)
    assert not has_pruned_elements(exported(state))


def test_a_state_that_was_never_pruned_has_none() -> None:
    state = ModelState((InputSpec("x", (1, 2)),), module=nn.Linear(2, 2))
    assert held_weights(state) == ()
    assert not pruned_weights(state)
    assert not has_pruned_elements(state)


def test_training_holds_zeros_of_both_patterns() -> None:
    state = halved().with_attachment("sparse_2_4", ["2"])
    assert held_weights(state) == ("0.weight", "2.weight")
    assert held_weights(ModelState(state.inputs, state.module, attachments={"sparse_2_4": ["2"]})) == ("2.weight",)
