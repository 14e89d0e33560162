"""The layers of TFLite files."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from edgewright.runtimes.flatbuffer.file import write
from edgewright.runtimes.flatbuffer.layers import layers


def test_conversions_are_no_layers_and_what_is_fused_is_said(tflite_models: ModuleType, tmp_path: Path) -> None:
    write(tflite_models.convolution(), tmp_path / "model.tflite")
    image, layer = layers(tmp_path / "model.tflite")
    assert (image.name, image.operator, image.scale) == ("image", "input", None)
    assert (layer.name, layer.is_module) == ("weights", True)
    assert (layer.operator, layer.fused, layer.sources) == ("CONV_2D", ("RELU",), ("image",))
    assert (layer.tensor, layer.dtype) == ("layer;convolution", "int8")
    assert (layer.scale, layer.zero_point) == (tflite_models.OUT_SCALE, tflite_models.OUT_ZERO)


def test_what_is_moved_comes_from_where_it_was(tflite_models: ModuleType, tmp_path: Path) -> None:
    Value, Step = tflite_models.Value, tflite_models.Step
    values = [Value(name, (1, 4)) for name in ("x", "y", "twice", "sum")] + [Value("pair", (1, 8))]
    steps = [
        Step("ADD", ("x", "x"), ("twice",)),
        Step("CONCATENATION", ("twice", "y"), ("pair",)),
        Step("LOGISTIC", ("pair",), ("sum",)),
    ]
    write(tflite_models.build(values, steps, ["x", "y"], ["sum"]), tmp_path / "model.tflite")
    found = {layer.tensor: layer for layer in layers(tmp_path / "model.tflite")}
    assert list(found) == ["x", "y", "twice", "sum"]
    assert found["twice"].sources == ("x",)
    assert found["sum"].sources == ("twice", "y")
    assert (found["twice"].name, found["twice"].is_module) == ("twice", True)
    assert (found["sum"].name, found["sum"].is_module) == ("sum", False)  # an output: no module's name


def test_a_built_artifact_and_its_baseline_have_the_same_layers(built_tflite: Path) -> None:
    shapes = [
        [(layer.operator, layer.fused, len(layer.sources)) for layer in layers(folder / "model.tflite")]
        for folder in (built_tflite, built_tflite / "baseline")
    ]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == 4
