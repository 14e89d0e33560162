"""Weights as indices and codebooks: a smaller file of which onnxruntime makes the very network again."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from edgewright.ir.facts import EXPORTED
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes import manager
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.contract import Context
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.passes.share_weights import ShareWeights
from edgewright.recipe.schema import Recipe
from edgewright.runtimes.onnx_graph.codebooks import store_codebooks
from edgewright.runtimes.onnx_graph.coverage import coverage
from edgewright.runtimes.onnx_graph.layers import layers
from edgewright.runtimes.onnxruntime import MODEL, OnnxEmitter
from edgewright.targets import load_target
from torch import nn

TARGET = "x86-avx512-vnni"
SPECS = (InputSpec("image", (None, 3, 16, 16)),)
QUANTIZED = {"quantize": {"calibration": {"samples": 32}}}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 40, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(40, 50),
    ).eval()


@pytest.fixture
def made(make_recipe: Callable[..., Recipe], make_context: Callable[..., Context], tmp_path: Path) -> Any:
    """made(compress): the state for x86 and its file, in a folder of its own, for a network of three layers."""

    def make(**compress: Any) -> tuple[ModelState, Path]:
        target, recipe = load_target(TARGET), make_recipe(compress=compress)
        generator = torch.Generator().manual_seed(0)
        context = make_context(calibration=(torch.randn(32, 3, 16, 16, generator=generator), torch.zeros(32).long()))
        kinds: list[Any] = [ShareWeights, Calibrate, InsertQuantization]
        steps = [Export(), FoldBatchnorm(), *(kind.for_target(target, recipe) for kind in kinds)]
        state = ModelState(SPECS, network())
        for step in steps:
            state = state if step is None else manager.run(step, state, context)
        folder = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        OnnxEmitter().emit(state, target, folder)
        return state, folder / MODEL

    return make


def outputs(file: Path, images: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"image": images.numpy()})[0]
    return found


def optimized(file: Path, folder: Path) -> onnx.GraphProto:
    """What onnxruntime runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimized.onnx").graph


@pytest.mark.parametrize(("clusters", "bits"), [(16, 4), (64, 8), (300, 16)])
def test_the_file_is_as_small_as_its_indices_and_gives_the_very_same(
    clusters: int, bits: int, made: Any, tmp_path: Path
) -> None:
    state, file = made(share_weights={"clusters": clusters})
    _, plain = made()
    graph = onnx.load(file).graph
    decoded = {node.output[0].removesuffix("_decoded") for node in graph.node if node.op_type == "Gather"}
    held = {name: count for name, count in state.attachments["shared_weights"]["counts"].items() if name in decoded}
    sizes = [len(weight.flatten()) for name, weight in state.exported_program().state_dict.items() if name in held]
    saved = sum(size * (4 - bits / 8) for size in sizes) - 4 * sum(held.values())
    overhead = 400 * len(held)  # names and nodes
    assert held
    assert 0 <= file.stat().st_size - (plain.stat().st_size - saved) < overhead
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    unshared = ModelState(SPECS, program=state.exported_program(), facts=frozenset({EXPORTED}))
    (tmp_path / "as-floats").mkdir()
    OnnxEmitter().emit(unshared, load_target(TARGET), tmp_path / "as-floats")
    assert np.array_equal(outputs(file, images), outputs(tmp_path / "as-floats" / MODEL, images))


def test_what_onnxruntime_computes_is_what_torch_computes(made: Any) -> None:
    state, file = made(share_weights={"clusters": 16})
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = state.callable_module()(images)
    torch.testing.assert_close(torch.from_numpy(outputs(file, images)), expected)


@pytest.mark.parametrize("compress", [{}, QUANTIZED])
def test_nothing_is_left_to_decode_once_it_is_loaded(compress: dict[str, Any], made: Any, tmp_path: Path) -> None:
    _, shared = made(share_weights={"clusters": 16}, **compress)
    _, plain = made(**compress)
    kinds = [[node.op_type for node in optimized(file, tmp_path).node] for file in (shared, plain)]
    assert "Gather" not in kinds[0]
    assert kinds[0] == kinds[1]


