"""What TensorRT makes of a quantized ONNX model, before its parser reads it: refusals, wrong numbers, float layers.

Most of what goes wrong there goes wrong in silence: a graph is accepted, and a layer runs in float. Every rule here was
seen in TensorRT for RTX 1.7.1.116 (its parser, its builder and the builder's log of types, on a host without a GPU), or
says where it stands. NVIDIA's own words: TensorRT, Explicit Quantization
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/quantized-types-explicit-quantization.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...ir.errors import InputError, Problem
from ...targets import builtin_names, load_target
from .quantized_values import DEQUANTIZE, QUANTIZE, STILL, Graph, Quantized, attribute
from .reading import read

if TYPE_CHECKING:
    import onnx

    from ...targets.schema import Gpu, Target

Severity = Literal["refused", "wrong numbers", "runs in float", "note"]
ERRORS: tuple[Severity, ...] = ("refused", "wrong numbers", "runs in float")
"""What an artifact must not have; a note tells what may be meant so."""
UNSUPPORTED = frozenset({
    "AffineGrid", "Bernoulli", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
    "CenterCropPad", "Col2Im", "Compress", "ConcatFromSequence", "ConvInteger", "CumProd", "DFT", "DeformConv", "Det",
    "DynamicQuantizeLinear", "ImageDecoder", "MatMulInteger", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix",
    "Multinomial", "NegativeLogLikelihoodLoss", "Optional", "OptionalGetElement", "OptionalHasElement", "QLinearConv",
    "QLinearMatMul", "RegexFullMatch", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase",
    "SequenceInsert", "SequenceLength", "SequenceMap", "SoftmaxCrossEntropyLoss", "SplitToSequence", "StringConcat",
    "StringNormalizer", "StringSplit", "SwiGLU", "TfIdfVectorizer", "Unique",
})  # fmt: skip
"""ONNX's operators that the parser says it does not know (`OnnxParser.supports_operator`)."""
INTEGER_OPERATORS = frozenset({"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"})
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSwish", "Gelu", "Elu"})
LEAST_FEATURES = 16
"""Smaller matrix products are slower in INT8 than in float (nvidia-modelopt 0.47, `_MIN_MATMUL_DIM`)."""
LEAST_POINT_INPUTS = 5
"""Convolutions of a single position with 1 to 4 inputs run in float, with 5 to 9 in INT8 (8.6, 8.9 and 12.0 alike)."""
_PLACES = ("its input", "its weights", "its bias")
"""What a layer's inputs are to it, in ONNX's order."""
_FLOAT8 = "FLOAT8E4M3FN"
_TYPES = {"BFLOAT16": "bf16", _FLOAT8: "fp8"}
"""Types of ONNX that not every GPU has, and what profiles call them."""


@dataclass(frozen=True)
class Finding:
    """One rule that a layer breaks, in a sentence, and what TensorRT would do."""

    layer: str
    severity: Severity
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.layer}: {self.message}"

    @property
    def is_error(self) -> bool:
        """Whether an artifact must not have it."""
        return self.severity in ERRORS


def lint(path: Path, target: Target) -> tuple[Finding, ...]:
    """What in the ONNX model TensorRT would refuse, compute wrongly, or run in float on the target; worst first.

    InputError where the target is no GPU or the file holds no ONNX model. Only the main graph is read, not the bodies
    of loops and conditions.
    """
    if target.gpu is None:
        every = [load_target(name, Path("/")) for name in builtin_names()]
        known = ", ".join(entry.name for entry in every if entry.gpu is not None)
        other = f"{target.name}, whose runtime {target.runtime} has no rules here"
        raise InputError(Problem("lint", "--target", f"a target with a GPU: {known}, or a profile of your own", other))
    graph = Graph(read(path), path.parent)
    found = list(_of_model(graph, target.gpu))
    for node in graph.nodes:
        found += _of_operator(graph, node)
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            found += _of_grid(graph, node)
        if node.op_type in LAYERS:
            found += _of_layer(graph, node, target.gpu)
        if node.op_type == "Add" and graph.is_quantized:
            found += _of_sum(graph, node)
    order = (*ERRORS, "note")
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: order.index(finding.severity)))


def _of_model(graph: Graph, gpu: Gpu) -> Iterator[Finding]:
    if graph.opset > gpu.latest_opset:
        found = f"it uses operator set {graph.opset}; the parser there is known to read up to {gpu.latest_opset}"
        yield Finding("the model", "note", found)
    for dtype in sorted(graph.dtypes() & set(_TYPES)):
        if _TYPES[dtype] not in gpu.precisions:
            why = f"it holds {dtype}, which compute capability {gpu.compute_capability} does not have"
            yield Finding("the model", "refused", why)


