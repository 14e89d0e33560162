from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.runtimes.flatbuffer.coverage import WEIGHTS, count, coverage, layer_name, transposes
from edgewright.runtimes.flatbuffer.file import read, write
from edgewright.runtimes.flatbuffer.graph import operators
from torch import nn

Save = Callable[[Any], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def run(model: Any) -> Path:
        write(model, tmp_path / "model.tflite")
        return tmp_path / "model.tflite"

    return run


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.in_first = nn.Conv2d(4, 4, 3, padding=1, groups=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.in_first(x))


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float network as litert-torch writes it, (1, 8, 8, 3) to (1, 5)."""
    import litert_torch

    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU(), Block(), nn.Flatten(), nn.Linear(256, 5)
    )
    path = tmp_path_factory.mktemp("converted") / "model.tflite"
    with contextlib.redirect_stdout(io.StringIO()):
        module = litert_torch.to_channel_last_io(network.eval(), args=[0])
        litert_torch.convert(module.eval(), (torch.randn(1, 8, 8, 3),)).export(str(path))
    return path


def test_layers_have_the_names_of_their_modules(converted: Path) -> None:
    layers = [operator for operator in operators(read(converted)) if operator.name in WEIGHTS]
    assert [layer_name(layer) for layer in layers] == ["0", "2.in_first", "4"]


def test_what_a_converted_network_computes_and_holds_is_counted(converted: Path) -> None:
    macs = 64 * 4 * 27 + 64 * 4 * 9 + 256 * 5
    weights = 4 * 27 + (4 * 9 + 4) + (256 * 5 + 5)
    zeros = 4  # the bias that TFLite's convolution wants where the module has none
    assert count(converted) == (macs, weights + zeros)


def test_a_float_model_has_none_of_its_layers_in_integers(converted: Path) -> None:
    found = coverage(converted)
    assert (found.quantized, found.eligible, found.left, found.float_operators) == (0, 3, (), ())
    assert len(transposes(converted)) == 1  # Flatten wants the channels first


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b.Net/torch.nn.modules.conv.Conv2d_conv_1;2", "conv_1"),
        ("a.Net/a.Block_layer1/a._Conv_0;;a.Net/a.Relu_act;", "layer1.0"),
        ("litert_torch._convert.Wrapper/__main__.Net_wrapped/x.Conv2d_first;", "first"),
        ("layer1.0.conv1;", "layer1.0.conv1"),
        ("model/conv2d_1/Conv2D", "model/conv2d_1/Conv2D"),
        ("arith.constant3", "CONV_2D 0"),
    ],
)
def test_names_of_converters_are_read(name: str, expected: str, tflite_models: ModuleType) -> None:
    weights = tflite_models.Value(name, (1, 1, 1, 1), data=np.ones(1, np.float32))
    values = [tflite_models.Value(text, (1, 1, 1, 1)) for text in ("x", "arith.constant")]
    step = tflite_models.Step("CONV_2D", ("x", name), ("arith.constant",), tflite_models.convolution_options())
    (layer,) = operators(tflite_models.build([weights, *values], [step], ["x"], ["arith.constant"]))
    assert layer_name(layer) == expected


def test_an_integer_model_is_covered_whole(tflite_models: ModuleType, save: Save) -> None:
    found = coverage(save(tflite_models.convolution("int8")))
    assert (found.quantized, found.eligible, found.left, found.conversions, found.float_operators) == (1, 1, (), 0, ())


def test_conversions_are_counted(tflite_models: ModuleType, save: Save) -> None:
    found = coverage(save(tflite_models.convolution()))
    assert (found.quantized, found.conversions, found.float_operators) == (1, 2, ())


def _with_second_layer(models: ModuleType, how: str) -> Any:
    """A quantized convolution, and behind it a layer (4, 4) that is float in one way or another."""
    weights = np.ones((4, 4), np.int8)
    codes = models.Value("second", (4, 4), "int8", (0.1,) * 4, (0,) * 4, 0, weights)
    floats = models.Value("second", (4, 4), data=weights.astype(np.float32))
    more = [models.Value("out", (1, 4, 4, 4)), models.Value("dequantized", (4, 4))]
    match how:
        case "weights":
            steps = [models.Step("FULLY_CONNECTED", ("scores", "second", ""), ("out",))]
        case "hybrid":
            steps = [models.Step("FULLY_CONNECTED", ("scores", "second", ""), ("out",))]
        case "dequantized":
            steps = [
                models.Step("DEQUANTIZE", ("second",), ("dequantized",)),
                models.Step("FULLY_CONNECTED", ("scores", "dequantized", ""), ("out",)),
            ]
        case _:
            steps = [models.Step("FULLY_CONNECTED", ("image_4", "second", ""), ("out",))]
            more.append(models.Value("image_4", (1, 4, 4, 4)))
            steps.insert(0, models.Step("CONCATENATION", ("image", "image"), ("image_4",)))
    kept = codes if how in ("hybrid", "dequantized") else floats
    return models.convolution(extra=steps, more=[*more, kept])


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("weights", "kept in float: its weights are not quantized"),
        ("dequantized", "its weights are integers, but it computes in float: they are dequantized first"),
        ("values", "kept in float: neither its weights nor its input are quantized"),
    ],
)
def test_each_reason_for_float_is_told_apart(how: str, why: str, tflite_models: ModuleType, save: Save) -> None:
    found = coverage(save(_with_second_layer(tflite_models, how)))
    assert (found.quantized, found.eligible) == (1, 2)
    assert [reason for _, reason in found.left] == [why]
    assert dict(found.float_operators)["FULLY_CONNECTED"] == 1
    assert found.conversions == 2  # those of constants are computed when the model is loaded


def test_integer_weights_under_floats_compute_in_integers(tflite_models: ModuleType, save: Save) -> None:
    found = coverage(save(_with_second_layer(tflite_models, "hybrid")))
    assert (found.quantized, found.eligible, found.left, found.float_operators) == (2, 2, (), ())


def test_products_of_activations_are_no_layers(tflite_models: ModuleType, save: Save) -> None:
    values = [tflite_models.Value(name, (1, 3, 3)) for name in "xy"]
    path = save(tflite_models.build(values, [tflite_models.Step("BATCH_MATMUL", ("x", "x"), ("y",))], ["x"], ["y"]))
    assert coverage(path).eligible == 0
    assert count(path) == (27, 0)


@pytest.mark.parametrize(
    ("name", "shapes", "macs"),
    [
        ("TRANSPOSE_CONV", [(4,), (8, 2, 2, 3), (1, 5, 5, 3), (1, 10, 10, 8)], 25 * 3 * 4 * 8),
        ("DEPTHWISE_CONV_2D", [(1, 5, 5, 3), (1, 3, 3, 3), (1, 5, 5, 3)], 75 * 9),
        ("CONV_3D", [(1, 4, 4, 4, 2), (3, 3, 3, 2, 5), (1, 2, 2, 2, 5)], 40 * 54),
        ("FULLY_CONNECTED", [(7, 6), (5, 6), (7, 5)], 7 * 6 * 5),
    ],
)
def test_multiply_accumulates_by_operator(
    name: str, shapes: list[tuple[int, ...]], macs: int, tflite_models: ModuleType, save: Save
) -> None:
    values = [tflite_models.Value(f"v{place}", shape) for place, shape in enumerate(shapes)]
    values[1] = values[1]._replace(data=np.ones(shapes[1], np.float32))
    names = [value.name for value in values]
    step = tflite_models.Step(name, tuple(names[:-1]), (names[-1],))
    path = save(tflite_models.build(values, [step], [names[0]], [names[-1]]))
    assert count(path) == (macs, int(np.prod(shapes[1])))
    assert coverage(path).eligible == 1


def test_shapes_and_axes_are_no_parameters(tflite_models: ModuleType, save: Save) -> None:
    values = [tflite_models.Value("shape", (2,), "int32", data=np.array([1, 4], np.int32))]
    values += [tflite_models.Value("x", (2, 2)), tflite_models.Value("y", (1, 4))]
    path = save(tflite_models.build(values, [tflite_models.Step("RESHAPE", ("x", "shape"), ("y",))], ["x"], ["y"]))
    assert count(path) == (0, 0)


def test_the_published_size_of_a_real_network(shared_data: Path) -> None:
    """MobileNetV2 1.0 224: 300 million multiply-adds and 3.4 million parameters (arXiv:1801.04381, table 4)."""
    macs, parameters = count(shared_data / "coral_imagenet/mobilenet_v2_1.0_224_quant.tflite")
    assert round(macs / 1e6) == 301
    assert round(parameters / 1e5) == 35  # with a class for the background


def test_what_is_no_tflite_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"something else entirely")
    for ask in (coverage, count, transposes):
        with pytest.raises(InputError, match="expected a whole TFLite file"):
            ask(tmp_path / "model.tflite")