def test_integers_of_few_values_are_packed_and_their_layers_stay_in_int8(made: Any) -> None:
    state, shared = made(share_weights={"clusters": 16}, **QUANTIZED)
    _, plain = made(**QUANTIZED)
    assert shared.stat().st_size < 0.75 * plain.stat().st_size
    found = coverage(shared)
    assert (found.quantized, found.eligible) == (3, 3)
    assert [(layer.name, layer.is_module) for layer in layers(shared)] == [
        (layer.name, layer.is_module) for layer in layers(plain)
    ]
    images = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = state.callable_module()(images)
    step = state.attachments["quantization"]["output_steps"][0]
    steps = (torch.from_numpy(outputs(shared, images)) - expected).abs() / step
    assert float((steps < 1.5).double().mean()) > OnnxEmitter.within_one


def test_integers_of_more_values_lie_as_they_were_and_compress(made: Any) -> None:
    _, shared = made(share_weights={"clusters": 64}, **QUANTIZED)
    _, plain = made(**QUANTIZED)
    assert len(zlib.compress(shared.read_bytes())) < 0.95 * len(zlib.compress(plain.read_bytes()))


def test_parameters_and_work_are_counted_as_before(make_context: Callable[..., Context], tmp_path: Path) -> None:
    state = ModelState(SPECS, network())
    for step in (Export(), FoldBatchnorm()):
        state = manager.run(step, state, make_context())
    found = []
    for number, each in enumerate(
        (state, manager.run(ShareWeights(clusters=16, clusters_linear=16), state, make_context()))
    ):
        (tmp_path / str(number)).mkdir()
        found.append(OnnxEmitter().emit(each, load_target(TARGET), tmp_path / str(number)))
    assert (found[0].macs, found[0].parameters) == (found[1].macs, found[1].parameters)
    assert found[1].total_bytes == (tmp_path / "1" / MODEL).stat().st_size < found[0].total_bytes


def small_model(weights: np.ndarray, *more: onnx.NodeProto) -> onnx_ir.Model:
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"]), *more],
        "small",
        [info("x", onnx.TensorProto.FLOAT, [1, weights.shape[0]])],
        [info("y", onnx.TensorProto.FLOAT, [1, weights.shape[1]])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    return onnx_ir.from_proto(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]))


def test_what_would_not_become_smaller_lies_as_it_was() -> None:
    rng = np.random.default_rng(0)
    for weights in (rng.standard_normal((30, 40)), rng.integers(0, 2, (2, 2)), rng.standard_normal((40, 1))):
        model = small_model(weights.astype(np.float32))
        assert store_codebooks(model) == ()
        assert [node.op_type for node in model.graph] == ["MatMul"]
        assert model.graph.opset_imports[""] == 18


def test_an_operator_that_a_newer_set_changed_leaves_indices_at_a_byte(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).integers(-3, 4, (40, 40)).astype(np.float32)
    norm = onnx.helper.make_node("GroupNormalization", ["y", "y", "y"], ["z"], num_groups=2)
    for more, kind, opset in ((), "UINT4", 21), ((norm,), "UINT8", 18):
        model = small_model(weights, *more)
        assert store_codebooks(model) == ("w",)
        assert model.graph.initializers["w_index"].dtype == onnx_ir.DataType[kind]
        assert model.graph.opset_imports[""] == opset


def test_zeros_of_both_signs_come_back(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).choice(np.array([0.0, -0.0, 1.5], np.float32), (64, 8))
    model = small_model(weights)
    store_codebooks(model)
    onnx_ir.save(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    x = np.eye(64, dtype=np.float32)[:1]
    assert session.run(None, {"x": x})[0].tolist() == (x @ weights).tolist()
    graph = onnx.load(tmp_path / "model.onnx").graph
    codebook = next(onnx.numpy_helper.to_array(each) for each in graph.initializer if each.name == "w_codebook")
    assert sorted(np.signbit(codebook).tolist()) == [False, False, True]
