"""Stored weights in onnxruntime: the same answers as the state's, smaller files, and the kernels that were meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes import ALL, manager
from edgewright.passes.contract import Context
from edgewright.recipe.schema import Recipe
from edgewright.runtimes import Emitted
from edgewright.runtimes.onnxruntime import OnnxEmitter
from edgewright.targets import load_target
from torch import Tensor, nn

FORMS: dict[str, dict[str, Any]] = {
    "float32": {},
    "dynamic": {"mode": "dynamic"},
    "int8": {"mode": "weight-only"},
    "int8, one scale": {"mode": "weight-only", "weights": {"granularity": "per-tensor"}},
    "int4": {"mode": "weight-only", "weights": {"bits": 4, "group": 16}},
    "float16": {"precision": "float16"},
}
SIZES = {
    "dynamic": (0.2, 0.4),
    "int8": (0.2, 0.4),
    "int8, one scale": (0.2, 0.4),
    "int4": (0.1, 0.3),
    "float16": (0.45, 0.6),
}
"""What the file takes of the float32 one, of networks of matrix products alone."""


class Rows(nn.Module):
    """Matrix products with and without a bias; two of them read the same tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left = nn.Linear(64, 128), nn.Linear(128, 64)
        self.right, self.head = nn.Linear(128, 64, bias=False), nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        outputs: Tensor = self.head(self.left(x) * self.right(x).sigmoid())
        return outputs


class Images(nn.Module):
    """Convolutions, one of them transposed, and a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.wide = nn.Conv2d(3, 16, 3), nn.ConvTranspose2d(16, 32, 2)
        self.head = nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.wide(self.first(x).relu()).relu().mean((2, 3)))
        return outputs


NETWORKS = {"rows": (Rows, (64,)), "tokens": (Rows, (5, 64)), "images": (Images, (3, 8, 8))}


@pytest.fixture
def emitted(
    make_recipe: Callable[..., Recipe], make_context: Callable[..., Context], tmp_path: Path
) -> Callable[..., tuple[ModelState, Emitted, Path]]:
    """emitted(network, form): the state that a plan for x86-avx2 makes, what was emitted of it, and where."""

    def emit(kind: str, form: str) -> tuple[ModelState, Emitted, Path]:
        torch.manual_seed(0)
        network, shape = NETWORKS[kind]
        target, emitter, folder = load_target("x86-avx2"), OnnxEmitter(), tmp_path / kind / form
        folder.mkdir(parents=True)
        recipe = make_recipe(compress={"quantize": FORMS[form]} if FORMS[form] else {})
        state = ModelState((InputSpec("image", (None, *shape)),), network().eval())
        for planned in manager.plan(recipe, target, ALL, emitter.name, emitter.needs).steps:
            state = manager.run(planned.step, state, make_context(calibration=(torch.zeros(4, *shape), torch.zeros(4))))
        return state, emitter.emit(state, target, folder), folder

    return emit


def answers(file: Path, given: Tensor) -> Any:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": given.numpy()})[0]


def run_as(file: Path, folder: Path) -> Counter[str]:
    """How often the graph that onnxruntime runs has each operator."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


@pytest.mark.parametrize("form", list(FORMS)[1:])
@pytest.mark.parametrize("kind", NETWORKS)
def test_it_answers_what_was_simulated(kind: str, form: str, emitted: Callable[..., Any]) -> None:
    state, found, folder = emitted(kind, form)
    given = torch.randn(32, *NETWORKS[kind][1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = state.callable_module()(given).numpy()
    off = np.abs(answers(folder / found.main, given) - wanted) / np.abs(wanted).max()
    # A value in the middle of two steps may be rounded the other way where an input's own grid is fitted.
    assert off.max() < (0.02 if form == "dynamic" else 1e-5)
    assert off.mean() < 1e-3
    if form == "int8":
        _, floats, _ = emitted(kind, "float32")
        assert (found.macs, found.parameters) == (floats.macs, floats.parameters)


@pytest.mark.parametrize("form", SIZES)
def test_files_are_as_small_as_their_weights(form: str, emitted: Callable[..., Any]) -> None:
    _, found, _ = emitted("rows", form)
    _, floats, _ = emitted("rows", "float32")
    low, high = SIZES[form]
    assert low < found.total_bytes / floats.total_bytes < high


def test_the_kernels_are_those_that_were_meant(emitted: Callable[..., Any], tmp_path: Path) -> None:
    for kind in ("rows", "tokens"):
        _, found, folder = emitted(kind, "dynamic")
        operators = run_as(folder / found.main, tmp_path)
        # Two layers share one quantized input, which is then quantized by a node of its own.
        assert operators["DynamicQuantizeMatMul"] + operators["MatMulIntegerToFloat"] == 4
        assert not {"MatMul", "Gemm", "MatMulInteger", "DequantizeLinear"} & set(operators)
        assert (found.coverage.quantized, found.coverage.eligible) == (4, 4)
        _, found, folder = emitted(kind, "int4")
        assert run_as(folder / found.main, tmp_path)["MatMulNBits"] == 4
    _, floats, beside = emitted("images", "float32")
    for form in ("int8", "float16"):
        _, found, folder = emitted("images", form)
        assert run_as(folder / found.main, tmp_path) == run_as(beside / floats.main, tmp_path)


def test_dynamic_products_have_weights_that_do_not_saturate(emitted: Callable[..., Any]) -> None:
    """x86-avx2 adds two products in sixteen bits."""
    _, found, folder = emitted("rows", "dynamic")
    stored = {weight.name: weight for weight in onnx.load(folder / found.main).graph.initializer}
    integers = [onnx.numpy_helper.to_array(weight) for name, weight in stored.items() if name.endswith("_integers")]
    assert len(integers) == 4
    assert all(np.abs(values.astype(int)).max() == 63 for values in integers)


def test_the_same_state_gives_the_same_bytes(emitted: Callable[..., Any], tmp_path: Path) -> None:
    for form in ("dynamic", "int4", "float16"):
        state, found, folder = emitted("tokens", form)
        again = OnnxEmitter().emit(state, load_target("x86-avx2"), tmp_path)
        assert (tmp_path / again.main).read_bytes() == (folder / found.main).read_bytes()
