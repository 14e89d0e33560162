"""The TensorRT emitter: what it writes, what NVIDIA's own parser and builder say of it, and what it computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.ir.facts import EXPORTED
from edgewright.ir.state import InputSpec, ModelState
from edgewright.runtimes import tensorrt
from edgewright.runtimes.contract import BatchRange, ModelNotes
from edgewright.runtimes.tensorrt import ENGINE, SCRIPT, VERDICT, TensorrtEmitter
from edgewright.runtimes.tensorrt_build import verdict
from edgewright.runtimes.tensorrt_build.models import FLOAT, HALF, INT8, OPSET
from edgewright.targets import Target, load_target
from torch import Tensor, nn

RTX = ("nvidia-rtx-ampere", "nvidia-rtx-ada", "nvidia-rtx-blackwell")
needs_rtx = pytest.mark.skipif(not verdict.is_installed(), reason=verdict.HOW)
ForGpu = Callable[..., ModelState]


class Inverted(nn.Module):
    """An inverted bottleneck with squeeze and excitation, as MobileNetV2 and EfficientNet are made of, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU())
        self.expand = nn.Sequential(nn.Conv2d(16, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU6())
        self.depthwise = nn.Sequential(nn.Conv2d(64, 64, 3, 1, 1, groups=64, bias=False), nn.BatchNorm2d(64), nn.SiLU())
        self.squeeze, self.excite = nn.Conv2d(64, 8, 1), nn.Conv2d(8, 64, 1)
        self.project = nn.Sequential(nn.Conv2d(64, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.head = nn.Linear(16, 32)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        inner = self.depthwise(self.expand(x))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(nn.functional.adaptive_avg_pool2d(inner, 1)))))
        x = x + self.project(inner * gate)
        outputs: Tensor = self.head(x.mean((2, 3)))
        return outputs


def float_state(module: nn.Module, batch: int | None = 1) -> ModelState:
    sample = torch.randn(2 if batch is None else batch, 3, 16, 16)
    shapes = ({0: torch.export.Dim("batch")},) if batch is None else None
    program = torch.export.export(module.eval(), (sample,), dynamic_shapes=shapes)
    return ModelState((InputSpec("image", (batch, 3, 16, 16)),), program=program, facts=frozenset({EXPORTED}))


def run(file: Path, images: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {"image": images})
    return outputs


