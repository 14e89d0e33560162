"""manifest.json: what an artifact is, what it needs, and the hash of every file in it. Read as untrusted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..ir.documents import problems_of
from ..ir.errors import InputError, Problem

FILE = "manifest.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Part):
    """One file of the artifact."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: int


class TensorEntry(_Part):
    """One input or output; `shape` is None where unknown, and its first axis None where the batch stays open.

    Shape and dtype are the network's own. `artifact_dtype` is what the file takes or gives in its place: integers
    that stand for (value - zero_point) * scale; `channels_last`: it has (N, H, W, C) in place of the (N, C, H, W) here.
    """

    name: str
    shape: tuple[int | None, ...] | None = None
    dtype: str | None = None
    artifact_dtype: str | None = None
    scale: float | None = None
    zero_point: int = 0
    channels_last: bool = False
    step: float | None = None
    """Outputs: one quantization step of the calibrated range; parity is counted in it."""
    description: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    """Inputs: the network was trained on (x - mean) / std, one number or one for each channel."""
    labels: tuple[str, ...] = ()
    """Outputs: the names of the values along the last axis."""


class Manifest(_Part):
    """The artifact's own description; `build` stands for everything that went into it."""

    format: Literal["edgewright-artifact/1"] = "edgewright-artifact/1"
    edgewright: str
    build: str
    target: str
    runtime: str
    runtime_version: str
    task: str
    threads: int
    main: str
    files: dict[str, FileEntry]
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    steps: tuple[str, ...]
    about: dict[str, str] = {}
    """What the recipe says of the network: name, description, version, author, license."""
    results: dict[str, Any] = {}

    def write(self, folder: Path) -> None:
        """The manifest lies in `folder`."""
        (folder / FILE).write_text(json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n")


def read(folder: Path) -> Manifest:
    """The artifact's manifest, once every file was found in the folder with the right hash. InputError otherwise."""
    path = folder / FILE
    try:
        manifest = Manifest.model_validate(json.loads(path.read_text()))
    except OSError as error:
        raise InputError(
            Problem(str(folder), "", f"an artifact's folder, with a {FILE}", _instead(folder, error))
        ) from None
    except ValidationError as error:
        raise InputError(problems_of(error, str(path), Manifest)) from None
    except ValueError as error:
        raise InputError(Problem(str(path), "", "JSON", str(error))) from None
    if problems := [problem for name, entry in manifest.files.items() for problem in _check(folder, name, entry)]:
        raise InputError(problems)
    if manifest.main not in manifest.files:
        raise InputError(Problem(str(path), "main", "one of the artifact's files", manifest.main))
    return manifest


def entry_of(path: Path) -> FileEntry:
    """Hash and size of a file."""
    with path.open("rb") as stream:
        return FileEntry(sha256=hashlib.file_digest(stream, "sha256").hexdigest(), size_bytes=path.stat().st_size)


def _instead(folder: Path, error: OSError) -> str:
    """What is there in place of an artifact, and where one may be meant."""
    if not isinstance(error, FileNotFoundError) or not folder.is_dir():
        return str(error.strerror).lower()
    inside = sorted(path.parent for path in folder.glob(f"*/{FILE}"))
    return f"a folder without one (did you mean {inside[0]}?)" if inside else "a folder without one"


def _check(folder: Path, name: str, entry: FileEntry) -> list[Problem]:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name:
        return [Problem(str(folder), f"files.{name}", "a path inside the artifact", "a path that leads out of it")]
    path = folder / relative
    if path.is_symlink() or not path.is_file():
        return [Problem(str(folder), f"files.{name}", "a file", "no file of that name")]
    if entry_of(path) != entry:
        return [Problem(str(folder), f"files.{name}", f"SHA-256 {entry.sha256[:12]}...", "other contents")]
    return []
