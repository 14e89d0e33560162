"""Small networks, quantized by hand with the operators that the quantizer uses."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.facts import EXPORTED
from edgewright.ir.state import InputSpec, ModelState, register_quantized_operators
from edgewright.passes import manager
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.runtimes import Emitted, ModelNotes
from edgewright.runtimes.contract import NO_NOTES
from edgewright.runtimes.onnxruntime import OnnxEmitter
from edgewright.targets import Target
from torch import Tensor, nn

IN_SCALE, MIDDLE_SCALE = 0.02, 0.05


def grid(values: Tensor, scale: float, zero_point: int) -> Tensor:
    """`values` on the uint8 grid."""
    q = torch.ops.quantized_decomposed
    codes = q.quantize_per_tensor(values, scale, zero_point, 0, 255, torch.uint8)
    return q.dequantize_per_tensor(codes, scale, zero_point, 0, 255, torch.uint8)


class IntConvolution(nn.Module):
    """A convolution whose weights are int8 and whose bias is int32, behind dequantize nodes."""

    def __init__(self, inputs: int, outputs: int, in_scale: float) -> None:
        super().__init__()
        scales = torch.linspace(0.01, 0.02, outputs)
        self.register_buffer("weights", torch.randint(-127, 128, (outputs, inputs, 3, 3), dtype=torch.int8))
        self.register_buffer("scales", scales)
        self.register_buffer("bias_scales", scales * in_scale)
        self.register_buffer("zeros", torch.zeros(outputs, dtype=torch.int64))
        self.register_buffer("bias", torch.randint(-1000, 1000, (outputs,), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        q = torch.ops.quantized_decomposed
        weights = q.dequantize_per_channel(self.weights, self.scales, self.zeros, 0, -127, 127, torch.int8)
        bias = q.dequantize_per_channel(self.bias, self.bias_scales, self.zeros, 0, -(2**31), 2**31 - 1, torch.int32)
        return nn.functional.conv2d(x, weights, bias, padding=1)


class Quantized(nn.Module):
    """(N, 3, 8, 8) to (N, 4): two convolutions in int8 or, for `float_layer`, the second in float; a linear layer."""

    def __init__(self, float_layer: bool = False) -> None:
        super().__init__()
        self.first = IntConvolution(3, 8, IN_SCALE)
        self.second = nn.Conv2d(8, 8, 3, padding=1) if float_layer else IntConvolution(8, 8, MIDDLE_SCALE)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = grid(torch.relu(self.first(grid(x, IN_SCALE, 128))), MIDDLE_SCALE, 0)
        x = grid(torch.relu(self.second(x)), MIDDLE_SCALE, 0)
        return self.head(x.mean((2, 3)))


Emit = Callable[..., Emitted]


def exported(module: nn.Module, *samples: Tensor, batch: int | None = 1) -> ModelState:
    """The module, exported with an open batch, as a state whose recipe wants `batch`."""
    register_quantized_operators()
    dynamic = tuple({0: torch.export.Dim.DYNAMIC} for _ in samples)
    program = torch.export.export(module.eval(), samples, dynamic_shapes=dynamic)
    inputs = tuple(
        InputSpec(
            f"input_{index}" if index else "image", (batch, *sample.shape[1:]), str(sample.dtype).removeprefix("torch.")
        )
        for index, sample in enumerate(samples)
    )
    return ModelState(inputs, program=program, facts=frozenset({EXPORTED}))


@pytest.fixture
def emit(tmp_path: Path) -> Emit:
    """Emits a module into `tmp_path`: emit(module, *samples, batch=1, emitter=OnnxEmitter(), notes=...)."""

    def run(
        module: nn.Module,
        *samples: Tensor,
        batch: int | None = 1,
        emitter: OnnxEmitter | None = None,
        notes: ModelNotes = NO_NOTES,
    ) -> Emitted:
        state = exported(module, *samples, batch=batch)
        return (emitter or OnnxEmitter()).emit(state, None, tmp_path, notes)  # type: ignore[arg-type]

    return run


@pytest.fixture
def quantized() -> Callable[[bool], nn.Module]:
    """A hand-quantized network; True leaves its second convolution in float."""

    def build(float_layer: bool) -> nn.Module:
        torch.manual_seed(0)
        return Quantized(float_layer)

    return build


@pytest.fixture(scope="session")
def tflite_models() -> ModuleType:
    """tests/runtimes/tflite_models.py: tiny TFLite models, put together from the schema's objects."""
    return _loaded(Path(__file__).with_name("tflite_models.py"))


@pytest.fixture(scope="session")
def onnx_models() -> ModuleType:
    """tests/runtimes/onnx_graph/quantized_models.py: small ONNX models, one function for each form."""
    return _loaded(Path(__file__).parent / "onnx_graph" / "quantized_models.py")


def _loaded(path: Path) -> ModuleType:
    """The file as a module that no import finds."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def for_gpu(make_recipe: Callable[..., Any], make_context: Callable[..., Any]) -> Callable[..., ModelState]:
    """for_gpu(module, target, shape=(3, 16, 16), batch=1): the network, quantized as the profile of a GPU wants it."""

    def run(
        module: nn.Module, target: Target, shape: tuple[int, ...] = (3, 16, 16), batch: int | None = 1
    ) -> ModelState:
        recipe = make_recipe(compress={"quantize": {"calibration": {"samples": 16}}})
        images = torch.randn(16, *shape, generator=torch.Generator().manual_seed(0))
        context = make_context(calibration=(images, torch.arange(16) % 4))
        state = ModelState((InputSpec("image", (batch, *shape)),), module.eval())
        steps = [
            Export(),
            FoldBatchnorm(),
            *(kind.for_target(target, recipe) for kind in (Calibrate, InsertQuantization)),
        ]
        for step in steps:
            state = manager.run(step, state, context, (images[: batch or 3],))
        return state

    return run
