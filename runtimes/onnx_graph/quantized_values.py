"""How the values of an ONNX graph are quantized: which quantize or dequantize node stands behind each, and its grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
STILL = frozenset(
    {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Pad", "MaxPool", "Expand"}
)
"""Operators that hand on the values that they read, so that a dequantize node before them counts for who reads them."""
_PREFIX = "node_"


@dataclass(frozen=True)
class Quantized:
    """A dequantize node. `dtype`: of its integers, as ONNX names it; `axis`: where it has a scale for each channel.

    `scales` is None where they are computed and not stored, `zero_points` where there are none or they are computed.
    """

    node: onnx.NodeProto
    dtype: str
    scales: np.ndarray | None
    zero_points: np.ndarray | None
    axis: int | None

    @property
    def furthest_zero_point(self) -> float:
        """The zero point that is furthest from 0; 0 where all are, or where they are computed."""
        if self.zero_points is None:
            return 0.0
        points = self.zero_points.astype("float32").flatten()
        return float(max(points, key=abs, default=0.0))


class Graph:
    """An ONNX model's main graph, read for its quantization."""

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        self.nodes = list(model.graph.node)
        self.opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
        self._folder = folder
        self._stored: dict[str, onnx.TensorProto] = {entry.name: entry for entry in model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and (value := attribute(node, "value")) is not None:
                self._stored[node.output[0]] = value
        self.makers = {output: node for node in self.nodes for output in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.outputs = {entry.name for entry in model.graph.output}
        typed = (*model.graph.input, *model.graph.value_info, *model.graph.output)
        self._shapes = {entry.name: entry.type.tensor_type.shape.dim for entry in typed}
        self.is_quantized = any(node.op_type == DEQUANTIZE for node in self.nodes)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a stored value; None where it is computed."""
        stored = self._stored.get(name)
        return None if stored is None else tuple(stored.dims)

    def sizes(self, name: str) -> tuple[int, ...] | None:
        """The sizes of a computed value's axes, as far as the model says them: 0 for one that is open."""
        found = self._shapes.get(name)
        return None if found is None else tuple(int(axis.dim_value) for axis in found)

    def stored_dtype(self, name: str) -> str | None:
        """The type of a stored value, as ONNX names it; None where it is computed."""
        import onnx

        stored = self._stored.get(name)
        return None if stored is None else onnx.TensorProto.DataType.Name(stored.data_type)

    def dtypes(self) -> set[str]:
        """The types of all stored values and of all casts."""
        import onnx

        casts = [attribute(node, "to") for node in self.nodes if node.op_type == "Cast"]
        kinds = {entry.data_type for entry in self._stored.values()} | {int(kind) for kind in casts if kind is not None}
        return {onnx.TensorProto.DataType.Name(kind) for kind in kinds}

    def array(self, name: str) -> np.ndarray | None:
        """A stored value, from the file beside the model where it lies there; None where it is computed."""
        import onnx

        stored = self._stored.get(name)
        if stored is None:
            return None
        if onnx.external_data_helper.uses_external_data(stored):
            onnx.external_data_helper.load_external_data_for_tensor(stored, str(self._folder))
        array: np.ndarray = onnx.numpy_helper.to_array(stored)
        return array

    def depends_on_input(self, name: str) -> bool:
        """Whether a value is computed of what the model is given, and not of stored values alone."""
        waiting, seen = [name], {name}
        while waiting:
            current = waiting.pop()
            if current not in self.makers and current not in self._stored:
                return True
            maker = self.makers.get(current)
            fresh = [] if maker is None else [each for each in maker.input if each and each not in seen]
            seen.update(fresh)
            waiting += fresh
        return False

    def quantized(self, name: str) -> Quantized | None:
        """The dequantize node that a value comes from, through what only moves values; None where it is float."""
        while name in self.makers and self.makers[name].op_type in STILL:
            name = self.makers[name].input[0]
        maker = self.makers.get(name)
        return None if maker is None or maker.op_type != DEQUANTIZE else self.grid(maker)

    def grid(self, node: onnx.NodeProto) -> Quantized:
        """What a quantize or dequantize node says of its integers."""
        scales = self.array(node.input[1])
        zero = node.input[2] if len(node.input) > 2 and node.input[2] else ""
        is_single = scales is None or (scales.size == 1 and scales.ndim <= 1)
        axis = None if is_single else int(attribute(node, "axis", 1))
        return Quantized(node, self._dtype(node, zero), scales, self.array(zero) if zero else None, axis)

    def source(self, node: onnx.NodeProto) -> str:
        """The value whose integers a dequantize node reads: what is quantized before it, or what is stored."""
        maker = self.makers.get(node.input[0])
        return str((maker if maker is not None and maker.op_type == QUANTIZE else node).input[0])

    def name(self, node: onnx.NodeProto) -> str:
        """What a layer is called: the user's module, by the name of its weights; else the node, or what it makes."""
        weights = node.input[1] if len(node.input) > 1 else ""
        while weights in self.makers and self.makers[weights].op_type in (*STILL, QUANTIZE, DEQUANTIZE):
            weights = self.makers[weights].input[0]
        module = weights.rpartition(".")[0] if weights in self._stored else ""
        return str(module or node.name.removeprefix(_PREFIX) or node.output[0])

    def _dtype(self, node: onnx.NodeProto, zero: str) -> str:
        """The integers' type: that of the zero point, else what is stored or asked for, else ONNX's own choice."""
        import onnx

        if zero and (dtype := self.stored_dtype(zero)) is not None:
            return dtype
        if node.op_type == DEQUANTIZE:
            maker = self.makers.get(node.input[0])
            if maker is not None and maker.op_type == QUANTIZE:
                return self.grid(maker).dtype
            return self.stored_dtype(node.input[0]) or "UINT8"
        asked = int(attribute(node, "output_dtype", 0))
        return str(onnx.TensorProto.DataType.Name(asked)) if asked else "UINT8"


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of the node's attribute; `default` where it has none."""
    import onnx

    found = next((entry for entry in node.attribute if entry.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)
