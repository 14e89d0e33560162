"""A .tflite file is read and written, checked and as the same bytes for the same model.

The file is a flatbuffer with the identifier TFL3
(https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

from __future__ import annotations

import copy
import os
import struct
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...ir.errors import InputError, Problem, StepError
from .graph import LEFT_OUT, UNSIZED, Model, builtin_number, integers, operator_names, tensors

IDENTIFIER, SCHEMA_VERSION = b"TFL3", 3
BUFFER_ALIGNMENT = 16
"""Bytes; schema.fbs says `force_align: 16` of a buffer's data, which kernels for ARM count on."""
_EXPECTED = "a whole TFLite file (a flatbuffer with the identifier TFL3)"
_BROKEN = (struct.error, LookupError, ValueError, TypeError, OverflowError, AttributeError, MemoryError)
"""What reading a flatbuffer whose offsets lead nowhere raises."""


def read(source: Path | bytes, where: str = "the converted model") -> Model:
    """The file's model; `where` names bytes in messages. InputError where it is cut short, damaged or no TFLite file.

    What stands behind the flatbuffer, as the files that metadata appends, is not part of it.
    """
    if isinstance(source, Path):
        source, where = _content(source), str(source)
    if source[4:8] != IDENTIFIER:
        raise InputError(Problem(where, "", _EXPECTED, _seen(source)))
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(source, 0))
        _mend(model, source)
        flaw = next(_flaws(model), None)
    except _BROKEN as error:
        flaw = f"an offset that leads nowhere ({error})"
    if flaw is not None:
        found = f"one of {len(source):,} bytes that is cut short or damaged: {flaw}"
        raise InputError(Problem(where, "", _EXPECTED, found))
    return model


def to_bytes(model: Model) -> bytes:
    """The model's file; equal models give equal bytes. StepError over 2 GiB, more than a flatbuffer can hold."""
    import flatbuffers
    from flatbuffers.builder import BuilderSizeError

    packed = copy.copy(model)
    packed.buffers = [_AlignedBuffer(buffer.data) for buffer in model.buffers]
    packed.subgraphs = _with_shared_grids(model)
    builder = flatbuffers.Builder(1024)
    try:
        builder.Finish(packed.Pack(builder), IDENTIFIER)
    except BuilderSizeError as error:
        raise StepError("tflite: the file would be over 2 GiB, more than a flatbuffer can hold") from error
    return bytes(builder.Output())


def write(model: Model, path: Path) -> None:
    """The model's file lies at `path`, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(to_bytes(model))
    os.replace(unfinished, path)


@dataclass(frozen=True)
class _AlignedBuffer:
    """A BufferT whose data starts at a multiple of BUFFER_ALIGNMENT; the schema's own Pack leaves it at one of 4."""

    data: Any

    def Pack(self, builder: Any) -> int:
        """What ModelT.Pack calls for each buffer; the buffer's position."""
        import numpy as np
        from ai_edge_litert import schema_py_generated as schema

        content = np.frombuffer(b"" if self.data is None else bytes(self.data), np.uint8)
        place = None
        if content.size:
            builder.Prep(BUFFER_ALIGNMENT, content.size)
            place = builder.CreateNumpyVector(content)
        schema.BufferStart(builder)
        if place is not None:
            schema.BufferAddData(builder, place)
        return int(schema.BufferEnd(builder))


@dataclass(frozen=True)
class _SharedGrid:
    """A QuantizationParametersT that is stored once, and so are its vectors, however many tensors of a file have them.

    Zero points take 8 bytes for each channel of each tensor: in a small network a fifth of the file, nearly all of it
    zeros. `places` are those that the file holds already.
    """

    grid: Any
    places: dict[tuple[Any, ...], int]

    def Pack(self, builder: Any) -> int:
        """What TensorT.Pack calls for each tensor; the table's position."""
        from ai_edge_litert import schema_py_generated as schema

        scales, zero_points = self._vector(builder, "scale", "f4"), self._vector(builder, "zeroPoint", "i8")
        key = (scales, zero_points, self.grid.quantizedDimension)
        if key not in self.places:
            schema.QuantizationParametersStart(builder)
            schema.QuantizationParametersAddScale(builder, scales)
            schema.QuantizationParametersAddZeroPoint(builder, zero_points)
            schema.QuantizationParametersAddQuantizedDimension(builder, self.grid.quantizedDimension)
            self.places[key] = schema.QuantizationParametersEnd(builder)
        return self.places[key]

    def _vector(self, builder: Any, name: str, kind: str) -> int:
        import numpy as np

        content = np.asarray(getattr(self.grid, name), dtype=kind)
        key = (kind, content.tobytes())
        if key not in self.places:
            self.places[key] = builder.CreateNumpyVector(content)
        return self.places[key]