def _of_operator(graph: Graph, node: onnx.NodeProto) -> Iterator[Finding]:
    if node.op_type in INTEGER_OPERATORS:
        why = f"{node.op_type} computes on integers; TensorRT takes float operators between quantize nodes only"
        yield Finding(graph.name(node), "refused", why)
    elif node.domain in ("", "ai.onnx") and node.op_type in UNSUPPORTED:
        yield Finding(graph.name(node), "refused", f"TensorRT has no operator {node.op_type}")
    elif node.domain not in ("", "ai.onnx"):
        yield Finding(graph.name(node), "refused", f"{node.op_type} of the domain {node.domain} needs a plugin")


def _of_grid(graph: Graph, node: onnx.NodeProto) -> Iterator[Finding]:
    """What a quantize or dequantize node must be: symmetric int8 or FP8, with scales that are stored and above zero."""
    grid = graph.grid(node)
    name, what = _whose(graph, node)
    for severity, message in _faults(grid, graph.stored_dtype(node.input[0])):
        yield Finding(name, severity, f"{what}: {message}")
    if node.op_type == DEQUANTIZE and graph.depends_on_input(node.input[1]):
        yield Finding(name, "refused", f"{what}: the scale is computed at run time; TensorRT wants it stored")


def _faults(grid: Quantized, stored: str | None) -> Iterator[tuple[Severity, str]]:
    """What is wrong with a grid; `stored` is the type of the integers where they are stored."""
    if grid.scales is not None and not bool((grid.scales > 0).all()):
        yield "refused", f"a scale is {float(grid.scales.min()):g}; TensorRT takes scales above 0 only"
    if grid.dtype == "INT32":
        yield "refused", "int32 behind a dequantize node; keep it float32"
    elif grid.dtype not in ("INT8", "UINT8", "INT4", _FLOAT8, "FLOAT4E2M1"):
        yield "refused", f"quantized as {grid.dtype.lower()}; TensorRT takes int8 and FP8 E4M3"
    elif grid.furthest_zero_point:
        yield "refused", f"the zero point is {grid.furthest_zero_point:g}; TensorRT takes symmetric grids only"
    elif grid.dtype == "UINT8" and stored == "UINT8":
        yield "refused", "stored as uint8; TensorRT takes int8"
    elif grid.dtype == "UINT8":
        yield "wrong numbers", "quantized as uint8, which TensorRT reads as int8: what is above 127 steps is cut off"


def _whose(graph: Graph, node: onnx.NodeProto) -> tuple[str, str]:
    """The layer that reads what the node quantizes, and what it is to that layer."""
    waiting, seen = list(node.output), set(node.output)
    while waiting:
        value = waiting.pop(0)
        for reader in graph.readers.get(value, []):
            if reader.op_type in LAYERS:
                return graph.name(reader), _PLACES[list(reader.input).index(value)]
            if reader.op_type in (QUANTIZE, DEQUANTIZE, *STILL) and reader.output[0] not in seen:
                seen.add(reader.output[0])
                waiting.append(reader.output[0])
    return graph.name(node), f"the value {graph.source(node)}"


def _of_layer(graph: Graph, node: onnx.NodeProto, gpu: Gpu) -> Iterator[Finding]:
    """Whether a convolution or matrix product runs in INT8 or FP8 where it looks as if it did."""
    name = graph.name(node)
    inputs, weights = (graph.quantized(value) for value in node.input[:2])
    if inputs is None and weights is None:
        if graph.is_quantized:
            yield Finding(name, "note", f"this {node.op_type} is not quantized and runs in float")
        return
    if inputs is None or weights is None:
        given = (
            "weights are quantized and its input is not" if inputs is None else "input is quantized and its weights not"
        )
        yield Finding(name, "runs in float", f"its {given}; TensorRT would run it in float")
        return
    if (_FLOAT8 in (inputs.dtype, weights.dtype)) and inputs.dtype != weights.dtype:
        types = [_TYPES.get(entry.dtype, entry.dtype).upper() for entry in (inputs, weights)]
        why = f"its input is {types[0]} and its weights are {types[1]}; the builder fails where they differ"
        yield Finding(name, "refused", why)
        return
    yield from _of_axes(graph, node, inputs, weights)
    if node.op_type == "ConvTranspose" and gpu.runtime_line == "tensorrt-rtx":
        why = "TensorRT for RTX has no INT8 transposed convolution; it would run it in float"
        yield Finding(name, "runs in float", why)
    if small := _small(graph, node):
        why = f"{small} with fewer than {LEAST_FEATURES}: in INT8 it is slower than in float; leave it out"
        yield Finding(name, "note", why)
    if inner := _inputs_at_one_position(graph, node):
        why = f"{inner} inputs at one position, with fewer than {LEAST_POINT_INPUTS}: a single sample runs in float"
        yield Finding(name, "note", why)
    for reader in graph.readers.get(node.output[0], []):
        if reader.op_type == QUANTIZE and _activation_behind(graph, reader):
            why = "its output is quantized before its activation, which breaks their fusion and rounds once more"
            yield Finding(name, "note", why)


