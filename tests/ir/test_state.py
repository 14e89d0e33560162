"""A stored state comes back equal, from the user's source, edits and safetensors, and never from a pickle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.ir.facts import CHANNELS_PRUNED, EXPORTED
from edgewright.ir.state import Edit, InputSpec, ModelState, Record, load, read_history, save
from torch import nn

INPUTS = (InputSpec("image", (None, 3, 4, 4)),)


class Lambdas(nn.Module):
    """A network that can't be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 2, 1)
        self.squash = lambda x: x.tanh()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.squash(self.norm(self.first(x))))


def narrowed() -> tuple[Lambdas, tuple[Edit, ...]]:
    """The network with six channels in the middle, made by hand, and the edits that say so."""
    module = Lambdas()
    module.first, module.norm, module.second = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1)
    edits = (
        Edit("first", {"out_channels": 6}, {"weight": (6, 3, 1, 1), "bias": (6,)}),
        Edit("norm", {"num_features": 6}, dict.fromkeys(["weight", "bias", "running_mean", "running_var"], (6,))),
        Edit("second", {"in_channels": 6}, {"weight": (2, 6, 1, 1)}),
    )
    return module.eval(), edits


def test_a_pruned_module_comes_back_from_source_edits_and_safetensors(tmp_path: Path) -> None:
    module, edits = narrowed()
    state = ModelState(
        inputs=INPUTS,
        module=module,
        facts=frozenset({CHANNELS_PRUNED}),
        edits=edits,
        attachments={"note": [1, 2]},
        history=(Record("prune{}", ("why",)),),
        sha256="abc",
    )
    save(state, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"state.json", "weights.safetensors"}
    loaded = load(tmp_path, Lambdas)
    samples = torch.randn(2, 3, 4, 4)
    assert torch.equal(loaded.torch_module()(samples), module(samples))
    assert (loaded.facts, loaded.edits, loaded.attachments) == (state.facts, edits, {"note": [1, 2]})
    assert (loaded.history, loaded.inputs, loaded.sha256) == (state.history, INPUTS, "abc")
    assert read_history(tmp_path) == state.history
    assert loaded.torch_module().second.in_channels == 6


def test_an_exported_program_comes_back(tmp_path: Path) -> None:
    module, _ = narrowed()
    samples = torch.randn(2, 3, 4, 4)
    save(ModelState(INPUTS, program=torch.export.export(module, (samples,)), facts=frozenset({EXPORTED})), tmp_path)
    loaded = load(tmp_path, Lambdas)
    assert loaded.module is None
    assert torch.equal(loaded.callable_module()(samples), module(samples))


def test_a_state_is_in_exactly_one_stage() -> None:
    with pytest.raises(StepError, match="exactly one"):
        ModelState(INPUTS)
    with pytest.raises(StepError, match="not exported yet"):
        ModelState(INPUTS, module=nn.Identity()).exported_program()


def test_an_input_knows_its_batch() -> None:
    assert (INPUTS[0].batch, INPUTS[0].sample_shape) == (None, (3, 4, 4))
    assert InputSpec("x", (2, 7)).batch == 2
