"""What a TFLite file is for, written into it: names, labels, normalisation, a description.

The standard way (https://ai.google.dev/edge/litert/models/metadata): a flatbuffer of the schema
https://github.com/tensorflow/tflite-support/blob/master/tensorflow_lite_support/metadata/metadata_schema.fbs
(identifier M001, version 1.1.0) in a buffer that the model's metadata calls TFLITE_METADATA, and label files in a zip
archive behind the model. Android's task libraries and code generators read it; interpreters pass over it. The package
that brings the schema's own classes is no longer kept up and wants an old numpy, so the few tables are written by
their places in the schema.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...ir.errors import InputError, Problem
from ..contract import ModelNotes, TensorNotes
from .file import to_bytes
from .graph import Model, Tensor, inputs, outputs, text

NAME, IDENTIFIER = "TFLITE_METADATA", b"M001"
PARSER_VERSION = "1.0.0"
"""The first version of the schema, which has all that is written here."""
_FEATURE, _IMAGE = 1, 2
"""FeatureProperties and ImageProperties in the union ContentProperties."""
_NORMALIZATION = 1
"""NormalizationOptions in the union ProcessUnitOptions."""
_AXIS_LABELS = 2
"""TENSOR_AXIS_LABELS of AssociatedFileType: a name for each value along the last axis."""
_COLORS = {3: 1, 1: 2}
"""ColorSpaceType by channels: RGB, GRAYSCALE."""
_NO_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive can say: the same labels give the same bytes."""


def write_with_notes(model: Model, notes: ModelNotes, path: Path) -> None:
    """The file at `path` is the model with its metadata, label files behind it. Changes the model.

    InputError where notes and tensors do not fit: their number, that of the labels or of the means.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(with_notes(model, notes))
    os.replace(unfinished, path)


def with_notes(model: Model, notes: ModelNotes) -> bytes:
    """The bytes that `write_with_notes` writes."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    ends = [*_beside(inputs(model), notes.inputs, "inputs"), *_beside(outputs(model), notes.outputs, "outputs")]
    problems = [problem for tensor, note in ends for problem in _problems(tensor, note)]
    if problems:
        raise InputError(problems)
    files = _label_files(notes.outputs)
    content = _Writer(len(inputs(model)), files).model(notes, ends)
    model.metadata = [entry for entry in model.metadata if text(entry.name) != NAME]
    model.metadata.append(schema.MetadataT(NAME, len(model.buffers)))
    model.buffers.append(schema.BufferT(np.frombuffer(content, np.uint8)))
    return _followed_by(
        to_bytes(model), {name: note.labels for name, note in zip(files, _labelled(notes.outputs), strict=True)}
    )


def _beside(found: Sequence[Tensor], notes: Sequence[TensorNotes], what: str) -> list[tuple[Tensor, TensorNotes]]:
    if notes and len(notes) != len(found):
        raise InputError(Problem("the metadata", what, f"{len(found)}, as the model has", str(len(notes))))
    return list(zip(found, notes or [TensorNotes()] * len(found), strict=True))


def _problems(tensor: Tensor, note: TensorNotes) -> Iterable[Problem]:
    channels = tensor.shape[-1] if tensor.shape else 1
    if note.labels and len(note.labels) != channels:
        yield Problem(
            "the metadata", f"{tensor.name}: labels", f"{channels}, one for each value", str(len(note.labels))
        )
    if any(set("\r\n") & set(label) for label in note.labels):
        yield Problem("the metadata", f"{tensor.name}: labels", "each on one line", "one with a line break")
    for name, numbers in (("mean", note.mean), ("std", note.std)):
        if len(numbers) not in (0, 1, channels):
            yield Problem("the metadata", f"{tensor.name}: {name}", f"1 number or {channels}", str(len(numbers)))
    if len(note.mean) != len(note.std):
        yield Problem(
            "the metadata", f"{tensor.name}: std", f"{len(note.mean)} numbers, as mean has", str(len(note.std))
        )
    if 0 in note.std:
        yield Problem("the metadata", f"{tensor.name}: std", "numbers other than 0", "0")
    if note.is_image and (len(tensor.shape) != 4 or channels not in _COLORS):
        yield Problem(
            "the metadata", f"{tensor.name}: is_image", "a shape (N, height, width, 1 or 3)", str(tensor.shape)
        )


