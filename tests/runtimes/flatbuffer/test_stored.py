"""Constants in fewer bits: the file shrinks, and computes to the bit what it did."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from edgewright.benchmarks.accuracy import parity
from edgewright.ir.errors import StepError
from edgewright.pipeline.parity import FLOAT_STEPS
from edgewright.runtimes.flatbuffer.file import read, to_bytes
from edgewright.runtimes.flatbuffer.graph import Model, operators, tensors
from edgewright.runtimes.flatbuffer.lowering import lowered
from edgewright.runtimes.flatbuffer.stored import store_halves, store_integers
from edgewright.runtimes.flatbuffer.versions import set_versions
from torch import nn

CHANNELS = 32
SCALES = np.linspace(0.01, 0.04, CHANNELS, dtype=np.float32)


@pytest.fixture(scope="module")
def content() -> bytes:
    """A float convolution whose weights are integers times SCALES; its biases are halves."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, CHANNELS, 3).eval()
    with torch.no_grad():
        codes = torch.randint(-127, 128, layer.weight.shape)
        layer.weight.copy_(codes * torch.from_numpy(SCALES).reshape(-1, 1, 1, 1))
        layer.bias.copy_(layer.bias.half())
    example = torch.zeros(1, 3, 8, 8)
    return lowered(torch.export.export(layer, (example,)), (example,), is_quantized=False)


def run(model: Model, tflite_models: ModuleType) -> np.ndarray:
    set_versions(model)
    image = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
    (found,) = tflite_models.run(to_bytes(model), image)
    return np.asarray(found)


def test_weights_behind_a_dequantize_compute_the_same(content: bytes, tflite_models: ModuleType) -> None:
    before, after = read(content), read(content)
    store_integers(after, {"weight": SCALES}, is_dynamic=False)
    assert [step.name for step in operators(after)] == ["DEQUANTIZE", *(step.name for step in operators(before))]
    stored = operators(after)[0].inputs[0]
    assert stored is not None
    assert (stored.dtype, stored.axis, stored.zero_points) == ("int8", 0, (0,) * CHANNELS)
    assert np.array_equal(np.array(stored.scales, np.float32), SCALES)
    assert len(to_bytes(after)) < len(to_bytes(before))
    exact, found = run(before, tflite_models), run(after, tflite_models)
    assert parity(exact, found, float(abs(exact).max()) / 255).largest_steps <= FLOAT_STEPS


def test_a_dynamic_layer_reads_the_integers_themselves(content: bytes, tflite_models: ModuleType) -> None:
    before, after = read(content), read(content)
    store_integers(after, {"weight": SCALES}, is_dynamic=True)
    (layer,) = [step for step in operators(after) if step.name == "CONV_2D"]
    assert [tensor.dtype for tensor in layer.present] == ["float32", "int8", "float32"]
    exact, found = run(before, tflite_models), run(after, tflite_models)
    step = np.ptp(np.random.default_rng(0).standard_normal((1, 8, 8, 3))) / 255
    most = step / 2 * np.abs(layer.present[1].values()).sum((1, 2, 3)).max() * SCALES.max()
    assert 0 < np.abs(exact - found).max() <= most  # every input may be half a step off


def test_a_grid_that_fits_no_layer_is_named(content: bytes) -> None:
    with pytest.raises(StepError, match=r"no layer of the file has the int8 weights second\.weight"):
        store_integers(read(content), {"weight": SCALES, "second.weight": SCALES * 1.1}, is_dynamic=True)


def test_two_layers_of_the_same_weights_are_one_constant(content: bytes) -> None:
    """Copies of a layer: the converter keeps one of them. The old interpreter's dynamic layers can't share it."""
    model, grids = read(content), {"weight": SCALES, "copy.weight": SCALES.copy()}
    with pytest.raises(StepError, match=r"copy\.weight"):
        store_integers(read(content), grids, is_dynamic=True)
    store_integers(model, grids, is_dynamic=False)
    assert [tensor.dtype for tensor in tensors(model) if tensor.scales] == ["int8"]


def test_only_what_float16_holds_to_the_bit_is_stored_so(content: bytes, tflite_models: ModuleType) -> None:
    before, after = read(content), read(content)
    store_halves(after)
    kinds = {tensor.name: tensor.dtype for tensor in tensors(after) if tensor.is_constant}
    assert sorted(kinds.values()).count("float16") == 1  # the biases; the weights have more bits
    exact, found = run(before, tflite_models), run(after, tflite_models)
    assert parity(exact, found, float(abs(exact).max()) / 255).largest_steps <= FLOAT_STEPS
