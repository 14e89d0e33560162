"""A manifest is read as untrusted: hashes first, and no path out of the artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edgewright.ir.errors import InputError
from edgewright.ship import manifest
from edgewright.ship.manifest import Manifest, TensorEntry


def write(folder: Path, **changes: Any) -> Manifest:
    (folder / "model.onnx").write_bytes(b"model")
    fields: dict[str, Any] = {
        "edgewright": "0",
        "build": "key",
        "target": "x86-avx2",
        "runtime": "onnxruntime",
        "runtime_version": "1",
        "task": "classification",
        "threads": 1,
        "main": "model.onnx",
        "files": {"model.onnx": manifest.entry_of(folder / "model.onnx")},
        "inputs": (TensorEntry(name="image", shape=(1, 3, 4, 4), dtype="float32"),),
        "outputs": (TensorEntry(name="output", step=0.1),),
        "steps": ("export{}",),
    }
    made = Manifest(**{**fields, **changes})
    made.write(folder)
    return made


def test_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = write(tmp_path)
    assert manifest.read(tmp_path) == written


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"other")
    with pytest.raises(InputError, match=r"files.model.onnx: expected SHA-256 .*, got other contents"):
        manifest.read(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../b", "..\\b"])
def test_a_path_out_of_the_artifact_is_refused(tmp_path: Path, name: str) -> None:
    entry = write(tmp_path).files["model.onnx"]
    write(tmp_path, files={name: entry, "model.onnx": entry})
    with pytest.raises(InputError, match="expected a path inside the artifact"):
        manifest.read(tmp_path)


def test_a_link_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "elsewhere").write_bytes(b"model")
    (tmp_path / "model.onnx").unlink()
    (tmp_path / "model.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="no file of that name"):
        manifest.read(tmp_path)


def test_the_main_file_is_one_of_the_files(tmp_path: Path) -> None:
    write(tmp_path, main="other.onnx")
    with pytest.raises(InputError, match="main: expected one of the artifact's files"):
        manifest.read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "other/1"}'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        manifest.read(tmp_path)


def test_a_folder_without_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected an artifact.s folder, with a manifest\.json"):
        manifest.read(tmp_path)


def test_unknown_keys_are_refused(tmp_path: Path) -> None:
    document = json.loads(json.dumps(write(tmp_path).model_dump(mode="json")))
    (tmp_path / "manifest.json").write_text(json.dumps({**document, "surprise": 1}))
    with pytest.raises(InputError, match="surprise"):
        manifest.read(tmp_path)
