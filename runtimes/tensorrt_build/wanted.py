"""Which layers of an ONNX model are quantized so that TensorRT can run them in INT8, by the graph alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract import Coverage

if TYPE_CHECKING:
    import numpy as np
    import onnx

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_MOVES = frozenset({"Transpose", "Reshape"})
_STILL = _MOVES | {"Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "Identity", "MaxPool"}
"""Operators that move or select values."""


def wanted(file: Path) -> tuple[tuple[str, ...], Coverage]:
    """The layers that read both their input and their weights through dequantize nodes, and what that covers.

    `left` says why a layer of a quantized model is none of them.
    """
    import onnx

    graph = onnx.load(str(file), load_external_data=False).graph
    makers = {output: node for node in graph.node for output in node.output}
    constants = {weight.name for weight in graph.initializer}
    layers = [node for node in graph.node if node.op_type in PRODUCTS and _is_stored(node.input[1], makers, constants)]
    reasons = {node.name: _why_not(node, makers) for node in layers}
    kinds = Counter(node.op_type for node in graph.node)
    is_quantized = bool(kinds[_QUANTIZE])
    names = tuple(name for name, why in reasons.items() if not why)
    left = tuple((name, why) for name, why in reasons.items() if why and is_quantized)
    floats = _float_operators(graph, makers) if is_quantized else ()
    return names, Coverage(len(names), len(layers), left, kinds[_QUANTIZE], floats)


def sparse_layers(file: Path) -> tuple[str, ...]:
    """The layers whose stored weights have two zeros in each four consecutive input channels, at every position.

    That is what tensor cores skip from compute capability 8.0 on
    (https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html, "Sparsity").
    """
    import onnx

    graph = onnx.load(str(file)).graph
    makers = {output: node for node in graph.node for output in node.output}
    weights = {weight.name: weight for weight in graph.initializer}
    found = []
    for node in graph.node:
        name = node.input[1] if node.op_type in PRODUCTS else ""
        while name in makers and makers[name].op_type == _DEQUANTIZE:
            name = makers[name].input[0]
        if name in weights and _is_sparse(onnx.numpy_helper.to_array(weights[name]), _reduced_axis(node)):
            found.append(node.name)
    return tuple(found)


def _reduced_axis(layer: onnx.NodeProto) -> int:
    """The axis of the weights along which products are added up."""
    is_transposed = any(attribute.name == "transB" and attribute.i for attribute in layer.attribute)
    return 1 if layer.op_type == "Conv" or is_transposed else 0


def _is_sparse(weights: np.ndarray, axis: int) -> bool:
    if weights.ndim < 2 or weights.shape[axis] % 4:
        return False
    last = weights.swapaxes(axis, -1)
    zeros = (last.reshape(*last.shape[:-1], -1, 4) == 0).sum(-1)
    return bool((zeros >= 2).all()) and bool(weights.any())


def _is_stored(name: str, makers: Mapping[str, onnx.NodeProto], constants: set[str]) -> bool:
    while name in makers and makers[name].op_type in {_DEQUANTIZE, *_MOVES}:
        name = makers[name].input[0]
    return name in constants


def _why_not(layer: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> str:
    if not _is_dequantized(layer.input[1], makers):
        return "its weights are not quantized"
    return "" if _is_dequantized(layer.input[0], makers) else "its input is not quantized"


def _is_dequantized(name: str, makers: Mapping[str, onnx.NodeProto]) -> bool:
    while name in makers and makers[name].op_type in _MOVES:
        name = makers[name].input[0]
    return name in makers and makers[name].op_type == _DEQUANTIZE


def _float_operators(graph: onnx.GraphProto, makers: Mapping[str, onnx.NodeProto]) -> tuple[tuple[str, int], ...]:
    """What is computed in float on values that were quantized before; layers that run in INT8 aside."""
    counted = Counter(
        node.op_type
        for node in graph.node
        if any(name in makers and makers[name].op_type == _DEQUANTIZE for name in node.input)
        and node.op_type not in {_QUANTIZE, *_STILL, *PRODUCTS}
    )
    return tuple(sorted(counted.items()))
