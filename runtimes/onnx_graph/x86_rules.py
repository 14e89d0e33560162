"""What onnxruntime's x86 kernels make of a quantized ONNX model: wrong numbers where sums of two products saturate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...quantization.saturation import pairs_that_can_saturate
from .quantized_values import Graph, Quantized, attribute
from .reading import read
from .tensorrt_rules import LAYERS, Finding

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from ...targets.schema import Target

_WIDE_BITS = 8


def lint(path: Path, target: Target) -> tuple[Finding, ...]:
    """What in the ONNX model is computed otherwise, or slower, on the target than it reads; worst first.

    InputError where the file holds no ONNX model. Only the main graph is read.
    """
    graph = Graph(read(path), path.parent)
    found = [finding for node in graph.nodes if node.op_type in LAYERS for finding in _of_layer(graph, node, target)]
    return tuple(sorted(found, key=lambda finding: not finding.is_error))


def _of_layer(graph: Graph, node: onnx.NodeProto, target: Target) -> Iterator[Finding]:
    int8 = target.quantization.int8_static
    given, weights = graph.quantized(node.input[0]), graph.quantized(node.input[1])
    if int8 is None or given is None or weights is None or weights.dtype not in ("INT8", "UINT8"):
        return
    name = graph.name(node)
    if given.dtype == "INT8" and int8.activations == "uint8":
        yield Finding(name, "note", f"its input is int8: on {target.name} kernels for uint8 inputs are faster")
    rows = _rows(graph, node, weights)
    if int8.weight_bits >= _WIDE_BITS or rows is None or given.dtype != "UINT8" or weights.dtype != "INT8":
        return
    if count := pairs_that_can_saturate(rows):
        total = rows.shape[0] * ((rows.shape[1] + 1) // 2)
        most = 2 ** (int8.weight_bits - 1) - 1
        yield Finding(
            name,
            "wrong numbers",
            f"{count} of {total} pairs of neighbouring weights can exceed sixteen bits, where {target.name} saturates:"
            f" weights from -{most} to {most} can't (reduce_range in onnxruntime's own quantizer)",
        )


def _rows(graph: Graph, node: onnx.NodeProto, weights: Quantized) -> np.ndarray | None:
    """The stored integers (outputs, inputs) as they lie side by side; None where they are computed, or in groups."""
    stored = graph.array(weights.node.input[0])
    if stored is None or stored.ndim < 2 or int(attribute(node, "group", 1)) != 1:
        return None
    if node.op_type == "Conv":
        return stored.reshape(*stored.shape[:2], -1).swapaxes(1, 2).reshape(len(stored), -1)
    if node.op_type == "ConvTranspose":
        return None
    return stored if node.op_type == "Gemm" and attribute(node, "transB", 0) else stored.T