def _of_axes(graph: Graph, node: onnx.NodeProto, inputs: Quantized, weights: Quantized) -> Iterator[Finding]:
    name = graph.name(node)
    if inputs.axis is not None:
        why = "its input has a scale for each channel; TensorRT would run it in float"
        yield Finding(name, "runs in float", why)
    if weights.axis is None or weights.scales is None:
        return
    if attribute(weights.node, "block_size", 0):
        why = "its weights have a scale for each block; TensorRT would run it in float"
        yield Finding(name, "runs in float", why)
        return
    rank = len(graph.shape(graph.source(weights.node)) or ()) or (2 if node.op_type in ("Gemm", "MatMul") else 4)
    axis = _seen_axis(graph, node.input[1], weights, rank)
    wanted = _channel_axis(node, rank)
    if axis != wanted and node.op_type != "ConvTranspose":
        why = f"weights are quantized along axis {axis}, not {wanted}; TensorRT would run it in float"
        yield Finding(name, "runs in float", why)


def _channel_axis(node: onnx.NodeProto, rank: int) -> int:
    """The axis of a layer's weights that counts its outputs."""
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return rank - 1 if node.op_type == "MatMul" else 0


def _seen_axis(graph: Graph, value: str, weights: Quantized, rank: int) -> int:
    """The axis of the scales, as the layer sees it behind the transposes that stand between."""
    passed: list[onnx.NodeProto] = []
    while value in graph.makers and graph.makers[value].op_type in STILL:
        passed.append(graph.makers[value])
        value = passed[-1].input[0]
    axis = (weights.axis or 0) % rank
    for node in reversed(passed):
        if node.op_type == "Transpose":
            axis = list(attribute(node, "perm", range(rank - 1, -1, -1))).index(axis)
    return axis


def _small(graph: Graph, node: onnx.NodeProto) -> str:
    """The sizes of a matrix product that is small; empty where it is not."""
    weights = graph.quantized(node.input[1])
    shape = None if weights is None else graph.shape(graph.source(weights.node))
    if node.op_type not in ("Gemm", "MatMul") or shape is None or len(shape) != 2 or min(shape) >= LEAST_FEATURES:
        return ""
    return f"its weights are {shape[0]} by {shape[1]},"


def _inputs_at_one_position(graph: Graph, node: onnx.NodeProto) -> int:
    """The inputs of a convolution of a single position by a kernel of one, where they are few; 0 where they are not."""
    weights = graph.quantized(node.input[1])
    shape = None if weights is None else graph.shape(graph.source(weights.node))
    inner = graph.sizes(node.input[0])
    if node.op_type != "Conv" or shape is None or inner is None or {*shape[2:], *inner[2:]} != {1}:
        return 0
    return shape[1] if shape[1] < LEAST_POINT_INPUTS and shape[1] == inner[1] else 0


def _activation_behind(graph: Graph, quantize: onnx.NodeProto) -> bool:
    """Whether what is quantized goes, alone, into an activation."""
    readers = [
        reader
        for entry in graph.readers.get(quantize.output[0], [])
        for reader in graph.readers.get(entry.output[0], [])
    ]
    return len(readers) == 1 and readers[0].op_type in ACTIVATIONS


def _of_sum(graph: Graph, node: onnx.NodeProto) -> Iterator[Finding]:
    """Whether a layer's sum with another tensor reads that tensor in int8."""
    makers = [graph.makers.get(value) for value in node.input]
    fused = [
        maker is not None and maker.op_type == "Conv" and graph.quantized(maker.input[0]) is not None
        for maker in makers
    ]
    if not any(fused) or graph.shape(node.input[0]) is not None or graph.shape(node.input[1]) is not None:
        return
    if not any(graph.quantized(value) for value in node.input):
        other = node.input[0 if fused[1] else 1]
        why = (
            f"it adds {other} in float: one more float tensor is written and read; quantize it behind a node of its own"
        )
        yield Finding(graph.name(node), "note", why)
