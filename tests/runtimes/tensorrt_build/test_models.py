from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.ir.facts import EXPORTED
from edgewright.ir.state import InputSpec, ModelState
from edgewright.runtimes.contract import NO_NOTES
from edgewright.runtimes.tensorrt_build.models import FLOAT, HALF, INT8, Models, write_models
from edgewright.targets import Target, load_target
from torch import Tensor, nn

TARGET = load_target("nvidia-rtx-ampere")
ForGpu = Callable[..., ModelState]


class Gated(nn.Module):
    """(N, 3, 8, 8) to (N, 16): two convolutions and a SiLU; then a constant is added, of this size."""

    def __init__(self, added: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.register_buffer("added", torch.full((16,), added))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.silu(self.first(x))
        x = torch.relu(self.second(x)).mean((2, 3)) + self.added
        return torch.sigmoid(x)


def written(state: ModelState, out: Path, target: Target = TARGET) -> Models:
    assert target.gpu is not None
    return write_models(state, target, target.gpu, out, NO_NOTES)


def float_state(module: nn.Module) -> ModelState:
    program = torch.export.export(module.eval(), (torch.zeros(1, 3, 8, 8),))
    return ModelState((InputSpec("image", (1, 3, 8, 8)),), program=program, facts=frozenset({EXPORTED}))


def kinds(file: Path) -> set[int]:
    """The types of the model's stored values."""
    return {each.data_type for each in onnx.load(file).graph.initializer}


def without(target: Target, precision: str) -> Target:
    assert target.gpu is not None
    left = tuple(each for each in target.gpu.precisions if each != precision)
    return target.model_copy(update={"gpu": target.gpu.model_copy(update={"precisions": left})})


def test_a_quantized_network_comes_with_itself_in_float16(for_gpu: ForGpu, tmp_path: Path) -> None:
    models = written(for_gpu(Gated(), TARGET, (3, 8, 8)), tmp_path)
    assert models == Models((INT8,), (HALF,))
    types = onnx.TensorProto
    assert {types.INT8, types.FLOAT16, types.FLOAT} <= kinds(tmp_path / INT8)
    assert kinds(tmp_path / HALF) & {types.INT8, types.FLOAT16, types.FLOAT} == {types.FLOAT16}
    operators = {node.op_type for node in onnx.load(tmp_path / HALF).graph.node}
    assert not operators & {"QuantizeLinear", "DequantizeLinear"}


def test_where_there_is_no_float16_there_is_one_model(for_gpu: ForGpu, tmp_path: Path) -> None:
    target = without(TARGET, "fp16")
    state = for_gpu(Gated(), target, (3, 8, 8))
    assert written(state, tmp_path, target) == Models((INT8,))
    assert onnx.TensorProto.FLOAT16 not in kinds(tmp_path / INT8)


def test_what_float16_can_not_hold_stays_float32_and_is_said(for_gpu: ForGpu, tmp_path: Path) -> None:
    models = written(for_gpu(Gated(1e5), TARGET, (3, 8, 8)), tmp_path)
    assert (models.main, models.beside) == ((INT8,), ())
    first, second = models.remarks
    assert first.startswith("what has no INT8 computes in float32: ")
    assert first.endswith(" is above 65504 somewhere, which float16 does not hold")
    assert second.startswith(f"there is no {HALF}: ")
    assert onnx.TensorProto.FLOAT16 not in kinds(tmp_path / INT8)


def test_a_float_network_in_both_types_or_in_the_one_that_was_asked_for(
    tmp_path: Path,
) -> None:
    assert written(float_state(Gated()), tmp_path) == Models((FLOAT,), (HALF,))
    assert written(float_state(Gated(1e5)), tmp_path).beside == ()
    half = float_state(Gated()).with_attachment("halved", {})
    assert written(half, tmp_path) == Models((HALF,))
    with pytest.raises(StepError, match="is above 65504 somewhere"):
        written(float_state(Gated(1e5)).with_attachment("halved", {}), tmp_path)
