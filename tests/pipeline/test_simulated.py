"""What the simulated model holds inside, and how far layers are from it; names, grids and layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from edgewright.devices.local import LocalDevice
from edgewright.ir.graph import export
from edgewright.ir.state import register_quantized_operators
from edgewright.pipeline.parity import Golden
from edgewright.pipeline.simulated import Simulated, Steps, first_off, off_by, simulate
from edgewright.runtimes import Ports
from edgewright.runtimes.contract import Layer
from torch import nn

STEM, SUM = (0.05, -128, -128, 127, torch.int8), (0.1, 3, -128, 127, torch.int8)


def held(values: torch.Tensor, grid: tuple[Any, ...]) -> torch.Tensor:
    register_quantized_operators()
    operators = torch.ops.quantized_decomposed
    back: torch.Tensor = operators.dequantize_per_tensor(operators.quantize_per_tensor(values, *grid), *grid)
    return back


class Net(nn.Module):
    """A convolution with a fused ReLU on a grid, a sum on another, and a linear layer in float."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(2, 3, 1), nn.Linear(3, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        stem = held(torch.relu(self.stem(image)), STEM)
        total = held(stem + stem, SUM)
        logits: torch.Tensor = self.head(total.mean((2, 3)))
        return logits


@pytest.fixture(scope="module")
def known() -> dict[str, Simulated]:
    """Every value of the network by its name."""
    torch.manual_seed(0)
    net = Net().eval()
    image = torch.randn(1, 2, 4, 5)
    found = {each.name: each for each in simulate(export(net, (image,), open_batch=False), (image,))}
    with torch.no_grad():
        stem = torch.relu(net.stem(image))
        assert torch.equal(torch.from_numpy(found["stem"].values) + 128.0, (stem / STEM[0]).round().clamp(0, 255))
        assert np.array_equal(found["head"].values, net(image).numpy())
    return found


def test_values_have_the_names_of_modules_or_of_the_graph(known: dict[str, Simulated]) -> None:
    assert {name: (each.is_module, each.scale, each.zero_point) for name, each in known.items()} == {
        "stem": (True, 0.05, -128),
        "add": (False, 0.1, 3),
        "head": (True, None, 0),
    }
    assert json.loads(json.dumps(known["stem"].label())) == known["stem"].label()


def layer(name: str, is_module: bool, **form: Any) -> Layer:
    return Layer(name, is_module, "CONV_2D", f"{name}/output", "int8", **form)


def test_layers_are_found_by_name_and_other_values_by_their_grid(known: dict[str, Simulated]) -> None:
    wanted = (
        layer("stem", True, scale=float(np.float32(0.05)), zero_point=-128),
        layer("ADD 3", False, scale=float(np.float32(0.1)), zero_point=3),
        layer("MUL 4", False, scale=0.3),
        layer("head", True),
    )
    apart = known["add"].values.transpose(0, 2, 3, 1).copy()
    apart[0, 0, 0, 0] += 2
    found = {
        "stem/output": known["stem"].values.transpose(0, 2, 3, 1),
        "ADD 3/output": apart,
        "MUL 4/output": apart,
        "head/output": known["head"].values,
    }
    steps = off_by(found, wanted, tuple(known.values()))
    assert {name: each.largest for name, each in steps.items()} == {
        "stem/output": pytest.approx(0, abs=1e-5),  # what float32 makes of the scale
        "ADD 3/output": pytest.approx(2),
        "head/output": 0,
    }
    assert steps["ADD 3/output"].share_equal == pytest.approx(1 - 1 / apart.size)
    assert off_by({"head/output": known["head"].values}, wanted, tuple(known.values())) == {"head/output": Steps(0, 1)}


def test_of_two_different_values_that_fit_none_is_taken(known: dict[str, Simulated]) -> None:
    add = known["add"]
    wanted, found = (layer("ADD 3", False, scale=0.1, zero_point=3),), {"ADD 3/output": add.values}
    assert off_by(found, wanted, (add, replace(add, name="again"))) == {"ADD 3/output": Steps(0, 1)}
    assert off_by(found, wanted, (add, replace(add, name="another", values=add.values + np.int8(1)))) == {}
    assert off_by(found, wanted, (replace(add, values=add.values[:, :2]),)) == {}


def test_a_scale_may_be_said_in_float16(known: dict[str, Simulated]) -> None:
    add, near = known["add"], float(np.nextafter(np.float16(0.1), np.float16(1)))
    for scale, is_found in ((float(np.float16(0.1)), True), (near, False), (0.10001, False)):
        wanted = (layer("ADD 3", False, scale=scale, zero_point=3),)
        assert bool(off_by({"ADD 3/output": add.values}, wanted, (add,))) == is_found


def test_a_product_whose_bias_is_added_behind_it_is_not_what_the_module_gives(known: dict[str, Simulated]) -> None:
    product = replace(layer("head", True), operator="MatMul")
    assert off_by({"head/output": known["head"].values}, (product,), tuple(known.values())) == {}


def test_an_activation_that_the_file_has_in_one_with_a_float_layer_is_counted_in() -> None:
    values = np.array([[-2.0, 3.0, 8.0]], np.float32)
    known = (Simulated("head", True, None, 0, values),)
    cut = {"head/output": np.array([[0.0, 3.0, 6.0]], np.float32)}
    assert off_by(cut, (layer("head", True, fused=("RELU6",)),), known) == {"head/output": Steps(0, 1)}
    off = off_by(cut, (layer("head", True),), known)["head/output"]
    assert off.largest == pytest.approx(2 * 255 / 8)
    assert off.share_equal == pytest.approx(1 / 3)


@pytest.fixture
def proved(built: Any) -> Callable[[Path], str]:
    """proved(file): the first layer of the small network's file that is off."""
    golden = Golden.read(built.artifact / "golden")

    def first(file: Path) -> str:
        return first_off("onnxruntime", LocalDevice(), file, Ports(), golden.first(1), golden.layers)

    return first


def test_the_layer_where_the_difference_begins_is_named(
    built: Any, proved: Callable[[Path], str], tmp_path: Path
) -> None:
    assert proved(built.artifact / "model.onnx") == ""
    model = onnx.load(built.artifact / "model.onnx")
    (weights,) = [each for each in model.graph.initializer if each.name == "body.0.quantized_weight"]
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights)[::-1].copy(), weights.name))
    onnx.save(model, tmp_path / "spoilt.onnx")
    assert proved(tmp_path / "spoilt.onnx") == "body.0"


def test_nothing_is_said_where_layers_cannot_be_read_or_nothing_is_known(built: Any) -> None:
    golden = Golden.read(built.artifact / "golden")
    file, first = built.artifact / "model.onnx", golden.first(1)
    assert first_off("another", LocalDevice(), file, Ports(), first, golden.layers) == ""
    assert first_off("onnxruntime", LocalDevice(), file, Ports(), first, ()) == ""
    assert first_off("onnxruntime", LocalDevice(), file.with_name("plan.txt"), Ports(), first, ()) == ""
