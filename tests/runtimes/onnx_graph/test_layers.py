"""The layers of emitted ONNX models, and that asking for their values changes no kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from edgewright.devices.local import LocalDevice
from edgewright.runtimes import Emitted, open_runner
from edgewright.runtimes.onnx_graph.coverage import coverage
from edgewright.runtimes.onnx_graph.layers import executed_names, layers
from edgewright.runtimes.onnxruntime import OnnxEmitter
from torch import nn

Emit = Callable[..., Emitted]
SHAPE = (1, 3, 8, 8)


def shown(file: Path) -> list[tuple[str, str, tuple[str, ...], str]]:
    return [(layer.name, layer.operator, layer.fused, layer.dtype) for layer in layers(file)]


def test_integer_layers_have_their_activations_and_the_scale_of_what_they_give(
    emit: Emit, tmp_path: Path, quantized: Callable[[bool], nn.Module]
) -> None:
    file = tmp_path / emit(quantized(False), torch.randn(2, *SHAPE[1:])).main
    found = layers(file)
    assert shown(file)[:3] == [
        ("image", "input", (), "uint8"),
        ("first", "Conv", ("Relu",), "uint8"),
        ("second", "Conv", ("Relu",), "uint8"),
    ]
    assert [layer.scale for layer in found[:3]] == pytest.approx([0.02, 0.05, 0.05])
    assert [layer.zero_point for layer in found[:3]] == [128, 0, 0]
    assert (found[-1].name, found[-1].is_module, found[-1].scale) == ("head", True, None)
    made = {layer.tensor for layer in found}
    assert all(set(layer.sources) <= made for layer in found)


def test_asking_for_values_between_integer_layers_changes_nothing(
    emit: Emit, tmp_path: Path, quantized: Callable[[bool], nn.Module]
) -> None:
    file = tmp_path / emit(quantized(False), torch.randn(2, *SHAPE[1:])).main
    wanted = [layer.tensor for layer in layers(file) if layer.scale is not None]
    samples = {"image": np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)}
    with open_runner("onnxruntime", LocalDevice(), file, 1) as plain:
        (right,) = plain.run(samples)
    with open_runner("onnxruntime", LocalDevice(), file, 1, options={"keep_tensors": wanted}) as keeping:
        found = keeping.tensors(samples)
    assert np.array_equal(found["output"], right)
    assert {found[name].dtype for name in wanted} == {np.dtype("uint8")}
    exposed = onnx.load(file)
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    onnx.save(exposed, tmp_path / "exposed.onnx")
    assert coverage(tmp_path / "exposed.onnx") == coverage(file)


def test_values_can_be_had_of_a_model_whose_weights_lie_beside_it(emit: Emit, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    emitted = emit(network, torch.randn(2, *SHAPE[1:]), emitter=OnnxEmitter(external_above_bytes=0))
    assert len(emitted.files) == 2
    file, sample = tmp_path / emitted.main, torch.randn(SHAPE)
    (wanted,) = [layer.tensor for layer in layers(file) if layer.operator == "Relu"]
    with open_runner("onnxruntime", LocalDevice(), file, 1, options={"keep_tensors": [wanted]}) as keeping:
        found = keeping.tensors({"image": sample.numpy()})[wanted]
    assert found.shape == (1, 4, 6, 6)
    assert found.min() == 0
    assert found.max() > 0


def test_a_float_network_has_its_activations_apart_and_the_names_of_the_convolutions(
    emit: Emit, tmp_path: Path
) -> None:
    """A batch norm is folded by the emitter, which calls what is left after the batch norm."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.norm(self.conv(x)))
            return (x + x.mean((2, 3), keepdim=True)).flatten(1)

    file = tmp_path / emit(Net(), torch.randn(2, *SHAPE[1:])).main
    assert [(name, operator) for name, operator, *_ in shown(file)[:3]] == [
        ("image", "input"),
        ("conv", "Conv"),
        ("relu", "Relu"),
    ]
    found = {layer.operator: layer for layer in layers(file)}
    assert found["Add"].sources == (found["Relu"].tensor, found["ReduceMean"].tensor)
    assert found["Add"].tensor != "output"  # a reshape moves it there, and computes nothing
    (folded,) = [node.name for node in onnx.load(file).graph.node if node.op_type == "Conv"]
    assert executed_names([f"{folded}_token_12", "relu_nchwc", "ReorderOutput"], file) == (
        "conv",
        "conv",
        "ReorderOutput",
    )
