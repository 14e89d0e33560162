from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from edgewright.ir.errors import InputError
from edgewright.runtimes.flatbuffer.file import read, to_bytes
from edgewright.runtimes.flatbuffer.graph import text
from edgewright.runtimes.flatbuffer.metadata import (
    IDENTIFIER,
    NAME,
    PARSER_VERSION,
    ModelNotes,
    TensorNotes,
    with_notes,
    write_with_notes,
)

LABELS = ("cat", "dog", "größe", "none of them")
NOTES = ModelNotes(
    "animals",
    "Tells animals apart.",
    version="3",
    author="us",
    license="Apache-2.0",
    inputs=(TensorNotes("An image.", mean=(127.5, 100.0), std=(50.0, 60.0)),),
    outputs=(TensorNotes("Scores.", labels=LABELS),),
)


class Table:
    """A table of a flatbuffer, read by the places of its fields, after https://flatbuffers.dev/internals."""

    def __init__(self, content: bytes, at: int) -> None:
        from flatbuffers.table import Table as Raw

        self.raw: Any = Raw(content, at)

    @classmethod
    def root(cls, content: bytes) -> Table:
        return cls(content, int.from_bytes(content[:4], "little"))

    def _at(self, field: int) -> int:
        return int(self.raw.Offset(4 + 2 * field))

    def text(self, field: int) -> str:
        return str(self.raw.String(self._at(field) + self.raw.Pos).decode()) if self._at(field) else ""

    def number(self, field: int) -> int:
        from flatbuffers import number_types

        return int(self.raw.Get(number_types.Uint8Flags, self._at(field) + self.raw.Pos)) if self._at(field) else 0

    def tables(self, field: int) -> list[Table]:
        if not self._at(field):
            return []
        start = self.raw.Vector(self._at(field))
        return [
            Table(self.raw.Bytes, self.raw.Indirect(start + 4 * k)) for k in range(self.raw.VectorLen(self._at(field)))
        ]

    def table(self, field: int) -> Table:
        return Table(self.raw.Bytes, self.raw.Indirect(self._at(field) + self.raw.Pos))

    def floats(self, field: int) -> tuple[float, ...]:
        start, count = self.raw.Vector(self._at(field)), self.raw.VectorLen(self._at(field))
        return tuple(np.frombuffer(self.raw.Bytes, np.float32, count, start).tolist())


def metadata_of(content: bytes) -> Table:
    model = read(content)
    (entry,) = [entry for entry in model.metadata if text(entry.name) == NAME]
    found = bytes(model.buffers[entry.buffer].data)
    assert found[4:8] == IDENTIFIER
    return Table.root(found)


@pytest.fixture
def content(tflite_models: ModuleType) -> bytes:
    return with_notes(tflite_models.convolution("int8"), NOTES)


def test_what_is_said_of_the_model_is_read_back(content: bytes) -> None:
    found = metadata_of(content)
    assert [found.text(field) for field in (0, 1, 2, 4, 5, 7)] == [
        "animals",
        "Tells animals apart.",
        "3",
        "us",
        "Apache-2.0",
        PARSER_VERSION,
    ]


def test_what_is_said_of_tensors_is_read_back(content: bytes) -> None:
    (graph,) = metadata_of(content).tables(3)
    (taken,), (given,) = graph.tables(2), graph.tables(3)
    assert [tensor.text(0) for tensor in (taken, given)] == ["codes", "layer;convolution"]
    assert [tensor.text(1) for tensor in (taken, given)] == ["An image.", "Scores."]
    (unit,) = taken.tables(4)
    assert (unit.number(0), unit.table(1).floats(0), unit.table(1).floats(1)) == (1, (127.5, 100.0), (50.0, 60.0))
    (file,) = given.tables(6)
    assert (file.text(0), file.number(2)) == ("labels.txt", 2)
    assert taken.table(3).number(0) == 1  # FeatureProperties


def test_labels_lie_behind_the_model_as_a_zip_file(content: bytes, tflite_models: ModuleType) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == list(LABELS)
        assert archive.testzip() is None


