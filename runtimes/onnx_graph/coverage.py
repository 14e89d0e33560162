"""Which layers onnxruntime really runs in int8, read from the graph that it runs.

onnxruntime writes its optimized graph where it is asked to
(https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html); the level here is the one that
artifacts are deployed with. Fused nodes keep the name of the layer that they came from, with `_token_` and a number,
or `/` and the fusion's name, behind it; convolutions in a blocked layout are named after their output, with `_nchwc`.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...ir.errors import StepError
from ..contract import Coverage

if TYPE_CHECKING:
    import onnx

INT8 = {
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm", "QLinearConvTranspose"), 3),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"), 1),
    "QAttention": 1,
}
"""Layers in int8, and which of their inputs is the weight."""
FLOAT = {
    **dict.fromkeys(("Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose"), 1),
    **dict.fromkeys(("Gemm", "FusedGemm", "MatMul", "FusedMatMul", "MatMulNBits", "Attention"), 1),
}
"""Layers in float, and which of their inputs is the weight."""
SUFFIX = re.compile(r"(_token_\d+)+$|_nchwc$|/\w*Fusion\w*/?$")
_ACTIVATIONS = frozenset({"Relu", "Clip"})
"""Activations that onnxruntime folds into the layer or the quantize node beside them."""
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_STILL = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Gather", "Concat", "Split", "Identity"})
"""Operators that only move values: in whichever format, they compute nothing."""


def coverage(file: Path) -> Coverage:
    """What of the model in `file` onnxruntime runs in int8 on this machine. StepError where it does not load."""
    import onnx

    emitted = onnx.load(str(file), load_external_data=False).graph
    optimized = _optimized(file)
    constants = {weight.name for weight in optimized.initializer}
    makers = _makers(optimized)
    in_int8 = [node for node in optimized.node if _holds_weights(node, INT8, constants, makers)]
    in_float = [node for node in optimized.node if _holds_weights(node, FLOAT, constants, makers)]
    is_quantized = any(node.op_type == _DEQUANTIZE for node in emitted.node)
    layers = [_layer(node.name, emitted) for node in in_float] if is_quantized else []
    left = [(name, _why(layer, emitted)) for name, layer in layers]
    kinds = Counter(node.op_type for node in optimized.node)
    return Coverage(
        quantized=len(in_int8),
        eligible=len(in_int8) + len(in_float),
        left=tuple(left),
        conversions=kinds[_QUANTIZE] + kinds[_DEQUANTIZE],
        float_operators=_float_operators(optimized) if is_quantized else (),
    )


def _layer(name: str, emitted: onnx.GraphProto) -> tuple[str, onnx.NodeProto | None]:
    """The emitted layer that onnxruntime made the node `name` of, and what it is called."""
    stem = SUFFIX.sub("", name)
    named = {node.name: node for node in emitted.node}
    maker = named.get(stem) or _makers(emitted).get(stem)
    while maker is not None and maker.op_type in _ACTIVATIONS:
        maker = _makers(emitted).get(maker.input[0])
    return (stem, None) if maker is None else (maker.name, maker)


def _optimized(file: Path) -> onnx.GraphProto:
    """The graph that a session with the deployed options runs; weights that lie outside the model are not read."""
    import onnx
    import onnxruntime

    library: Any = onnxruntime
    options = library.SessionOptions()
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # saving at this level warns that the file fits this machine only, as it should
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory(prefix="edgewright-coverage-") as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "optimized.data")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        try:
            library.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exception types share no base of their own
            raise StepError(f"onnxruntime does not load {file.name}: {error}") from error
        return onnx.load(str(path), load_external_data=False).graph


def _makers(graph: onnx.GraphProto) -> Mapping[str, onnx.NodeProto]:
    return {output: node for node in graph.node for output in node.output}


def _holds_weights(
    node: onnx.NodeProto, kinds: Mapping[str, int], constants: set[str], makers: Mapping[str, onnx.NodeProto]
) -> bool:
    """Whether the node is one of `kinds` and its weight is a constant, perhaps behind a dequantize or a transpose."""
    place = kinds.get(node.op_type)
    if place is None or place >= len(node.input):
        return False
    name = node.input[place]
    while name in makers and makers[name].op_type in {_DEQUANTIZE, "Transpose"}:
        name = makers[name].input[0]
    return name in constants


def _why(layer: onnx.NodeProto | None, emitted: onnx.GraphProto) -> str:
    """Why a layer of a quantized model was left in float, as its neighbours in the emitted model tell."""
    if layer is None:
        return "onnxruntime made it of several nodes and runs it in float"
    makers = _makers(emitted)
    if not _is_dequantized(layer.input[1], makers):
        return "kept in float: its weights are not quantized"
    if not _is_dequantized(layer.input[0], makers):
        return "its input is not quantized"
    readers = list(_readers(layer.output[0], emitted))
    if not any(reader.op_type == _QUANTIZE for reader in readers):
        found = ", ".join(sorted({reader.op_type for reader in readers})) or "the model's output"
        return f"its output is not quantized; {found} reads it in float"
    if len(readers) > 1:
        return "its output is also read in float"
    if activation := _activation_after(layer, emitted):
        return f"its {activation} stays: onnxruntime drops one only where the zero point is the activation's own floor"
    return f"quantize nodes stand all around it, but onnxruntime has no int8 kernel for this {layer.op_type}"


def _activation_after(layer: onnx.NodeProto, graph: onnx.GraphProto) -> str:
    """The activation between a layer and its quantize node; empty where there is none."""
    return next(
        (node.op_type for node in graph.node if layer.output[0] in node.input and node.op_type in _ACTIVATIONS), ""
    )


def _is_dequantized(name: str, makers: Mapping[str, onnx.NodeProto]) -> bool:
    while name in makers and makers[name].op_type == "Transpose":
        name = makers[name].input[0]
    return name in makers and makers[name].op_type == _DEQUANTIZE


def _readers(name: str, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Who reads a value, directly or behind an activation."""
    for node in graph.node:
        if name in node.input:
            if node.op_type in _ACTIVATIONS:
                yield from _readers(node.output[0], graph)
            else:
                yield node


def _float_operators(graph: onnx.GraphProto) -> tuple[tuple[str, int], ...]:
    """What is computed in float on values that were quantized before."""
    makers = _makers(graph)
    computed = Counter(node.op_type for node in graph.node if _reads_dequantized(node.input, makers))
    return tuple(sorted((name, number) for name, number in computed.items() if name not in {_QUANTIZE, *_STILL}))


def _reads_dequantized(inputs: Iterable[str], makers: Mapping[str, onnx.NodeProto]) -> bool:
    return any(name in makers and makers[name].op_type == _DEQUANTIZE for name in inputs)
