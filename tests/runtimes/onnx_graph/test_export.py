"""The translation that two runtimes share; what it does to a graph is tested where the files are emitted."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.ir.facts import EXPORTED
from edgewright.ir.state import InputSpec, ModelState
from edgewright.runtimes.contract import NO_NOTES
from edgewright.runtimes.onnx_graph.export import BATCH, exported, save
from torch import nn

OPEN = InputSpec("image", (None, 3, 8, 8), "float32")


def state_of(spec: InputSpec) -> ModelState:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5)).eval()
    batch = {0: torch.export.Dim("batch")} if spec.batch is None else {}
    program = torch.export.export(network, (torch.randn(2, 3, 8, 8),), dynamic_shapes=(batch,))
    return ModelState(inputs=(spec,), program=program, facts=frozenset({EXPORTED}))


def test_an_open_batch_has_a_name_and_the_other_axes_stay_fixed(tmp_path: Path) -> None:
    assert save(exported(state_of(OPEN), NO_NOTES, "tensorrt"), tmp_path / "any.onnx", 1 << 30, "tensorrt") == (
        "any.onnx",
    )
    (given,) = onnx.load(tmp_path / "any.onnx").graph.input
    axes = given.type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == [BATCH, 3, 8, 8]


def test_weights_lie_beside_a_file_of_any_name(tmp_path: Path) -> None:
    files = save(exported(state_of(OPEN), NO_NOTES, "tensorrt"), tmp_path / "any.onnx", 100, "tensorrt")
    assert files == ("any.onnx", "any.onnx.data")
    assert (tmp_path / "any.onnx.data").stat().st_size >= 4 * 144 * 5


def test_what_can_not_be_said_is_said_of_the_runtime_that_asked() -> None:
    other = InputSpec("image", (3, 3, 8, 8), "float32")
    with pytest.raises(StepError, match=r"^tensorrt: input 'image' was exported as \[2, 3, 8, 8\]"):
        exported(state_of(other), NO_NOTES, "tensorrt")
    output = InputSpec("output", (None, 3, 8, 8), "float32")
    with pytest.raises(StepError, match=r"^tensorrt: an input can't be called 'output'"):
        exported(state_of(output), NO_NOTES, "tensorrt")
