from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from edgewright.runtimes import Emitted
from edgewright.runtimes.onnx_graph.count import count
from torch import nn

Emit = Callable[..., Emitted]
Build = Callable[[bool], nn.Module]

CONVOLUTIONS = 64 * (8 * 3 * 9 + 8 * 8 * 9)


@pytest.mark.parametrize("batch", [1, None])
def test_layers_of_every_kind(emit: Emit, tmp_path: Path, batch: int | None) -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2),  # (8, 4, 4)
        nn.ReLU6(),
        nn.ConvTranspose2d(8, 6, 2, stride=2, bias=False),  # (6, 8, 8)
        nn.Flatten(2),
        nn.Linear(64, 10),
    )
    emit(network, torch.randn(2, 4, 8, 8), batch=batch)
    macs, parameters = count(tmp_path / "model.onnx")
    assert macs == 8 * 16 * 2 * 9 + 8 * 16 * 6 * 4 + 6 * 64 * 10
    assert parameters == sum(parameter.numel() for parameter in network.parameters())


def test_quantization_changes_neither_number(emit: Emit, quantized: Build, tmp_path: Path) -> None:
    emitted = emit(quantized(False), torch.randn(2, 3, 8, 8))
    assert emitted.macs == CONVOLUTIONS + 8 * 4
    assert emitted.parameters == (3 * 8 * 9 + 8) + (8 * 8 * 9 + 8) + (8 * 4 + 4)


def test_attention_over_an_open_batch_counts_as_over_one_sample(emit: Emit) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    fixed = emit(layer, torch.randn(2, 5, 8), batch=1)
    open_batch = emit(layer, torch.randn(2, 5, 8), batch=None)
    assert fixed.macs == open_batch.macs == 5 * 8 * (3 * 8 + 8 + 2 * 16) + 2 * 5 * 5 * 8
