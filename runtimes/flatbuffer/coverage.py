"""Which layers of a TFLite file compute in integers, read from the file: the interpreter runs it as it stands.

An operator's types say which kernel runs it (https://ai.google.dev/edge/litert/models/quantization_spec). Only the
interpreter's delegates change more, and they keep integers integer.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..contract import Coverage
from .file import read
from .graph import Model, Operator, Tensor, operators, tensors

WEIGHTS = dict.fromkeys(
    ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "CONV_3D"), 1
)
"""Layers with weights, and which of their inputs those are."""
_VALUES = {"TRANSPOSE_CONV": 2}
"""Layers whose values are not their first input."""
_FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})
_CODES = frozenset({"int8", "uint8", "int16", "int4", "int2"})
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})
_ON_THE_WAY = frozenset({"DEQUANTIZE", "TRANSPOSE", "RESHAPE"})
"""Operators that constants pass through on the way to the layer that they are the weights of."""
_FOLDED = re.compile(r"^(arith\.constant|tfl\.pseudo_)")
"""Names that converters give to constants which they computed themselves."""
_NUMBERED = re.compile(r";\d*$")
_CLASS = re.compile(r"\._*[A-Z][^.]*$")
_WRAPPERS = "litert_torch."
"""Modules that litert-torch puts around the user's, as for NHWC inputs."""

Makers = Mapping[int, Operator]


def coverage(file: Path) -> Coverage:
    """What of the model in `file` computes in integers. InputError where it is no TFLite file.

    Weights that are int8 under float activations count: their kernels quantize the activations when they run.
    """
    model = read(file)
    steps = _main(model)
    makers = {tensor.index: step for step in steps for tensor in step.outputs}
    layers = [step for step in steps if _is_layer(step, makers)]
    in_float = [layer for layer in layers if not _is_integer(layer) and not _is_hybrid(layer)]
    is_quantized = any(tensor.scales for tensor in tensors(model))
    return Coverage(
        quantized=len(layers) - len(in_float),
        eligible=len(layers),
        left=tuple((layer_name(layer), _why(layer, makers)) for layer in in_float) if is_quantized else (),
        conversions=sum(step.name in _CONVERSIONS and not _is_of_constants(step, makers) for step in steps),
        float_operators=_float_operators(steps, makers) if is_quantized else (),
    )


def transposes(file: Path) -> tuple[str, ...]:
    """The name of each tensor that a TRANSPOSE makes while the model runs."""
    steps = _main(read(file))
    makers = {tensor.index: step for step in steps for tensor in step.outputs}
    moved = [step for step in steps if step.name == "TRANSPOSE" and not _is_of_constants(step, makers)]
    return tuple(step.outputs[0].name for step in moved)


def count(file: Path) -> tuple[int, int]:
    """(multiply-accumulates, parameters) of one inference; an open batch counts as 1.

    Multiply-accumulates are those of convolutions and matrix products, in integers or not. Parameters are the elements
    of every constant of rank 1 and more that is computed with: floats, and integers with scales, but no shapes or axes.
    """
    model = read(file)
    steps = operators(model)
    held = {(step.subgraph, tensor.index): tensor for step in steps for tensor in step.present if _is_parameter(tensor)}
    return sum(_macs(step) for step in steps), sum(tensor.elements for tensor in held.values())


def layer_name(layer: Operator) -> str:
    """The module that the layer was, as `named_modules` calls it, where the names of its tensors tell.

    litert-torch names a tensor after the modules that its operator was traced in, outermost first, each as
    `package.Class_attribute`, with `/` between them and `;` behind; of fused operators it joins the names by `;`.
    """
    weights = layer.inputs[WEIGHTS[layer.name]] if layer.name in WEIGHTS else None
    candidates = [*([] if weights is None else [weights]), *layer.outputs]
    for tensor in candidates:
        paths = [_module_path(part) for part in _NUMBERED.sub("", tensor.name).split(";")]
        longest = max(paths, key=lambda path: path.count(".") if path else -1)
        if longest:
            return longest
    return f"{layer.name} {layer.index}"


