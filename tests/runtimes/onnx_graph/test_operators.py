"""Operators that edgewright says in ONNX itself: what they compute, and that nothing is traced again for them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from edgewright.ir.state import ModelState
from edgewright.runtimes.onnx_graph.operators import translations
from edgewright.runtimes.onnxruntime import MODEL, OnnxEmitter
from torch import Tensor, nn
from torch.export import ExportedProgram

from ..conftest import IN_SCALE, MIDDLE_SCALE, IntConvolution, exported, grid


class Pooled(nn.Module):
    """(N, 3, 8, 8) to (N, 8, ...): an int8 convolution, averaged into `size` values per channel."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.size = IntConvolution(3, 8, IN_SCALE), size

    def forward(self, x: Tensor) -> Tensor:
        x = grid(torch.relu(self.first(grid(x, IN_SCALE, 128))), MIDDLE_SCALE, 0)
        return grid(nn.functional.adaptive_avg_pool2d(x, self.size), MIDDLE_SCALE, 0) + 0


class Erased(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ops.aten.zero(x)


def emitted(state: ModelState, out: Path) -> Counter[str]:
    OnnxEmitter().emit(state, None, out)  # type: ignore[arg-type]
    return Counter(node.op_type for node in onnx.load(out / MODEL).graph.node)


def run(folder: Path, image: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(folder / MODEL, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image.numpy()})[0]


@pytest.mark.parametrize(("size", "operator"), [(1, "GlobalAveragePool"), (4, "AveragePool")])
def test_pooling_computes_what_torch_does(tmp_path: Path, size: int, operator: str) -> None:
    network, image = nn.AdaptiveAvgPool2d(size), torch.randn(1, 3, 8, 8)
    assert emitted(exported(network, torch.randn(2, 3, 8, 8)), tmp_path) == {operator: 1}
    torch.testing.assert_close(torch.from_numpy(run(tmp_path, image)), network(image))


def test_pooling_to_one_value_is_computed_in_int8(tmp_path: Path) -> None:
    state = exported(Pooled(1), torch.randn(2, 3, 8, 8))
    coverage = OnnxEmitter().emit(state, None, tmp_path).coverage  # type: ignore[arg-type]
    assert coverage.float_operators == ()


def test_a_program_with_nothing_to_take_apart_is_not_traced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = exported(Pooled(1), torch.randn(2, 3, 8, 8))

    def refuse(self: Any, *arguments: Any, **options: Any) -> ExportedProgram:
        raise AssertionError("traced again")

    monkeypatch.setattr(ExportedProgram, "run_decompositions", refuse)
    assert emitted(state, tmp_path)["GlobalAveragePool"] == 1


def test_zeros_are_zeros(tmp_path: Path) -> None:
    image = torch.randn(1, 3, 8, 8)
    emitted(exported(Erased(), torch.randn(2, 3, 8, 8)), tmp_path)
    assert np.array_equal(run(tmp_path, image), image.numpy())


def test_one_pooling_to_more_values_leaves_all_to_torch() -> None:
    pool = torch.ops.aten.adaptive_avg_pool2d.default
    for size, is_ours in ((1, True), (4, False)):
        program = exported(Pooled(size), torch.randn(2, 3, 8, 8)).exported_program()
        assert (pool in translations(program)) is is_ours
