"""What TensorRT makes of a model: each broken form is found, with its layer; right ones are left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from edgewright.ir.errors import InputError
from edgewright.runtimes.onnx_graph.tensorrt_rules import ERRORS, Finding, lint
from edgewright.targets import load_target

Linter = Callable[..., list[str]]
RIGHT: dict[str, Any] = {"inputs": {}, "weights": {}}


@pytest.fixture
def linted(tmp_path: Path) -> Linter:
    """linted(model, target): the findings, as they are printed."""

    def run(model: onnx.ModelProto, target: str = "nvidia-rtx-ada") -> list[str]:
        onnx.save(model, str(tmp_path / "model.onnx"))
        return [str(finding) for finding in lint(tmp_path / "model.onnx", load_target(target))]

    return run


@pytest.mark.parametrize("changed", [
    {},
    {"weights": {"scale": 0.01}},
    {"opset": 13},
    {"opset": 24},
    {"inputs": {"float8": True}, "float8_weights": True},
    {"inputs": None, "weights": None},
], ids=str)  # fmt: skip
def test_a_right_convolution_is_left_alone(
    changed: dict[str, Any], quantized_models: ModuleType, linted: Linter
) -> None:
    assert linted(quantized_models.convolution(**{**RIGHT, **changed})) == []


@pytest.mark.parametrize(("changed", "finding"), [
    (
        {"weights": {"axis": 1}},
        "runs in float: conv3: weights are quantized along axis 1, not 0; TensorRT would run it in float",
    ),
    (
        {"inputs": {"scale": np.full(32, 0.05), "axis": 1}},
        "runs in float: conv3: its input has a scale for each channel; TensorRT would run it in float",
    ),
    (
        {"weights": None},
        "runs in float: conv3: its input is quantized and its weights not; TensorRT would run it in float",
    ),
    (
        {"inputs": None},
        "runs in float: conv3: its weights are quantized and its input is not; TensorRT would run it in float",
    ),
    (
        {"inputs": {"zero_point": np.uint8(0)}},
        "wrong numbers: conv3: its input: quantized as uint8, which TensorRT reads as int8:"
        " what is above 127 steps is cut off",
    ),
    (
        {"inputs": {"zero_point": None}},  # ONNX takes uint8 where nothing is said
        "wrong numbers: conv3: its input: quantized as uint8, which TensorRT reads as int8:"
        " what is above 127 steps is cut off",
    ),
    (
        {"inputs": {"zero_point": np.int8(3)}},
        "refused: conv3: its input: the zero point is 3; TensorRT takes symmetric grids only",
    ),
    (
        {"inputs": {"zero_point": np.uint8(128)}},
        "refused: conv3: its input: the zero point is 128; TensorRT takes symmetric grids only",
    ),
    (
        {"weights": {"zero_point": np.int8(-2)}},
        "refused: conv3: its weights: the zero point is -2; TensorRT takes symmetric grids only",
    ),
    ({"inputs": {"scale": 0.0}}, "refused: conv3: its input: a scale is 0; TensorRT takes scales above 0 only"),
    ({"inputs": {"scale": -0.5}}, "refused: conv3: its input: a scale is -0.5; TensorRT takes scales above 0 only"),
    ({"inputs": {"scale": np.nan}}, "refused: conv3: its input: a scale is nan; TensorRT takes scales above 0 only"),
    (
        {"weights": {"scale": np.where(np.arange(32) == 3, 0, 0.01)}},
        "refused: conv3: its weights: a scale is 0; TensorRT takes scales above 0 only",
    ),
    (
        {"inputs": {"zero_point": np.int16(0)}, "opset": 21},
        "refused: conv3: its input: quantized as int16; TensorRT takes int8 and FP8 E4M3",
    ),
    ({"bias": "int32"}, "refused: conv3: its bias: int32 behind a dequantize node; keep it float32"),
    (
        {"inputs": {"float8": True}},
        "refused: conv3: its input is FP8 and its weights are INT8; the builder fails where they differ",
    ),
    (
        {"float8_weights": True},
        "refused: conv3: its input is INT8 and its weights are FP8; the builder fails where they differ",
    ),
    (
        {"kind": "ConvTranspose", "weights": {"axis": 1}},
        "runs in float: conv3: TensorRT for RTX has no INT8 transposed convolution; it would run it in float",
    ),
    ({"opset": 28}, "note: the model: it uses operator set 28; the parser there is known to read up to 27"),
], ids=str)  # fmt: skip
def test_a_broken_convolution_is_found_once_with_its_reason(
    changed: dict[str, Any], finding: str, quantized_models: ModuleType, linted: Linter
) -> None:
    assert linted(quantized_models.convolution(**{**RIGHT, **changed})) == [finding]


@pytest.mark.parametrize(("kind", "options"), [
    ("Gemm", {"transposed": True, "axis": 0}),
    ("Gemm", {"axis": 1}),
    ("MatMul", {"axis": 1}),
    ("MatMul", {"behind": True, "axis": 0}),
])  # fmt: skip
def test_a_product_has_its_scales_along_its_outputs(
    kind: str, options: dict[str, Any], quantized_models: ModuleType, linted: Linter
) -> None:
    assert linted(quantized_models.product(kind, **options)) == []
    wrong = quantized_models.product(kind, **{**options, "axis": 1 - options["axis"]})
    (found,) = linted(wrong)
    assert found.startswith("runs in float: fc: weights are quantized along axis ")


def test_small_products_are_told_of_and_are_no_error(quantized_models: ModuleType, linted: Linter) -> None:
    (found,) = linted(quantized_models.product("Gemm", 10, axis=1))
    assert found == (
        "note: fc: its weights are 48 by 10, with fewer than 16: in INT8 it is slower than in float; leave it out"
    )


@pytest.mark.parametrize(("inputs", "side", "groups", "is_told"), [
    (4, 1, 1, True),
    (5, 1, 1, False),
    (4, 2, 1, False),
    (4, 1, 2, False),
])  # fmt: skip
def test_few_inputs_at_one_position_are_told_of(
    inputs: int, side: int, groups: int, is_told: bool, quantized_models: ModuleType, linted: Linter
) -> None:
    builder = quantized_models.Builder()
    stored = builder.weights("w", quantized_models.integers(32, inputs, 1, 1))
    builder.node("Conv", [builder.rounded("x", "given"), stored], "y", name="excite", group=groups)
    told = f"note: excite: {inputs} inputs at one position, with fewer than 5: a single sample runs in float"
    assert linted(builder.model([1, inputs * groups, side, side])) == ([told] if is_told else [])


@pytest.mark.parametrize("kind", ["MaxPool", "Pad"])
def test_what_only_moves_values_is_looked_through(kind: str, quantized_models: ModuleType, linted: Linter) -> None:
    assert linted(quantized_models.moved(kind)) == []


def test_a_residual_in_float_and_a_late_activation_are_told_of(quantized_models: ModuleType, linted: Linter) -> None:
    assert linted(quantized_models.block()) == []
    assert linted(quantized_models.block("float")) == [
        "note: add: it adds x in float: one more float tensor is written and read; quantize it behind a node of its own"
    ]
    assert linted(quantized_models.block(early=True)) == [
        "note: conv3: its output is quantized before its activation, which breaks their fusion and rounds once more"
    ]


def test_operators_on_integers_are_refused_by_name(quantized_models: ModuleType, linted: Linter) -> None:
    (found,) = linted(quantized_models.of_integer_operators("QLinearConv"))
    assert found.startswith("refused: conv3: QLinearConv computes on integers")
    found = "\n".join(linted(quantized_models.of_integer_operators("ConvInteger")))
    assert "refused: dynamic: DynamicQuantizeLinear computes" in found
    assert "refused: conv3: ConvInteger computes" in found


@pytest.mark.parametrize(("where", "is_refused"), [
    ("both", True),
    ("dequantize", True),
    ("weights", True),
    ("quantize", False),
    ("constant", False),
])  # fmt: skip
def test_a_dequantize_nodes_scale_must_be_stored(
    where: str, is_refused: bool, quantized_models: ModuleType, linted: Linter
) -> None:
    what = "weights" if where == "weights" else "input"
    why = f"refused: conv3: its {what}: the scale is computed at run time; TensorRT wants it stored"
    assert linted(quantized_models.with_computed_scale(where)) == ([why] if is_refused else [])


def test_an_operator_that_the_parser_does_not_know_is_named(quantized_models: ModuleType, linted: Linter) -> None:
    builder = quantized_models.Builder()
    builder.node("Det", ["x"], "d", name="volume")
    builder.nodes.append(onnx.helper.make_node("Fancy", ["d"], ["y"], name="own", domain="com.example"))
    assert linted(builder.model([4, 4])) == [
        "refused: volume: TensorRT has no operator Det",
        "refused: own: Fancy of the domain com.example needs a plugin",
    ]


@pytest.mark.parametrize(("target", "dtype"), [("nvidia-t4", "BFLOAT16"), ("nvidia-rtx-ampere", "FLOAT8E4M3FN")])
def test_types_that_a_gpu_lacks_are_refused(
    target: str, dtype: str, quantized_models: ModuleType, linted: Linter
) -> None:
    if dtype == "BFLOAT16":
        model = quantized_models.of_bfloat16()
    else:
        model = quantized_models.convolution({"float8": True}, float8_weights=True)
    (found,) = linted(model, target)
    capability = {"nvidia-t4": "7.5", "nvidia-rtx-ampere": "8.6"}[target]
    assert found == f"refused: the model: it holds {dtype}, which compute capability {capability} does not have"
    assert linted(model, "nvidia-hopper") == []


def test_layers_are_called_by_the_users_modules(quantized_models: ModuleType, linted: Linter) -> None:
    builder = quantized_models.Builder()
    weights = quantized_models.integers(32, 32, 3, 3)
    rounded = builder.weights("body.2.conv.quantized_weight", weights)
    builder.node("Conv", ["x", rounded], "y", name="node_conv2d_7")
    (found,) = linted(builder.model([1, 32, 8, 8]))
    assert found.startswith("runs in float: body.2.conv: its weights are quantized and its input is not")


def test_the_worst_comes_first_and_notes_are_no_errors(quantized_models: ModuleType, linted: Linter) -> None:
    found = linted(quantized_models.convolution({"zero_point": np.int8(1)}, {"axis": 1}, bias="int32", opset=28))
    severities = [line.partition(":")[0] for line in found]
    assert severities == ["refused", "refused", "runs in float", "note"]
    assert [Finding("a", severity, "b").is_error for severity in (*ERRORS, "note")] == [True, True, True, False]  # type: ignore[arg-type]


def test_other_targets_are_refused_with_those_that_can_be_linted(quantized_models: ModuleType, linted: Linter) -> None:
    with pytest.raises(InputError, match=r"nvidia-hopper, nvidia-jetson-orin, .* got x86-avx2, whose runtime"):
        linted(quantized_models.convolution(**RIGHT), "x86-avx2")


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", None])
def test_a_file_that_is_no_model_is_refused(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.onnx: expected an ONNX model"):
        lint(file, load_target("nvidia-rtx-ada"))
