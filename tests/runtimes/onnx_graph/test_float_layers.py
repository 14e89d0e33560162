from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from edgewright.runtimes import Emitted
from torch import Tensor, nn

Emit = Callable[..., Emitted]


def grid(x: Tensor) -> Tensor:
    q = torch.ops.quantized_decomposed
    codes = q.quantize_per_tensor(x, 0.05, 128, 0, 255, torch.uint8)
    return q.dequantize_per_tensor(codes, 0.05, 128, 0, 255, torch.uint8)


class Between(nn.Module):
    """A float layer between two grids: what onnxruntime would quantize by itself."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return grid(self.layer(grid(x)))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 6, 3), (4, 8, 8)),
        (nn.Conv2d(4, 8, 3, groups=4), (4, 8, 8)),
        (nn.ConvTranspose2d(4, 6, 2), (4, 8, 8)),
        (nn.Linear(4, 6), (4,)),
    ],
)
def test_a_float_layer_between_grids_is_computed_in_float(
    emit: Emit, tmp_path: Path, layer: nn.Module, shape: tuple[int, ...]
) -> None:
    network = Between(layer).eval()
    found = emit(network, torch.randn(2, *shape)).coverage
    assert (found.quantized, found.eligible) == (0, 1)
    assert found.left == (("layer", "kept in float: its weights are not quantized"),)
    sample = torch.randn(1, *shape)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"image": sample.numpy()})
    with torch.no_grad():
        steps = np.abs(output - network(sample).numpy()) / 0.05
    # Float sums in another order may round to the neighbouring step, where a value lies between two, and nowhere else.
    assert np.rint(steps).max() <= 1
    assert (np.rint(steps) == 0).mean() > 0.95


def test_an_int8_layer_keeps_its_single_scale(
    emit: Emit, quantized: Callable[[bool], nn.Module], tmp_path: Path
) -> None:
    emit(quantized(False), torch.randn(2, 3, 8, 8))
    names = [node.name for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert "first_input" not in names
    assert "second_input" not in names
