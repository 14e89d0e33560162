"""Layers of converted files are called as the user's modules."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from edgewright.runtimes.flatbuffer.coverage import WEIGHTS, layer_name
from edgewright.runtimes.flatbuffer.file import read
from edgewright.runtimes.flatbuffer.graph import operators, outputs, text
from edgewright.runtimes.flatbuffer.lowering import lowered
from edgewright.runtimes.flatbuffer.names import name_layers
from torch import nn


class Twins(nn.Module):
    """(1, 4, 8, 8) to (1, 3): branches of equal layers, one layer that runs twice, and one with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.twice = nn.Conv2d(4, 4, 1)
        self.inner = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.right(x)) + torch.relu(self.left(x))
        return self.head(self.inner(self.twice(torch.relu(self.twice(x)))).mean((2, 3)))


@pytest.fixture(scope="module")
def program() -> Any:
    torch.manual_seed(0)
    return torch.export.export(Twins().eval(), (torch.randn(1, 4, 8, 8),))


@pytest.fixture(scope="module")
def content(program: Any) -> bytes:
    return lowered(program, (torch.zeros(1, 4, 8, 8),), is_quantized=False)


def test_every_layer_has_its_own_weights_under_its_own_name(program: Any, content: bytes) -> None:
    model = read(content)
    name_layers(model, program)
    layers = [step for step in operators(model) if step.name in WEIGHTS]
    assert [layer_name(layer) for layer in layers] == ["right", "left", "twice", "twice", "inner.0", "head"]
    assert len({layer.outputs[0].name for layer in layers}) == len(layers)
    weights = program.state_dict
    for layer in layers:
        name = layer_name(layer)
        if name != "inner.0":  # the batch norm is in its weights
            held = np.sort(layer.present[1].values(), axis=None)
            assert np.array_equal(held, np.sort(weights[f"{name}.weight"].detach().numpy(), axis=None)), name


def test_a_bias_is_called_as_its_layer(program: Any, content: bytes) -> None:
    model = read(content)
    name_layers(model, program)
    layers = {layer_name(step): step for step in operators(model) if step.name in WEIGHTS}
    for name in ("right", "left", "head"):
        bias = layers[name].present[2]
        assert bias.name == f"{name}/bias"
        assert np.array_equal(bias.values(), program.state_dict[f"{name}.bias"].detach().numpy())


def test_a_bias_that_layers_share_is_called_as_the_first_of_them(program: Any, content: bytes) -> None:
    model = read(content)
    first, second = [step for step in model.subgraphs[0].operators if len(step.inputs) == 3][:2]
    second.inputs[2] = first.inputs[2]
    name_layers(model, program)
    assert [layer_name(step) for step in operators(model) if step.name in WEIGHTS][:2] == ["right", "left"]
    assert text(model.subgraphs[0].tensors[first.inputs[2]].name) == "right/bias"


def test_where_the_converter_made_another_number_of_layers_names_are_left(program: Any, content: bytes) -> None:
    model, untouched = read(content), read(content)
    fewer = [node for node in program.graph.nodes if "left" not in str(node.meta.get("nn_module_stack"))]
    name_layers(model, SimpleNamespace(graph=SimpleNamespace(nodes=fewer)))  # type: ignore[arg-type]
    named, before = (
        [layer_name(step) for step in operators(each) if step.name in WEIGHTS] for each in (model, untouched)
    )
    assert named == [*before[:2], "twice", "twice", "inner.0", "head"]
    assert [tensor.name for tensor in outputs(model)] == ["head/output"]  # which the emitter calls otherwise, later


def test_a_built_artifact_tells_its_layers(built_tflite: Path) -> None:
    for folder in (built_tflite, built_tflite / "baseline"):
        layers = [step for step in operators(read(folder / "model.tflite")) if step.name in WEIGHTS]
        assert [layer_name(layer) for layer in layers] == ["stem.0", "body.0", "head"]