def test_the_model_computes_the_same(content: bytes, tflite_models: ModuleType) -> None:
    codes = np.random.default_rng(0).integers(-128, 128, (1, 4, 4, 2), np.int8)
    plain = to_bytes(tflite_models.convolution("int8"))
    assert np.array_equal(tflite_models.run(content, codes), tflite_models.run(plain, codes))


def test_the_same_notes_give_the_same_bytes_and_stand_there_once(content: bytes, tflite_models: ModuleType) -> None:
    model = tflite_models.convolution("int8")
    assert with_notes(model, NOTES) == content
    with_notes(model, replace(NOTES, description="Something else."))
    assert metadata_of(to_bytes(model)).text(1) == "Something else."


def test_a_file_is_written_whole(content: bytes, tmp_path: Path, tflite_models: ModuleType) -> None:
    write_with_notes(tflite_models.convolution("int8"), NOTES, tmp_path / "model.tflite")
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]
    assert (tmp_path / "model.tflite").read_bytes() == content


def test_a_model_of_which_little_is_said(tflite_models: ModuleType) -> None:
    content = with_notes(tflite_models.convolution("int8"), ModelNotes("plain"))
    (graph,) = metadata_of(content).tables(3)
    (taken,) = graph.tables(2)
    assert (taken.text(0), taken.text(1), taken.tables(4), taken.tables(6)) == ("codes", "", [], [])
    assert not zipfile.is_zipfile(io.BytesIO(content))


@pytest.mark.parametrize(("channels", "color"), [(3, 1), (1, 2)])
def test_an_image_has_its_colors(channels: int, color: int, tflite_models: ModuleType) -> None:
    values = [tflite_models.Value(name, (1, 4, 4, channels)) for name in "xy"]
    model = tflite_models.build(values, [tflite_models.Step("RELU", ("x",), ("y",))], ["x"], ["y"])
    content = with_notes(model, ModelNotes("image", inputs=(TensorNotes(is_image=True),)))
    found = metadata_of(content).tables(3)[0].tables(2)[0].table(3)
    assert (found.number(0), found.table(1).number(0)) == (2, color)


def test_labels_of_several_outputs_have_files_of_their_own(tflite_models: ModuleType) -> None:
    values = [tflite_models.Value(name, (1, 2)) for name in "xyz"]
    steps = [tflite_models.Step("RELU", ("x",), ("y",)), tflite_models.Step("RELU6", ("x",), ("z",))]
    notes = ModelNotes("two", outputs=(TensorNotes(labels=("a", "b")), TensorNotes(labels=("c", "d"))))
    content = with_notes(tflite_models.build(values, steps, ["x"], ["y", "z"]), notes)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "labels_0.txt": b"a\nb\n",
            "labels_1.txt": b"c\nd\n",
        }
    given = metadata_of(content).tables(3)[0].tables(3)
    assert [tensor.tables(6)[0].text(0) for tensor in given] == ["labels_0.txt", "labels_1.txt"]


@pytest.mark.parametrize(
    ("notes", "problem"),
    [
        (replace(NOTES, inputs=NOTES.inputs * 2), "inputs: expected 1, as the model has, got 2"),
        (replace(NOTES, outputs=(TensorNotes(labels=("a",)),)), "labels: expected 4, one for each value, got 1"),
        (replace(NOTES, outputs=(TensorNotes(labels=("a", "b", "c", "d\n")),)), "got one with a line break"),
        (replace(NOTES, inputs=(TensorNotes(mean=(1.0,) * 3, std=(1.0,) * 3),)), "mean: expected 1 number or 2, got 3"),
        (replace(NOTES, inputs=(TensorNotes(mean=(1.0,)),)), "std: expected 1 numbers, as mean has, got 0"),
        (replace(NOTES, inputs=(TensorNotes(mean=(1.0,), std=(0.0,)),)), "std: expected numbers other than 0, got 0"),
        (replace(NOTES, inputs=(TensorNotes(is_image=True),)), "is_image: expected a shape"),
    ],
)  # fmt: skip
def test_notes_that_do_not_fit_the_model_are_refused(
    notes: ModelNotes, problem: str, tflite_models: ModuleType
) -> None:
    with pytest.raises(InputError, match=problem):
        with_notes(tflite_models.convolution("int8"), notes)