def builder(folder: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((folder / VERDICT).read_text())["builder"]
    return answer


def test_the_graph_is_what_tensorrt_wants(for_gpu: ForGpu, tmp_path: Path) -> None:
    target = load_target("nvidia-rtx-ada")
    state = for_gpu(Inverted(), target)
    emitted = TensorrtEmitter().emit(state, target, tmp_path)
    assert emitted.main == INT8
    model = onnx.load(tmp_path / INT8)
    assert target.gpu is not None
    assert OPSET <= model.opset_import[0].version <= target.gpu.latest_opset
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    dequantized = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    weights = [dequantized[node.input[1]] for node in layers if node.op_type == "Conv"]
    assert {constants[node.input[0]].dtype.name for node in weights} == {"int8"}
    assert {attribute.i for node in weights for attribute in node.attribute if attribute.name == "axis"} <= {0}
    for node in (node for node in layers if node.input[1] in dequantized and len(node.input) > 2):
        grids = [dequantized[name] for name in node.input[:2] if name in dequantized]
        types = {constants[name].dtype for name in (node.input[2], *(grid.input[1] for grid in grids))}
        assert len(types) == 1 <= len(grids)
    assert not any(constants[node.input[2]].any() for node in dequantized.values() if len(node.input) > 2)
    images = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
    simulated = state.callable_module()(torch.from_numpy(images)).detach().numpy()
    (step,) = state.attachments["quantization"]["output_steps"]
    assert np.abs(run(tmp_path / INT8, images) - simulated).max() <= step


@needs_rtx
@pytest.mark.parametrize("name", RTX)
def test_every_layer_that_the_profile_wants_in_int8_runs_in_int8(for_gpu: ForGpu, tmp_path: Path, name: str) -> None:
    target = load_target(name)
    state = for_gpu(Inverted(), target)
    emitted = TensorrtEmitter().emit(state, target, tmp_path)
    found = json.loads((tmp_path / VERDICT).read_text())
    said = found["builder"]
    assert (said["is_built"], said["in_float"], said["stands_for"], found["linter"]) == (True, [], "", [])
    assert sorted(said["int8"]) == sorted(found["int8_wanted"])
    layers = state.attachments["quantization"]["layers"]
    assert (emitted.coverage.quantized, len(found["int8_wanted"])) == (len(layers), len(layers))
    assert {"stem.0", "depthwise.0", "squeeze", "excite", "project.0"} <= set(layers)
    assert (tmp_path / ENGINE).stat().st_size == said["engine_bytes"]
    (half,) = found["beside"].values()
    assert (list(found["beside"]), half["is_built"], half["int8"]) == ([HALF], True, [])
    assert emitted.files == (INT8, HALF, "engine.json", VERDICT, SCRIPT, "README.md", ENGINE)
    assert emitted.remarks[-1] == "model.engine was built, never run: there was no such GPU"


@needs_rtx
def test_a_residual_network_builds_with_its_sums(for_gpu: ForGpu, networks: ModuleType, tmp_path: Path) -> None:
    target = load_target("nvidia-rtx-ampere")
    emitted = TensorrtEmitter().emit(for_gpu(networks.random(networks.Residual), target), target, tmp_path)
    assert builder(tmp_path)["in_float"] == []
    assert emitted.coverage.quantized == emitted.coverage.eligible - 1  # the head has ten outputs
    assert [layer for layer, _ in emitted.coverage.left] == ["head"]


@needs_rtx
def test_a_gpu_of_tensorrt_10_gets_the_verdict_of_one_alike_and_no_engine(for_gpu: ForGpu, tmp_path: Path) -> None:
    target = load_target("nvidia-jetson-orin")
    emitted = TensorrtEmitter().emit(for_gpu(Inverted(), target), target, tmp_path)
    assert (builder(tmp_path)["built_for"], builder(tmp_path)["stands_for"]) == ("8.6", "8.7")
    assert not (tmp_path / ENGINE).exists()
    assert "for compute capability 8.6 in place of 8.7, which it does not know, builds it" in emitted.remarks[0]


def test_where_no_builder_can_be_asked_that_is_said(for_gpu: ForGpu, tmp_path: Path) -> None:
    target = load_target("nvidia-t4")
    emitted = TensorrtEmitter().emit(for_gpu(Inverted(), target), target, tmp_path)
    assert emitted.remarks[0].startswith("neither NVIDIA's parser nor its builder was asked (")
    assert emitted.remarks[0].endswith("layers in INT8 are counted on the graph")
    assert emitted.files == (INT8, HALF, "engine.json", VERDICT, SCRIPT, "README.md")
    settings = json.loads((tmp_path / "engine.json").read_text())
    assert len(settings["int8_layers"]) == emitted.coverage.quantized > 0
    assert (settings["compute_capability"], settings["build_for"]) == ("7.5", "")


def test_a_float_network_comes_in_float32_and_float16(tmp_path: Path) -> None:
    torch.manual_seed(0)
    target = load_target("nvidia-rtx-ada")
    emitted = TensorrtEmitter().emit(float_state(Inverted()), target, tmp_path)
    assert (emitted.main, emitted.files[:2]) == (FLOAT, (FLOAT, HALF))
    assert emitted.total_bytes == (tmp_path / FLOAT).stat().st_size
    held = onnx.load(tmp_path / HALF).graph.initializer
    assert {each.data_type for each in held if each.dims and each.data_type != onnx.TensorProto.INT64} == {
        onnx.TensorProto.FLOAT16
    }
    images = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
    wide, narrow = run(tmp_path / FLOAT, images), run(tmp_path / HALF, images)
    assert narrow.dtype == np.float32
    rounding = 8 * float(np.finfo(np.float16).eps)  # eight layers deep, each rounds its values once or twice
    assert 0 < np.abs(wide - narrow).max() <= rounding * np.abs(wide).max()


def test_what_has_no_int8_computes_in_float16(for_gpu: ForGpu, tmp_path: Path) -> None:
    target = load_target("nvidia-t4")
    state = for_gpu(Inverted(), target)
    TensorrtEmitter().emit(state, target, tmp_path)
    model = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / INT8), strict_mode=True)
    types = {each.name: each.type.tensor_type.elem_type for each in (*model.graph.value_info, *model.graph.output)}
    made = {kind: {types[n.output[0]] for n in model.graph.node if n.op_type == kind} for kind in ("Sigmoid", "Mul")}
    assert made == {"Sigmoid": {onnx.TensorProto.FLOAT16}, "Mul": {onnx.TensorProto.FLOAT16}}
    assert types["output"] == model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    images = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
    (step,) = state.attachments["quantization"]["output_steps"]
    in_float16, mixed = run(tmp_path / HALF, images), run(tmp_path / INT8, images)
    assert 0 < np.abs(in_float16 - mixed).max() <= 16 * step  # fifteen roundings of activations lie between them


