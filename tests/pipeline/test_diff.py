"""diff: real artifacts beside their baselines; a layer that was spoilt is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgewright.devices.local import LocalDevice
from edgewright.ir.errors import InputError
from edgewright.pipeline.diff import diff
from edgewright.runtimes.flatbuffer.coverage import layer_name
from edgewright.runtimes.flatbuffer.file import read, write
from edgewright.runtimes.flatbuffer.graph import operators
from edgewright.ship import manifest

TARGETS = {"onnxruntime": "x86-avx2", "tflite": "arm64-cortex-a72"}


@pytest.fixture(scope="module")
def quantized(trained_recipe: Path, tmp_path_factory: pytest.TempPathFactory, program: Callable[..., Any]) -> Path:
    """The folder of real artifacts of the small recipe, which was quantized and nothing else."""
    folder = tmp_path_factory.mktemp("quantized")
    shutil.copytree(trained_recipe, folder / "recipe")
    recipe = folder / "recipe" / "recipe.yaml"
    lines = [line for line in recipe.read_text().splitlines() if not line.strip().startswith(("prune", "recover"))]
    recipe.write_text("\n".join(lines))
    targets = [part for target in TARGETS.values() for part in ("--target", target)]
    ran = program("build", recipe, "--out", folder / "out", "--cache", folder / "cache", *targets)
    assert ran.code == 0, ran.err
    return folder / "out"


@pytest.fixture
def copied(quantized: Path, tmp_path: Path) -> Callable[[str], Path]:
    """copied(target): an artifact that a test may change."""
    return lambda target: Path(shutil.copytree(quantized / target, tmp_path / target))


def reseal(artifact: Path) -> None:
    file = artifact / manifest.FILE
    document = json.loads(file.read_text())
    document["files"] = {name: manifest.entry_of(artifact / name).model_dump() for name in document["files"]}
    file.write_text(json.dumps(document))


@pytest.mark.parametrize("runtime", TARGETS)
def test_every_layer_of_a_quantized_network_has_its_counterpart(runtime: str, quantized: Path) -> None:
    found = diff(quantized / TARGETS[runtime], None, LocalDevice())
    assert found.samples == 8
    assert [layer.name for layer in found.layers] == ["image", "stem.0", "body.0", "head"]
    assert [layer.note for layer in found.layers] == [""] * 4
    assert found.left == ()
    assert "insert-quantization" in found.passes
    assert not {"prune-channels", "recover"} & set(found.passes)
    image, *layers = found.layers
    assert image.largest_steps is not None
    assert image.largest_steps <= 0.5 + 1e-3  # half a step, and what float32 makes of it
    assert all(layer.sqnr_db is not None and layer.input_sqnr_db is not None for layer in layers)
    assert "the artifact gives exactly its golden outputs" in found.remarks[0]
    assert [layer.simulated_steps is not None for layer in found.layers] == [True] * 4
    assert found.strayed is None
    assert "simulated: 4 of 4 layers known, at most " in found.to_text()
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["layers"][1]["name"] == "stem.0"


@pytest.mark.parametrize("runtime", TARGETS)
def test_an_artifact_beside_itself_differs_in_nothing(runtime: str, quantized: Path) -> None:
    artifact = quantized / TARGETS[runtime]
    found = diff(artifact, artifact, LocalDevice(), samples=2)
    assert found.samples == 2
    assert {layer.largest for layer in found.layers} == {0.0}
    assert (found.worst, found.culprit, found.passes) == (None, None, ())


def test_a_layer_whose_scale_was_spoilt_is_the_culprit(quantized: Path, copied: Callable[[str], Path]) -> None:
    artifact = copied(TARGETS["onnxruntime"])
    before = diff(artifact, None, LocalDevice())
    model = onnx.load(artifact / "model.onnx")
    maker = {output: node for node in model.graph.node for output in node.output}
    (quantize,) = [
        node
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
        and node.input[0] in maker
        and maker[maker[node.input[0]].input[0]].name == "stem.0"
    ]
    (scale,) = [entry for entry in model.graph.initializer if entry.name == quantize.input[1]]
    clipped = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scale) / np.float32(8), scale.name)
    scale.CopyFrom(clipped)
    onnx.save(model, artifact / "model.onnx")
    reseal(artifact)
    found = diff(artifact, None, LocalDevice())
    assert found.culprit is not None
    assert found.culprit.name == "stem.0"
    assert "<- " in next(line for line in found.to_text().splitlines() if line.startswith("stem.0"))
    assert found.to_text().splitlines()[-1].startswith("adds the most error: stem.0 (Conv+Relu): inputs ")
    spoilt, whole = found.layers[1].sqnr_db, before.layers[1].sqnr_db
    assert spoilt is not None
    assert whole is not None
    assert spoilt < whole
    assert "other kernels may have run" in found.remarks[0]  # the golden outputs are those of the file as it was


@pytest.mark.parametrize("spoilt", ["stem.0", "body.0", "head"])
def test_a_layer_whose_weights_were_spoilt_is_the_culprit(spoilt: str, copied: Callable[[str], Path]) -> None:
    artifact = copied(TARGETS["tflite"])
    model = read(artifact / "model.tflite")
    (layer,) = [step for step in operators(model) if layer_name(step) == spoilt]
    buffer = model.buffers[model.subgraphs[0].tensors[layer.present[1].index].buffer]
    buffer.data = np.asarray(buffer.data, np.uint8)[::-1]
    write(model, artifact / "model.tflite")
    reseal(artifact)
    found = diff(artifact, None, LocalDevice())
    assert found.culprit is not None
    assert found.culprit.name == spoilt
    assert found.strayed is not None
    assert found.strayed.name == spoilt
    assert found.to_text().splitlines()[-2].endswith(f"; the first more than one step off: {spoilt}")
    assert found.to_json()["strayed"] == spoilt


def test_layers_that_were_pruned_are_listed_and_the_way_out_is_told(built: Any) -> None:
    found = diff(built.artifact, None, LocalDevice())
    notes = {layer.name: layer.note for layer in found.layers}
    assert list(notes) == ["image", "stem.0", "body.0", "head"]
    assert any("in the other" in note for note in notes.values())
    assert notes["head"] == ""
    assert all(layer.simulated_steps is not None for layer in found.layers), "the simulated model is pruned as well"
    assert "prune-channels" in found.passes
    assert "give that artifact as --against" in found.remarks[-1]
    assert "in the other" in found.to_text()


def test_a_float_artifact_has_no_quantization_error(built: Any) -> None:
    found = diff(built.artifact / "baseline", built.artifact / "baseline", LocalDevice())
    assert "is not quantized but perhaps in its weights: every value in it is float" in found.remarks[-1]
    assert found.layers[-1].largest_steps == 0
    assert not any(layer.simulated_steps for layer in found.layers)
    assert "simulated" not in found.to_text()


def test_what_cannot_be_compared_is_refused(built: Any, quantized: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a float baseline in baseline/, or --against ARTIFACT, got none"):
        diff(built.artifact / "baseline", None, LocalDevice())
    with pytest.raises(InputError, match="runtime: expected onnxruntime, got tflite"):
        diff(built.artifact, quantized / TARGETS["tflite"], LocalDevice())
    copy = built.copied(tmp_path)
    document = json.loads((copy.artifact / manifest.FILE).read_text())
    document["files"] = {name: entry for name, entry in document["files"].items() if "golden" not in name}
    (copy.artifact / manifest.FILE).write_text(json.dumps(document))
    with pytest.raises(InputError, match="golden: expected golden vectors, got none"):
        diff(copy.artifact, None, LocalDevice())
