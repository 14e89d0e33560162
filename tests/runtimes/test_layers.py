"""Which layer of one file is which of another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes import manager
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.recipe.schema import Recipe
from edgewright.runtimes.contract import Layer
from edgewright.runtimes.layers import counterparts, executed_names, last_resort, layers, readable
from edgewright.runtimes.onnxruntime import OnnxEmitter
from edgewright.targets import Target


def module(name: str, *sources: str, operator: str = "Conv", fused: tuple[str, ...] = (), tensor: str = "") -> Layer:
    return Layer(name, True, operator, tensor or name, "float32", sources, fused)


def unnamed(tensor: str, operator: str, *sources: str, fused: tuple[str, ...] = ()) -> Layer:
    return Layer(tensor, False, operator, tensor, "float32", sources, fused)


IMAGE = unnamed("image", "input")


def names(found: list[Layer], others: list[Layer]) -> dict[str, str]:
    return {tensor: other.tensor for tensor, other in counterparts(found, others).items()}


def test_modules_are_found_by_name_and_others_by_what_they_read() -> None:
    found = [IMAGE, module("a", "image"), module("b", "image"), unnamed("add", "Add", "a", "b"), module("c", "add")]
    others = [IMAGE, module("b", "image", tensor="B"), module("a", "image", tensor="A")]
    others += [unnamed("add_7", "Add", "A", "B"), module("c", "add_7", tensor="C")]
    assert names(found, others) == {"image": "image", "a": "A", "b": "B", "add": "add_7", "c": "C"}


def test_the_same_operator_on_other_values_is_another_layer() -> None:
    found = [IMAGE, module("a", "image"), unnamed("add", "Add", "a", "image")]
    others = [IMAGE, module("a", "image"), unnamed("add", "Add", "a", "a"), unnamed("add_1", "Add", "image", "a")]
    assert names(found, others) == {"image": "image", "a": "a"}


def test_behind_a_layer_without_counterpart_modules_are_found_again() -> None:
    found = [IMAGE, unnamed("odd", "Odd", "image"), unnamed("add", "Add", "odd", "image"), module("a", "add")]
    others = [IMAGE, unnamed("add", "Add", "image", "image"), module("a", "add")]
    assert names(found, others) == {"image": "image", "a": "a"}


def test_an_activation_in_one_with_its_layer_is_the_one_behind_the_other() -> None:
    found = [IMAGE, module("a", "image", fused=("Relu",)), module("b", "a")]
    others = [IMAGE, module("a", "image", tensor="A"), unnamed("relu", "Relu", "A"), module("b", "relu", tensor="B")]
    assert names(found, others) == {"image": "image", "a": "relu", "b": "B"}
    fused = [IMAGE, module("a", "image", fused=("Relu",), tensor="A")]
    assert names(found[:2], fused) == {"image": "image", "a": "A"}
    assert names([IMAGE, module("a", "image")], fused) == {"image": "image"}  # its value can't be had there


def test_layers_that_are_alike_are_taken_in_turn() -> None:
    twins = [IMAGE, unnamed("first", "Mul", "image"), unnamed("second", "Mul", "image")]
    assert names(twins, twins) == {"image": "image", "first": "first", "second": "second"}
    called_twice = [IMAGE, module("a", "image", tensor="one"), module("a", "one", tensor="two")]
    assert names(called_twice, called_twice) == {"image": "image", "one": "one", "two": "two"}


@pytest.mark.parametrize("kind", ["Residual", "Dense", "SqueezeExcite", "Shuffled", "Attention"])
def test_every_layer_of_a_quantized_network_is_found_in_the_float_one(
    kind: str,
    networks: ModuleType,
    make_recipe: Callable[..., Recipe],
    make_context: Any,
    tmp_path: Path,
    target: Target,
) -> None:
    images = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    recipe = make_recipe(compress={"quantize": {}})
    context = make_context(calibration=(images, torch.arange(16) % 10))
    module = networks.random(vars(networks)[kind])
    exported = manager.run(Export(), ModelState((InputSpec("image", (1, 3, 16, 16)),), module.eval()), context)
    state = exported
    for step in (FoldBatchnorm(), *(step.for_target(target, recipe) for step in (Calibrate, InsertQuantization))):
        state = manager.run(step, state, context)
    found = []
    for name, each in (("artifact", state), ("baseline", exported)):
        (tmp_path / name).mkdir()
        found.append(layers("onnxruntime", tmp_path / name / OnnxEmitter().emit(each, target, tmp_path / name).main))
    matched = counterparts(*found)
    assert set(matched) == {layer.tensor for layer in found[0]}
    assert len({other.tensor for other in matched.values()}) == len(matched)
    assert all(matched[layer.tensor].name == layer.name for layer in found[0] if layer.is_module and not layer.fused)


def test_a_runtime_whose_files_nobody_reads_is_named() -> None:
    with pytest.raises(InputError, match="a file of onnxruntime or tensorrt or tflite"):
        layers("abacus", Path("file"))


def test_only_an_engine_has_a_model_made_for_it_and_a_last_resort(quantized_models: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    file = quantized_models.convolution(tmp_path / "model.onnx")
    wanted = [layer for layer in layers("tensorrt", file) if layer.name == "image"]
    assert readable("onnxruntime", file, wanted, tmp_path / "to") == (file, {"keep_tensors": ["x_codes"]})
    assert readable("tflite", file, [], tmp_path / "to") == (file, {})
    (tmp_path / "engine.json").write_text("{}")
    assert readable("tensorrt", file, wanted, tmp_path / "to") == (tmp_path / "to" / "model.onnx", {})
    assert {path.name for path in (tmp_path / "to").iterdir()} == {"model.onnx", "engine.json"}
    assert [last_resort(runtime) is not None for runtime in ("onnxruntime", "tflite", "tensorrt")] == [
        False,
        False,
        True,
    ]


def test_names_of_another_runtimes_operators_are_its_own() -> None:
    assert executed_names("tflite", ["CONV_2D_token_1"], Path("file")) == ("CONV_2D_token_1",)
