"""Constants of a TFLite file in fewer bits than they are computed in: int8 weights, and float16.

The values lie on their grids already (the passes put them there), so that nothing is rounded here. A DEQUANTIZE of a
constant is computed once, when an interpreter loads the file; a layer that reads int8 weights beside float values
quantizes the values while it runs (https://ai.google.dev/edge/litert/models/post_training_quant).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...ir.errors import StepError
from .boundary import drop_unused
from .graph import Model, Operator, Tensor, operators
from .insertion import add_buffer, add_float_twin, conversion

if TYPE_CHECKING:
    import numpy as np

_CHANNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
"""The axis of each layer's weights that counts its output channels."""
_WEIGHTS = 1
_LEAST_HALF = 2
"""Constants with fewer elements stay float32: an operator more would cost more than they do."""


def store_integers(model: Model, grids: Mapping[str, np.ndarray], is_dynamic: bool) -> None:
    """Layers' weights that lie on one of `grids` (each (channels,): scales) are int8 in the file. Changes the model.

    Dynamic layers read the integers themselves; others through a DEQUANTIZE. StepError, with its name in `grids`,
    where a grid fits no layer. Two layers with the same weights read one constant; not dynamic ones, which
    tflite-runtime 2.14 then computes otherwise (seen: 2.6 steps off).
    """
    stored: dict[int, None] = {}
    used: set[str] = set()
    for operator in operators(model):
        if operator.subgraph or operator.name not in _CHANNELS:
            continue
        weights = operator.inputs[_WEIGHTS]
        if weights is None or not weights.is_constant or weights.dtype != "float32" or weights.index in stored:
            continue
        for name, scales in grids.items():
            if (codes := _codes(weights, _CHANNELS[operator.name], scales)) is not None:
                _write_integers(model, weights, codes, scales, _CHANNELS[operator.name])
                stored[weights.index] = None
                used.update({name} if is_dynamic else _same(grids, scales))
                _say_asymmetric(model, operator, is_dynamic)
                break
    if lost := sorted(set(grids) - used):
        raise StepError(f"tflite: no layer of the file has the int8 weights {', '.join(lost)}")
    if not is_dynamic:
        _dequantize(model, list(stored))
    drop_unused(model)


def _same(grids: Mapping[str, np.ndarray], scales: np.ndarray) -> list[str]:
    """The names of all grids with these scales."""
    import numpy as np

    return [name for name, each in grids.items() if np.array_equal(each, scales)]


def store_halves(model: Model) -> None:
    """Float constants that float16 holds exactly are float16 in the file, dequantized once. Changes the model."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    found: dict[int, None] = {}
    for operator in operators(model):
        for tensor in operator.present:
            if operator.subgraph or not tensor.is_constant or tensor.dtype != "float32" or tensor.index in found:
                continue
            values = tensor.values()
            with np.errstate(over="ignore"):
                half = values.astype(np.float16)
            if tensor.elements < _LEAST_HALF or not np.array_equal(half.astype(np.float32), values):
                continue
            entry = model.subgraphs[0].tensors[tensor.index]
            entry.type, entry.buffer = schema.TensorType.FLOAT16, add_buffer(model, half)
            found[tensor.index] = None
    _dequantize(model, list(found))
    drop_unused(model)


def _codes(weights: Tensor, axis: int, scales: np.ndarray) -> np.ndarray | None:
    """The integers that times their channel's scale are the weights to the bit; None where there are none."""
    import numpy as np

    if len(scales) != weights.shape[axis]:
        return None
    values = weights.values()
    along = scales.reshape([-1 if index == axis else 1 for index in range(values.ndim)])
    codes = np.round(values / along)
    is_exact = np.array_equal(codes.astype(np.float32) * along, values) and bool(np.all(np.abs(codes) <= 127))
    return codes.astype(np.int8) if is_exact else None


def _write_integers(model: Model, weights: Tensor, codes: np.ndarray, scales: np.ndarray, axis: int) -> None:
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    is_one = len(set(scales.tolist())) == 1
    form = schema.QuantizationParametersT()
    form.scale = scales[:1] if is_one else scales
    form.zeroPoint = np.zeros(len(form.scale), np.int64)
    form.quantizedDimension = 0 if is_one else axis
    entry = model.subgraphs[0].tensors[weights.index]
    entry.type, entry.buffer, entry.quantization = schema.TensorType.INT8, add_buffer(model, codes), form


def _dequantize(model: Model, stored: list[int]) -> None:
    """Whoever read the constants of these indices reads what a DEQUANTIZE at the graph's beginning makes of them."""
    graph, first = model.subgraphs[0], []
    for index in stored:
        place = add_float_twin(model, index, "/stored")
        for operator in graph.operators:
            operator.inputs = [place if each == index else each for each in operator.inputs]
        first.append(conversion(model, "DEQUANTIZE", index, place))
    graph.operators = [*first, *graph.operators]


def _say_asymmetric(model: Model, operator: Operator, is_dynamic: bool) -> None:
    """A dense layer fits a zero point, too, to the values that it quantizes while it runs; convolutions always do."""
    if is_dynamic and operator.name == "FULLY_CONNECTED":
        model.subgraphs[0].operators[operator.index].builtinOptions.asymmetricQuantizeInputs = True
