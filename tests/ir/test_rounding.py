"""Whether weights lie on their grids is seen on the weights themselves, to the bit."""

from __future__ import annotations

import torch
from edgewright.ir.rounding import ATTACHMENT, has_learned_rounding, lies_on_grid
from edgewright.ir.state import InputSpec, ModelState
from torch import nn

SCALES = torch.tensor([0.1, 0.3])


def on_grid() -> torch.Tensor:
    return torch.tensor([[1.0, -2.0], [5.0, 7.0]]) * SCALES[:, None]


def test_whole_numbers_of_a_channel_s_scale_lie_on_its_grid() -> None:
    assert lies_on_grid(on_grid(), SCALES, 0)
    assert lies_on_grid(on_grid().T, SCALES, 1)
    off = on_grid()
    off[1, 0] += 0.01
    assert not lies_on_grid(off, SCALES, 0)
    assert not lies_on_grid(on_grid(), SCALES, 1)


def test_a_state_has_learned_rounding_where_all_such_weights_lie_on_their_grids() -> None:
    layer = nn.Linear(2, 2)
    layer.weight.data = on_grid()
    program = torch.export.export(layer, (torch.zeros(1, 2),))
    state = ModelState((InputSpec("x", (1, 2)),), program=program)
    assert not has_learned_rounding(state)
    state = state.with_attachment("weight_scales", {"weight": SCALES.tolist()})
    state = state.with_attachment(ATTACHMENT, {"weight": 0})
    assert has_learned_rounding(state)
    layer.weight.data = on_grid() + 0.01
    moved = torch.export.export(layer, (torch.zeros(1, 2),))
    assert not has_learned_rounding(ModelState(state.inputs, program=moved, attachments=state.attachments))
