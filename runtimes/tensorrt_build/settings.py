"""engine.json: what build_engine.py reads beside the ONNX model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...ir.state import InputSpec
    from ...targets.schema import Gpu
    from ..contract import BatchRange

FILE = "engine.json"
BUILT_BY_RTX = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities that TensorRT for RTX 1.7 builds for, where none of these GPUs is."""
ALIKE_FROM = 8.0
"""Below, TensorRT for RTX computes otherwise than TensorRT 10 (seen in 1.7: no INT8 on 7.5), and says nothing of it."""


@dataclass(frozen=True)
class Settings:
    """`shapes` are min, opt and max of each input; `int8_layers` the layers that must run in INT8.

    Without `tf32`, what is float32 in the model is computed with all of its bits, as the reference outputs were.
    """

    model: str
    shapes: Mapping[str, Mapping[str, Sequence[int]]]
    int8_layers: tuple[str, ...]
    compute_capability: str
    runtime_line: str
    sparse: bool = False
    tf32: bool = False
    build_for: str = ""

    def write(self, folder: Path) -> Path:
        """The file, in `folder`."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")
        return folder / FILE


def shape_profile(inputs: Sequence[InputSpec], batch: BatchRange) -> dict[str, dict[str, list[int]]]:
    """min, opt and max of each input: the recipe's batch, or the range where that is open."""
    sizes = {"min": batch.least, "opt": batch.best, "max": batch.most}
    return {
        spec.name: {key: [size if axis is None else axis for axis in spec.shape] for key, size in sizes.items()}
        for spec in inputs
    }


def stand_in(gpu: Gpu) -> str:
    """The compute capability that TensorRT for RTX can be asked about for this GPU; empty where none is like it.

    Of a GPU that it does not build for it is the next one below of those it does.
    """
    if gpu.compute_capability in BUILT_BY_RTX and gpu.runtime_line == "tensorrt-rtx":
        return gpu.compute_capability
    wanted = float(gpu.compute_capability)
    below = [name for name in BUILT_BY_RTX if ALIKE_FROM <= float(name) <= wanted]
    return max(below, key=float, default="")
