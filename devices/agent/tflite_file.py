"""What a .tflite file says of itself, read without an interpreter, and whether it is whole.

Interpreters believe a file's offsets: one that was cut short ends their process. The format is
https://github.com/tensorflow/tensorflow/blob/v2.14.0/tensorflow/lite/schema/schema.fbs in the encoding of
https://flatbuffers.dev/internals; the numbers of fields below are their places in the schema.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .contract import AgentError

IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of every file of this format."""


@dataclass(frozen=True)
class Signature:
    """One entry point: the model's own names of its inputs and outputs, in the file's order, with their tensors."""

    key: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class TfliteFile:
    """A whole file. `computed`: the tensors that operators of the first subgraph write, in the order of execution."""

    signatures: tuple[Signature, ...]
    computed: tuple[int, ...]


def read(file: str) -> TfliteFile:
    """What the file says; AgentError, with what was expected and found, where it is another format or cut short."""
    with open(file, "rb") as stream:
        start = stream.read(8)
        if len(start) < 8 or start[4:] != IDENTIFIER:
            raise AgentError(f"{file}: expected a TFLite file ('TFL3' as bytes 4 to 8), found {start[4:]!r}")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _model(Table(data, struct.unpack_from("<I", data)[0]))
            except _Outside as error:
                size = f"{len(data)} bytes that name what lies at {error}"
                raise AgentError(f"{file}: expected a whole TFLite file, found {size}: it was cut short") from None


class _Outside(Exception):
    """A position beyond the file's end, or before its start."""


class Table:
    """A table of a flatbuffer, all of whose own bytes lie in the file."""

    def __init__(self, data: Any, at: int) -> None:
        self._data = data
        self._at = at
        self._slots = at - self._number("<i", at)
        self._slots_size = self._number("<H", self._slots)
        self._inside(at + self._number("<H", self._slots + 2))

    def number(self, field: int, form: str, default: int) -> int:
        """A scalar of the `struct` form."""
        at = self._field(field)
        return default if at is None else self._number(form, at)

    def numbers(self, field: int, form: str) -> tuple[int, ...]:
        """A vector of scalars; empty where the table has none."""
        start, count = self._vector(field, struct.calcsize(form))
        return struct.unpack_from(f"<{count}{form[1:]}", self._data, start) if count else ()

    def text(self, field: int) -> str:
        """A string; empty where the table has none."""
        start, count = self._vector(field, 1)
        return bytes(self._data[start : start + count]).decode("utf-8", "replace")

    def is_inside(self, field: int, size: int) -> bool:
        """True; the vector of elements of `size` bytes lies in the file."""
        return self._vector(field, size)[0] >= 0

    def tables(self, field: int) -> Iterator[Table]:
        """The tables of a vector."""
        start, count = self._vector(field, 4)
        for at in range(start, start + 4 * count, 4):
            yield Table(self._data, at + self._number("<I", at))

    def _field(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._slots_size:
            return None
        offset = self._number("<H", self._slots + slot)
        return self._at + offset if offset else None

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        at = self._field(field)
        if at is None:
            return 0, 0
        at += self._number("<I", at)
        count = self._number("<I", at)
        self._inside(at + 4 + count * size)
        return at + 4, count

    def _number(self, form: str, at: int) -> int:
        self._inside(at + struct.calcsize(form))
        number: int = struct.unpack_from(form, self._data, at)[0]
        return number

    def _inside(self, end: int) -> None:
        if not 0 < end <= len(self._data):
            raise _Outside(end)


def _model(model: Table) -> TfliteFile:
    """What the root table says; fields by their places in schema.fbs."""
    for buffer in model.tables(4):
        buffer.is_inside(0, 1)
    for code in model.tables(1):
        code.text(1)
    graphs = list(model.tables(2))
    for tensor in (tensor for graph in graphs for tensor in graph.tables(0)):
        tensor.text(3)
    computed = [index for step in graphs[0].tables(3) for index in step.numbers(2, "<i")] if graphs else []
    signatures = tuple(
        Signature(entry.text(2), entry.number(4, "<I", 0), _named(entry, 0), _named(entry, 1))
        for entry in model.tables(7)
    )
    return TfliteFile(signatures, tuple(computed))


def _named(signature: Table, field: int) -> tuple[tuple[str, int], ...]:
    """(name, tensor) of each entry of a signature's inputs or outputs."""
    return tuple((entry.text(0), entry.number(1, "<I", 0)) for entry in signature.tables(field))
