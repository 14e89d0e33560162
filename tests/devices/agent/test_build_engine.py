"""The script that builds engines: on real logs of TensorRT for RTX where it is installed, and on what NVIDIA shows."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from edgewright.devices.agent import build_engine

RTX = "tensorrt_rtx_bindings"
needs_rtx = pytest.mark.skipif(importlib.util.find_spec(RTX) is None, reason="pip install 'edgewright[nvidia-rtx]'")
Variant = Callable[..., Path]


@pytest.fixture
def variant(tmp_path: Path, quantized_models: ModuleType) -> Variant:
    def make(**options: Any) -> Path:
        file: Path = quantized_models.convolution(tmp_path / "model.onnx", **options)
        return file

    return make


def run(model: Path, capability: str = "8.9", **settings: Any) -> tuple[int, str, dict[str, Any]]:
    """Exit code, standard error and report of the script in a process of its own."""
    folder = model.parent
    (folder / "engine.json").write_text(json.dumps({"model": model.name, "build_for": capability, **settings}))
    command = [sys.executable, build_engine.__file__, "--settings", folder / "engine.json", "--library", RTX]
    done = subprocess.run([*command, "--report", folder / "report.json"], capture_output=True, text=True, timeout=120)
    file = folder / "report.json"
    return done.returncode, done.stderr, json.loads(file.read_text()) if file.is_file() else {}


@needs_rtx
def test_what_is_quantized_as_tensorrt_wants_it_runs_in_int8(variant: Variant, tmp_path: Path) -> None:
    code, said, report = run(variant(), int8_layers=["conv"])
    assert (code, said) == (0, "")
    assert (report["library"], report["parsed"], report["built"], report["int8"]) == (RTX, True, True, ["conv"])
    assert (tmp_path / "model.engine").stat().st_size == report["engine_bytes"] > 0
    (layer,) = [layer for layer in report["layers"] if layer["kind"] == "correlation"]
    assert (layer["inputs"], layer["constants"][0]) == (["Int8"], "Int8")


SILENT = {
    "weights along axis 1": {"axis": 1},
    "weights alone": {"quantizes_input": False},
    "activations alone": {"quantizes_weights": False},
}
REFUSED = {
    "zero point": ({"zero_point": np.int8(3)}, "quantize", "Non-zero zero point is not supported"),
    "scale below zero": ({"scale": -1.0}, "quantize", "must all be positive"),
    "int32 bias": ({"has_int32_bias": True}, "bias_codes", "input has type Int32"),
}


@needs_rtx
@pytest.mark.parametrize("options", SILENT.values(), ids=SILENT)
def test_what_tensorrt_takes_silently_and_runs_in_float_is_a_failure(variant: Variant, options: Any) -> None:
    code, said, report = run(variant(**options), int8_layers=["conv"])
    assert (report["parsed"], report["built"], report["int8"], report["warnings"]) == (True, True, [], [])
    assert code == 1
    assert said == "build_engine: 0 of 1 layers run in INT8; these run in float: conv\n"


@needs_rtx
@pytest.mark.parametrize(("options", "layer", "why"), REFUSED.values(), ids=REFUSED)
def test_what_the_parser_refuses_is_named_with_its_layer(variant: Variant, options: Any, layer: str, why: str) -> None:
    code, said, report = run(variant(**options))
    assert (code, report["parsed"]) == (1, False)
    assert report["problems"][0]["layer"] == layer
    assert said.startswith(f"build_engine: {RTX} {report['version']} refuses the model: {layer}: ")
    assert why in said
    assert "driver" not in said  # what a machine without a GPU adds to every message is left out


@needs_rtx
def test_uint8_is_taken_for_int8_with_a_warning(variant: Variant) -> None:
    """The parser takes it and computes other numbers: nothing but the linter stands between."""
    code, _, report = run(variant(zero_point=np.uint8(0)), int8_layers=["conv"])
    assert (code, report["int8"]) == (0, ["conv"])
    assert "Defaulting to INT8 instead" in report["warnings"][0]


@needs_rtx
def test_an_open_batch_takes_its_shapes_from_the_settings(variant: Variant) -> None:
    model = variant(batch="batch")
    shapes = {key: [size, 32, 16, 16] for key, size in {"min": 1, "opt": 4, "max": 8}.items()}
    code, _, report = run(model, shapes={"image": shapes}, int8_layers=["conv"])
    assert (code, report["int8"]) == (0, ["conv"])
    assert run(model)[:2] == (2, "build_engine: engine.json: shapes.image: expected min, opt and max, found nothing\n")


@needs_rtx
def test_a_gpu_that_it_does_not_build_for_is_named(variant: Variant) -> None:
    code, said, _ = run(variant(), capability="9.0")
    assert code in (1, 2)
    assert said.startswith(f"build_engine: {RTX}")
    assert said.endswith("not for SM90\n")


def test_without_tensorrt_it_says_how_to_get_it() -> None:
    with pytest.raises(build_engine.BuildError, match=r"TensorRT is not installed for .*: it comes with JetPack"):
        build_engine.library("a_tensorrt_that_nobody_has")


def test_a_model_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "engine.json").write_text('{"model": "none.onnx"}')
    assert build_engine.main(["--settings", str(tmp_path / "engine.json")]) == 2
    assert capsys.readouterr().err.endswith("none.onnx: expected an ONNX model, found nothing there\n")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("CUDA initialization failure with error: 35", "there is no NVIDIA driver here, or it is too old"),
        ("Cuda Runtime (out of memory)", "the GPU has too little memory left"),
        (
            "The engine plan file is generated on an incompatible device, expecting compute 8.6 got compute 8.9",
            "the engine was built for another GPU",
        ),
        (
            "The engine plan file is not compatible with this version of TensorRT, expecting library version 10.3",
            "the engine was built by another version of TensorRT",
        ),
        ("Set dimension [9,3,8,8] for tensor image does not satisfy any optimization profiles", "the shapes are out"),
        ("No importer registered for op: Foo. Attempting to import as plugin.", "TensorRT has no such operator"),
    ],
)
def test_what_tensorrt_says_is_told_with_what_it_means(text: str, meaning: str) -> None:
    said = build_engine.explain(text)
    assert said.startswith(meaning)
    assert said.endswith(f"({text})")


def test_what_nobody_knows_is_told_as_it_is() -> None:
    assert build_engine.explain("Invalid Node - a\nsomething else") == "something else"
    assert build_engine.explain("") == "TensorRT gave no reason"


def test_layers_of_an_inspector_are_read_in_both_forms() -> None:
    """The forms that the developer guide shows for detailed engines: one type and format together, or each alone."""
    document = {
        "Layers": [
            {
                "Name": "conv1 + relu1",
                "LayerType": "CaskConvolution",
                "Inputs": [
                    {"Name": "x", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}
                ],
                "ParameterType": "Convolution",
                "Weights": {"Type": "Int8", "Count": 9216},
            },
            {
                "Name": "conv2_myl0_1",
                "LayerType": "correlation",
                "Inputs": [{"Name": "y", "Datatype": "Float"}],
                "Metadata": "[ONNX Layer: conv2][ONNX Layer: relu2]",
            },
            "fc",
        ]
    }
    layers = build_engine.layers_of_inspector(json.dumps(document))
    assert [layer["onnx"] for layer in layers] == [["conv1", "relu1"], ["conv2", "relu2"], []]
    assert build_engine.int8_layers(layers, ["conv1", "conv2", "fc"]) == ["conv1"]


def used_attributes() -> set[str]:
    """Every attribute and name of TensorRT that the script asks for."""
    nodes = ast.walk(ast.parse(Path(build_engine.__file__).read_text()))
    roots = {"trt", "config", "builder", "network", "parser", "profile", "loaded", "entry"}
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and _root(node) in roots}


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


FOR_RTX = {"ComputeCapability", "num_compute_capabilities", "set_compute_capability"}
"""What is asked of TensorRT for RTX only, where settings say which GPU to build for."""
OF_PYTHON = {"__name__", "__version__", "__members__"}


def test_the_attributes_that_it_uses_are_seen() -> None:
    assert {"parse_from_file", "LayerType", "CONVOLUTION", "set_shape", "create_engine_inspector"} < used_attributes()


@pytest.mark.slow
@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
def test_both_versions_of_tensorrt_have_what_it_uses(version: str, tmp_path: Path) -> None:
    """Of each, the Python bindings alone are fetched (1.3 MB): they hold the name of every attribute."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", tmp_path]
    done = subprocess.run([*command, f"tensorrt-cu13-bindings=={version}"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip can't bring TensorRT's bindings here: {done.stderr.splitlines()[-1]}")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (library,) = [archive.read(name) for name in archive.namelist() if name.endswith("bindings/tensorrt.so")]
    names = used_attributes() - FOR_RTX - OF_PYTHON
    assert [name for name in names if f"{name}\0".encode() not in library] == []  # linkers merge the ends of names
    assert (b"IInt8EntropyCalibrator2\0" in library) == version.startswith("10.")  # so that what is missing is seen