def _module_path(name: str) -> str:
    """The path of attributes in one of litert-torch's names; a name of another form is left as it is."""
    if _FOLDED.match(name):
        return ""
    segments = name.split("/")
    if not all(_CLASS.search(segment) for segment in segments):
        return name
    if segments[0].startswith(_WRAPPERS):
        segments = segments[2:]
    attributes = [segment.rsplit(".", 1)[-1].lstrip("_").partition("_")[2] for segment in segments]
    return ".".join(attribute for attribute in attributes if attribute)


def _main(model: Model) -> list[Operator]:
    return [step for step in operators(model) if step.subgraph == 0]


def _is_layer(step: Operator, makers: Makers) -> bool:
    """Whether the operator computes with weights: constants, perhaps behind a DEQUANTIZE; not a product of values."""
    return step.name in WEIGHTS and _source(_weights(step), makers).is_constant


def _weights(step: Operator) -> Tensor:
    return step.present[WEIGHTS[step.name]]


def _values(step: Operator) -> Tensor:
    return step.present[_VALUES.get(step.name, 0)]


def _source(tensor: Tensor, makers: Makers) -> Tensor:
    """What the tensor was before anything on the way changed its form."""
    while tensor.index in makers and makers[tensor.index].name in _ON_THE_WAY:
        tensor = makers[tensor.index].present[0]
    return tensor


def _is_of_constants(step: Operator, makers: Makers) -> bool:
    """Whether the interpreter computes the operator once, when it loads the model."""
    return _source(step.present[0], makers).is_constant


def _is_integer(layer: Operator) -> bool:
    return {_values(layer).dtype, _weights(layer).dtype, layer.outputs[0].dtype} <= _CODES


def _is_hybrid(layer: Operator) -> bool:
    """Whether the kernel gets float values and integer weights: it quantizes the values as it runs."""
    return _values(layer).dtype == "float32" and _weights(layer).dtype in _CODES


def _why(layer: Operator, makers: Makers) -> str:
    """Why a layer of a quantized model computes in float."""
    if _source(_weights(layer), makers).dtype in _CODES:
        return "its weights are integers, but it computes in float: they are dequantized first"
    values = makers.get(_values(layer).index)
    if values is None or values.name != "DEQUANTIZE":
        return "kept in float: neither its weights nor its input are quantized"
    return "kept in float: its weights are not quantized"


def _float_operators(steps: Sequence[Operator], makers: Makers) -> tuple[tuple[str, int], ...]:
    """What reads or gives floats, but for conversions, layers with integer weights and what constants become."""
    found: Counter[str] = Counter()
    for step in steps:
        if step.name in _CONVERSIONS or (step.name in WEIGHTS and _is_hybrid(step)) or not step.inputs:
            continue
        if {tensor.dtype for tensor in (*step.present, *step.outputs)} & _FLOATS and not _is_of_constants(step, makers):
            found[step.name] += 1
    return tuple(sorted(found.items()))


def _is_parameter(tensor: Tensor) -> bool:
    return tensor.is_constant and bool(tensor.shape) and (tensor.dtype in _FLOATS or bool(tensor.scales))


def _macs(step: Operator) -> int:
    if step.name not in WEIGHTS:
        return 0
    values, weights, out = _values(step), _weights(step), step.outputs[0]
    match step.name:
        case "CONV_2D":  # weights (out, height, width, in / groups)
            return out.elements * math.prod(weights.shape[1:])
        case "DEPTHWISE_CONV_2D":  # weights (1, height, width, out)
            return out.elements * math.prod(weights.shape[1:3])
        case "TRANSPOSE_CONV":  # weights (out, height, width, in)
            return values.elements * math.prod(weights.shape[:3])
        case "CONV_3D":  # weights (depth, height, width, in, out)
            return out.elements * math.prod(weights.shape[:4])
        case "FULLY_CONNECTED":  # weights (out, in)
            return out.elements * weights.shape[-1]
        case _:  # BATCH_MATMUL: values (..., rows, inner), or (..., inner, rows) where they are transposed
            is_transposed = step.options is not None and step.options.adjX
            return out.elements * values.shape[-2 if is_transposed else -1]