def _labelled(notes: Sequence[TensorNotes]) -> list[TensorNotes]:
    return [note for note in notes if note.labels]


def _label_files(notes: Sequence[TensorNotes]) -> list[str]:
    """The name of each label file; a single one is called as everyone calls it."""
    labelled = _labelled(notes)
    return ["labels.txt"] if len(labelled) == 1 else [f"labels_{place}.txt" for place in range(len(labelled))]


def _followed_by(content: bytes, files: Mapping[str, Sequence[str]]) -> bytes:
    """The model with a zip archive of the files behind it, one label a line; as it is where there are none."""
    if not files:
        return content
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, labels in files.items():
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, "".join(f"{label}\n" for label in labels))
    return stream.getvalue()


class _Writer:
    """Writes the tables of the schema, each by the places of its fields; a table's parts are written before it."""

    def __init__(self, number_of_inputs: int, files: Sequence[str]) -> None:
        import flatbuffers

        self._builder: Any = flatbuffers.Builder(1024)
        self._number_of_inputs = number_of_inputs
        self._files = iter(files)

    def model(self, notes: ModelNotes, ends: Sequence[tuple[Tensor, TensorNotes]]) -> bytes:
        """The whole flatbuffer: ModelMetadata of one SubGraphMetadata."""
        tensors = [self._tensor(tensor, note) for tensor, note in ends]
        sides = tensors[: self._number_of_inputs], tensors[self._number_of_inputs :]
        graph = self._table(7, {2: self._vector(sides[0]), 3: self._vector(sides[1])})
        texts = {0: notes.name, 1: notes.description, 2: notes.version, 4: notes.author, 5: notes.license}
        fields = {place: self._text(value) for place, value in {**texts, 7: PARSER_VERSION}.items()}
        root = self._table(8, {**fields, 3: self._vector([graph])})
        self._builder.Finish(root, IDENTIFIER)
        return bytes(self._builder.Output())

    def _tensor(self, tensor: Tensor, note: TensorNotes) -> int:
        """TensorMetadata."""
        files = [self._labels(next(self._files))] if note.labels else []
        units = [self._normalization(note)] if note.mean else []
        fields = {0: self._text(tensor.name), 1: self._text(note.description), 3: self._content(tensor, note)}
        return self._table(7, {**fields, 4: self._vector(units), 6: self._vector(files)})

    def _content(self, tensor: Tensor, note: TensorNotes) -> int:
        """Content, with what kind it is."""
        if not note.is_image:
            return self._table(3, {1: self._table(0, {})}, {0: _FEATURE})
        properties = self._table(2, {}, {0: _COLORS[tensor.shape[-1]]})
        return self._table(3, {1: properties}, {0: _IMAGE})

    def _normalization(self, note: TensorNotes) -> int:
        """ProcessUnit of NormalizationOptions."""
        options = self._table(2, {0: self._floats(note.mean), 1: self._floats(note.std)})
        return self._table(2, {1: options}, {0: _NORMALIZATION})

    def _labels(self, name: str) -> int:
        """AssociatedFile."""
        fields = {0: self._text(name), 1: self._text("The names of the values, one a line.")}
        return self._table(4, fields, {2: _AXIS_LABELS})

    def _text(self, value: str) -> int:
        return int(self._builder.CreateString(value)) if value else 0

    def _floats(self, values: Sequence[float]) -> int:
        import numpy as np

        return int(self._builder.CreateNumpyVector(np.array(values, np.float32)))

    def _vector(self, places: Sequence[int]) -> int:
        """A vector of tables; 0, no field at all, where there are none."""
        if not places:
            return 0
        self._builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self._builder.PrependUOffsetTRelative(place)
        return int(self._builder.EndVector())

    def _table(self, fields: int, places: Mapping[int, int], numbers: Mapping[int, int] | None = None) -> int:
        """A table of so many fields: those that refer to others by position, and small numbers."""
        self._builder.StartObject(fields)
        for field, place in sorted(places.items()):
            self._builder.PrependUOffsetTRelativeSlot(field, place, 0)
        for field, number in sorted((numbers or {}).items()):
            self._builder.PrependUint8Slot(field, number, 0)
        return int(self._builder.EndObject())