def test_a_profile_may_keep_float32(for_gpu: ForGpu, tmp_path: Path) -> None:
    target = load_target("nvidia-t4")
    int8 = target.quantization.int8_static
    assert int8 is not None
    quantization = target.quantization.model_copy(
        update={"int8_static": int8.model_copy(update={"float_parts": "float32"})}
    )
    wide = target.model_copy(update={"quantization": quantization})
    TensorrtEmitter().emit(for_gpu(Inverted(), wide), wide, tmp_path)
    constants = onnx.load(tmp_path / INT8).graph.initializer
    assert onnx.TensorProto.FLOAT16 not in {each.data_type for each in constants}


@pytest.mark.parametrize(("batch", "sizes"), [(BatchRange(), (1, 1, 16)), (BatchRange(2, 8, 32), (2, 8, 32))])
def test_an_open_batch_becomes_a_range(tmp_path: Path, batch: BatchRange, sizes: tuple[int, ...]) -> None:
    state, target = float_state(Inverted(), batch=None), load_target("nvidia-t4")
    emitted = TensorrtEmitter().emit(state, target, tmp_path, ModelNotes(batch=batch))
    shapes = json.loads((tmp_path / "engine.json").read_text())["shapes"]["image"]
    assert shapes == {key: [size, 3, 16, 16] for key, size in zip(("min", "opt", "max"), sizes, strict=True)}
    least, best, most = sizes
    said = f"the engine takes {least} to {most} samples at once and is built to be fast at {best}"
    assert said in emitted.remarks
    text = (tmp_path / "README.md").read_text()
    assert f"--optShapes=image:{best}x3x16x16 --maxShapes=image:{most}x3x16x16" in text


@needs_rtx
def test_the_builder_takes_the_range(for_gpu: ForGpu, tmp_path: Path) -> None:
    target = load_target("nvidia-rtx-ada")
    state = for_gpu(Inverted(), target, batch=None)
    TensorrtEmitter().emit(state, target, tmp_path, ModelNotes(batch=BatchRange(2, 8, 32)))
    assert (builder(tmp_path)["is_built"], builder(tmp_path)["in_float"]) == (True, [])


@pytest.mark.parametrize("is_quantized", [False, True])
def test_the_same_state_gives_the_same_models(for_gpu: ForGpu, tmp_path: Path, is_quantized: bool) -> None:
    target, files = load_target("nvidia-t4"), []
    state = for_gpu(Inverted(), target) if is_quantized else float_state(Inverted())
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        TensorrtEmitter().emit(state, target, tmp_path / name)
        files.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert files[0] == files[1]


def test_a_model_that_the_builder_gives_no_engine_of_is_told_without_a_reason_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = verdict.Verdict(built_for="8.6", version="1.7", is_parsed=True)
    monkeypatch.setattr(tensorrt, "ask", lambda *asked: silent)
    emitted = TensorrtEmitter().emit(float_state(nn.Conv2d(3, 16, 3)), load_target("nvidia-jetson-orin"), tmp_path)
    who = "TensorRT for RTX 1.7, for compute capability 8.6"
    assert f"{who}, builds nothing of {HALF}: it gave no reason" in emitted.remarks
    assert any(remark.startswith(f"{who}, refuses the model: it gave no reason") for remark in emitted.remarks)


def changed(target: Target, **keys: Any) -> Target:
    assert target.gpu is not None
    return target.model_copy(update={"gpu": target.gpu.model_copy(update=keys)})


def test_what_it_can_not_emit_is_refused(tmp_path: Path) -> None:
    target, state = load_target("nvidia-t4"), float_state(Inverted())
    with pytest.raises(StepError, match=r"needs 'exported', which does not hold"):
        TensorrtEmitter().emit(ModelState(state.inputs, Inverted()), target, tmp_path)
    with pytest.raises(StepError, match="has no part gpu"):
        TensorrtEmitter().emit(state, load_target("x86-avx2"), tmp_path)
    with pytest.raises(StepError, match=r"in operator set \d+, the target's parser ends at 17"):
        TensorrtEmitter().emit(state, changed(target, latest_opset=17), tmp_path)