def _with_shared_grids(model: Model) -> list[Any]:
    """The model's subgraphs, whose tensors share what they say of scales; what says more than that stays as it is."""
    places: dict[tuple[Any, ...], int] = {}
    graphs = [copy.copy(graph) for graph in model.subgraphs]
    for graph in graphs:
        graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
        for tensor in graph.tensors:
            grid = tensor.quantization
            if grid is not None and grid.scale is not None and grid.zeroPoint is not None and _is_plain(grid):
                tensor.quantization = _SharedGrid(grid, places)
    return graphs


def _is_plain(grid: Any) -> bool:
    return grid.min is None and grid.max is None and grid.details is None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(Problem(str(path), "", "a readable file", str(error.strerror).lower())) from None


def _seen(content: bytes) -> str:
    if len(content) < 8:
        return f"a file of {len(content)} bytes"
    if content[:2] == b"PK":
        return "a zip file"
    return f"one with {content[4:8]!r} where the identifier stands"


def _mend(model: Model, content: bytes) -> None:
    """Lists that were left out are empty, indices are plain integers, and data behind the flatbuffer is in its buffer.

    Files over 2 GiB keep a buffer's data behind the flatbuffer, from `offset` on (schema.fbs, Buffer).
    """
    import numpy as np

    for name in ("operatorCodes", "subgraphs", "buffers", "metadata", "signatureDefs"):
        setattr(model, name, getattr(model, name) or [])
    for signature in model.signatureDefs:
        signature.inputs, signature.outputs = signature.inputs or [], signature.outputs or []
    for graph in model.subgraphs:
        graph.tensors, graph.operators = graph.tensors or [], graph.operators or []
        for holder in (graph, *graph.operators):
            holder.inputs, holder.outputs = integers(holder.inputs), integers(holder.outputs)
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset, buffer.size = 0, 0


def _flaws(model: Model) -> Iterator[str]:
    """What no interpreter could follow: each index that names nothing, each constant that lacks bytes."""
    if model.version != SCHEMA_VERSION or not model.subgraphs:
        yield f"schema version {model.version} with {len(model.subgraphs)} subgraphs"
        return
    for graph in model.subgraphs:
        known = range(len(graph.tensors))
        yield from _outside("tensor", (*graph.inputs, *graph.outputs), known)
        yield from _outside("buffer", (tensor.buffer for tensor in graph.tensors), range(len(model.buffers)))
        for operator in graph.operators:
            yield from _outside("operator code", (operator.opcodeIndex,), range(len(model.operatorCodes)))
            yield from _outside("tensor", operator.inputs, range(LEFT_OUT, len(known)))
            yield from _outside("tensor", operator.outputs, known)
    for code in model.operatorCodes:
        yield from _outside("operator", (builtin_number(code),), operator_names())
    yield from _outside("buffer", (entry.buffer for entry in model.metadata), range(len(model.buffers)))
    for signature in model.signatureDefs:
        yield from _outside("subgraph", (signature.subgraphIndex,), range(len(model.subgraphs)))
        named = (entry.tensorIndex for entry in (*signature.inputs, *signature.outputs))
        yield from _outside("tensor", named, range(len(model.subgraphs[signature.subgraphIndex].tensors)))
    for number in range(len(model.subgraphs)):
        yield from _lacking(model, number)


def _outside(what: str, found: Iterable[int], known: Container[int]) -> Iterator[str]:
    yield from (f"{what} {index}, which is not there" for index in found if index not in known)


def _lacking(model: Model, subgraph: int) -> Iterator[str]:
    """The constants whose data is not as long as their shape and type say; sparse ones say it otherwise."""
    for tensor, raw in zip(tensors(model, subgraph), model.subgraphs[subgraph].tensors, strict=True):
        if tensor.data is None or tensor.dtype in UNSIZED or raw.sparsity is not None:
            continue
        if tensor.data.size != tensor.bytes:
            yield f"tensor {tensor.name} with {tensor.data.size:,} of {tensor.bytes:,} bytes"
