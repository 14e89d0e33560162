"""What an ONNX model computes, operator by operator, and which value can be had of each.

Between two layers that run in integers only the integers can be had: onnxruntime fuses a layer with the dequantize
nodes before it and the quantize node behind it, and asking for a value between them would undo that. An activation
before the quantize node belongs to its layer then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract import Layer
from .coverage import SUFFIX

if TYPE_CHECKING:
    import numpy as np
    import onnx

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_ACTIVATIONS = frozenset({"Relu", "Clip"})
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_SHAPES = frozenset({"Shape", "Size"})
"""Operators whose value says nothing of the values that they read."""
_MOVES = frozenset(
    {_QUANTIZE, _DEQUANTIZE, "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast", "Expand"}
    | {"Concat", "Split", "Slice", "Gather", "Pad", "Tile", "DepthToSpace", "SpaceToDepth"}
)
"""Operators that hand on what they read, elsewhere or in another form."""


def layers(file: Path) -> tuple[Layer, ...]:
    """The model's inputs, and every operator that computes floats or integers that stand for them, as they run."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(str(file), load_external_data=False)).graph
    return _Reading(graph).layers()


def executed_names(nodes: Sequence[str], file: Path) -> tuple[str, ...]:
    """What the layers of the model are called that onnxruntime's `nodes` were made of; a node's own name where none is.

    onnxruntime puts `_token_` and a number, or the fusion's name, behind a layer's name, and calls convolutions in a
    blocked layout after their output.
    """
    import onnx

    reading = _Reading(onnx.load(str(file), load_external_data=False).graph)
    known = {key: reading.name(node)[0] for node in reading.graph.node for key in (*node.output, node.name)}
    activations = [node for node in reading.graph.node if node.op_type in _ACTIVATIONS]
    known |= {node.output[0]: known[node.input[0]] for node in activations if node.input[0] in known}
    return tuple(known.get(SUFFIX.sub("", node), node) for node in nodes)


@dataclass
class _Reading:
    """A graph on its way to layers; `origin`: the tensors of layers, and the inputs, that a value comes from."""

    graph: onnx.GraphProto
    origin: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.constants = {constant.name: constant for constant in self.graph.initializer}
        self.makers = {output: node for node in self.graph.node for output in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.dtypes = _dtypes([*self.graph.input, *self.graph.value_info, *self.graph.output])

    def layers(self) -> tuple[Layer, ...]:
        given = [entry.name for entry in self.graph.input if entry.name not in self.constants]
        found = [self._layer(name, name, False, "input", ()) for name in given]
        for node in self.graph.node:
            sources = tuple(dict.fromkeys(source for name in node.input for source in self.origin.get(name, ())))
            if not sources or node.op_type in _SHAPES or node.output[0] in self.origin:
                continue
            if node.op_type in _MOVES:
                self.origin.update(dict.fromkeys(node.output, sources))
            elif self.dtypes.get(node.output[0], "float32").startswith("float"):
                name, is_module = self.name(node)
                found.append(self._layer(node.output[0], name, is_module, node.op_type, sources))
                self.origin.update(dict.fromkeys(node.output, (found[-1].tensor,)))
        return tuple(found)

    def _layer(self, value: str, name: str, is_module: bool, operator: str, sources: tuple[str, ...]) -> Layer:
        """The layer that makes `value`; what lies between it and what can be had of it comes from that."""
        passed, fused = [value], []
        while (activation := self._activation_behind(passed[-1])) is not None:
            passed.append(activation.output[0])
            fused.append(activation.op_type)
        quantize = next((node for node in self.readers.get(passed[-1], []) if node.op_type == _QUANTIZE), None)
        if quantize is None:
            self.origin[value] = (value,)
            return Layer(name, is_module, operator, value, self.dtypes.get(value, "float32"), sources)
        scale, zero_point = (self._constant(entry) for entry in quantize.input[1:3])
        tensor = quantize.output[0]
        self.origin.update(dict.fromkeys(passed, (tensor,)))
        form = {"scale": float(scale.flat[0]), "zero_point": int(zero_point.flat[0])}
        return Layer(name, is_module, operator, tensor, str(zero_point.dtype), sources, tuple(fused), **form)  # type: ignore[arg-type]

    def _activation_behind(self, value: str) -> onnx.NodeProto | None:
        """The activation that alone reads the value."""
        readers = self.readers.get(value, [])
        is_one = len(readers) == 1 and readers[0].op_type in _ACTIVATIONS and readers[0].input[0] == value
        return readers[0] if is_one and value not in {entry.name for entry in self.graph.output} else None

    def name(self, node: onnx.NodeProto) -> tuple[str, bool]:
        """What the node is called, and whether that is the user's module: of its weights, `module.weight`, or its own.

        A batch norm that was folded into a convolution leaves it its own name, and the weights theirs.
        """
        if node.op_type not in _WEIGHTED:
            return node.name.removeprefix("node_"), False
        weights = [name for name in map(self._constant_behind, node.input[1:2]) if name]
        module = weights[0].rpartition(".")[0] if weights else ""
        return (module or node.name, True) if weights else (node.name.removeprefix("node_"), False)

    def _constant_behind(self, name: str) -> str:
        """The constant that a value is made of; empty where it is computed."""
        while name in self.makers and self.makers[name].op_type in (_DEQUANTIZE, "Transpose", "Gather"):
            name = self.makers[name].input[0]
        return name if name in self.constants else ""

    def _constant(self, name: str) -> np.ndarray:
        import onnx

        return onnx.numpy_helper.to_array(self.constants[name])


def _dtypes(entries: Iterable[onnx.ValueInfoProto]) -> Mapping[str, str]:
    """The type of each value as numpy calls it; of those that are known."""
    import onnx

    kinds = {entry.name: entry.type.tensor_type.elem_type for entry in entries}
    return {name: onnx.helper.tensor_dtype_to_np_dtype(kind).name for name, kind in kinds.items() if kind}
