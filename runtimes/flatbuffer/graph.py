"""What a TFLite file's model holds, as records to read: its tensors and its operators.

A `Model` is the ModelT of TFLite's schema, as ai-edge-litert brings it
(https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ...ir.errors import StepError

if TYPE_CHECKING:
    import numpy as np

Model: TypeAlias = Any
"""ModelT of ai_edge_litert.schema_py_generated, which is not typed."""

LEFT_OUT = -1
"""The index of an optional input that an operator does without."""
_BITS = {"int4": 4, "uint4": 4, "int2": 2, "bfloat16": 16, "float8_e4m3fn": 8, "float8_e5m2": 8}
"""Types that numpy lacks; those below 8 bits lie packed."""
UNSIZED = frozenset({"string", "resource", "variant"})
"""Types that do not tell how much a value takes."""


@dataclass(frozen=True)
class Tensor:
    """One tensor; `shape` is as it is allocated, `open_axes` are those that may be resized.

    `scales` and `zero_points` are empty where it is not quantized, and one for each element of `axis` where they are
    several. `data` (bytes,) is what the file holds of a constant, a view of it.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    open_axes: tuple[int, ...] = ()
    is_variable: bool = False
    data: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def is_constant(self) -> bool:
        """Whether its values stand in the file."""
        return self.data is not None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What its values take in memory. StepError for strings and handles, whose size no type tells."""
        return math.ceil(self.elements * type_bits(self.dtype) / 8)

    def values(self) -> np.ndarray:
        """The constant's values in its shape. StepError where it is none, or of a type that numpy lacks."""
        import numpy as np

        if self.data is None or self.dtype in _BITS or self.dtype in UNSIZED:
            kind = "no constant" if self.data is None else f"of type {self.dtype}"
            raise StepError(f"tflite: tensor {self.name} is {kind}: its values cannot be read")
        return np.frombuffer(self.data.tobytes(), np.dtype(self.dtype)).reshape(self.shape)


@dataclass(frozen=True)
class Operator:
    """One operator by its name in the schema (or its own name, of a custom one); None is an input that is left out."""

    index: int
    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any = field(default=None, repr=False, compare=False)
    is_custom: bool = False
    subgraph: int = 0

    @property
    def present(self) -> tuple[Tensor, ...]:
        """The inputs that are not left out."""
        return tuple(tensor for tensor in self.inputs if tensor is not None)


def tensors(model: Model, subgraph: int = 0) -> tuple[Tensor, ...]:
    """Every tensor of a subgraph, by index."""
    graph = model.subgraphs[subgraph]
    return tuple(_tensor(model, index, tensor) for index, tensor in enumerate(graph.tensors))


def inputs(model: Model) -> tuple[Tensor, ...]:
    """The main graph's inputs in the order of the file."""
    known = tensors(model)
    return tuple(known[index] for index in model.subgraphs[0].inputs)


def outputs(model: Model) -> tuple[Tensor, ...]:
    """The main graph's outputs in the order of the file."""
    known = tensors(model)
    return tuple(known[index] for index in model.subgraphs[0].outputs)


def operators(model: Model) -> tuple[Operator, ...]:
    """Every operator of every subgraph, in the order in which they run; the main graph is subgraph 0."""
    found: list[Operator] = []
    for number, graph in enumerate(model.subgraphs):
        known = tensors(model, number)
        found += [_operator(model, known, place, number) for place in range(len(graph.operators))]
    return tuple(found)


def kind(model: Model, operator: Any) -> str:
    """The name of a schema's OperatorT."""
    code = model.operatorCodes[operator.opcodeIndex]
    name = operator_names()[builtin_number(code)]
    return text(code.customCode) if name == "CUSTOM" else name


@functools.cache
def operator_names() -> dict[int, str]:
    """The schema's operators by number."""
    from ai_edge_litert import schema_py_generated as schema

    return _names(schema.BuiltinOperator)


@functools.cache
def type_names() -> dict[int, str]:
    """The schema's types by number, as numpy calls them where it has them."""
    from ai_edge_litert import schema_py_generated as schema

    return {number: name.lower() for number, name in _names(schema.TensorType).items()}


def builtin_number(code: Any) -> int:
    """The operator that an OperatorCodeT means: one over 127 stands in the newer field, old files set the older one."""
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def text(value: bytes | str | None) -> str:
    """A name as the schema's objects hold it: bytes when read, text when set, None when missing."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def integers(values: Any) -> list[int]:
    """A vector of the schema as plain integers; one that is missing is empty."""
    return [] if values is None else [int(value) for value in values]


def type_bits(dtype: str) -> int:
    """How many bits a value takes. StepError for strings and handles, whose size no type tells."""
    import numpy as np

    if dtype in UNSIZED:
        raise StepError(f"tflite: {dtype} has no fixed size")
    return _BITS.get(dtype) or 8 * np.dtype(dtype).itemsize


def _names(enumeration: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if not name.startswith("_")}


def _tensor(model: Model, index: int, tensor: Any) -> Tensor:
    import numpy as np

    quantization, content = tensor.quantization, model.buffers[tensor.buffer].data
    data = None if content is None else np.asarray(content, np.uint8)

    def numbers(name: str, convert: Callable[[Any], Any]) -> tuple[Any, ...]:
        values = None if quantization is None else vars(quantization)[name]
        return () if values is None else tuple(convert(value) for value in values)

    return Tensor(
        index=index,
        name=text(tensor.name),
        shape=tuple(integers(tensor.shape)),
        dtype=type_names()[tensor.type],
        scales=numbers("scale", float),
        zero_points=numbers("zeroPoint", int),
        axis=0 if quantization is None else int(quantization.quantizedDimension),
        open_axes=tuple(axis for axis, size in enumerate(integers(tensor.shapeSignature)) if size < 0),
        is_variable=bool(tensor.isVariable),
        data=data if data is not None and data.size else None,
    )


def _operator(model: Model, known: tuple[Tensor, ...], place: int, subgraph: int) -> Operator:
    operator = model.subgraphs[subgraph].operators[place]
    code = model.operatorCodes[operator.opcodeIndex]
    return Operator(
        index=place,
        name=kind(model, operator),
        version=int(code.version),
        inputs=tuple(None if index == LEFT_OUT else known[index] for index in operator.inputs),
        outputs=tuple(known[index] for index in operator.outputs),
        options=operator.builtinOptions or operator.builtinOptions2,
        is_custom=operator_names()[builtin_number(code)] == "CUSTOM",
        subgraph=subgraph,
    )
