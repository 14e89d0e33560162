"""Keys of the step cache: everything that can change what a step makes, and nothing else."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..passes.contract import Pass
from ..passes.text import to_text
from ..runtimes import EMITTERS

if TYPE_CHECKING:
    from ..runtimes import Emitter, ModelNotes
    from ..targets import Target

_LIBRARIES = (
    "torch",
    "torch-pruning",
    "accelerate",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "litert-torch",
    "litert-converter",
    "numpy",
)
_APART = frozenset({"commands", "ship"})
"""Rooms whose code changes neither a state, nor an artifact, nor a measurement."""


def digest(*parts: object) -> str:
    """The SHA-256, in hex, of the parts' JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def step_key(step: Pass, before: str, data: Mapping[str, str], task: str, seed: int) -> str:
    """The key of a step: its text, the state it starts from, what its context gives it, and library versions.

    `data` holds the fingerprint of each split that the step reads; `task` and `seed` are the recipe's.
    """
    return digest("step", to_text(step), before, dict(data), task, seed, library_versions(), own_source())


def emit_key(emitter: Emitter, target: Target, before: str, notes: ModelNotes) -> str:
    """The key of an emitted artifact: the state, the profile, what it says of itself, and library versions."""
    profile = target.model_dump(mode="json", exclude={"hardware", "summary"})
    return digest(
        "emit",
        emitter.name,
        profile,
        before,
        asdict(notes),
        library_versions(),
        runtime_version(emitter.name),
        {package: _version(package) for package in emitter.builders},
        own_source(),
    )


@functools.cache
def library_versions() -> dict[str, str]:
    """The versions of the libraries that passes build on."""
    return {name: _version(name) for name in _LIBRARIES}


def runtime_version(name: str) -> str:
    """The installed version of the runtime's library, or of what stands in for it; "absent" where there is none."""
    if name not in EMITTERS:
        return _version(name)
    reference = EMITTERS[name].reference()
    if reference is None:
        return _version(next(iter(EMITTERS[name].packages)))
    return f"not run; {reference.said}, {_version(reference.runtime)}"


@functools.cache
def own_source() -> str:
    """A hash of edgewright's own code below the command line: a changed pass never finds its old results."""
    root = Path(__file__).resolve().parents[1]
    hashes = hashlib.sha256()
    for path in sorted([*root.glob("*/*.py"), *root.glob("*/*/*.py")]):
        if (path.parent / "__init__.py").exists() and path.parent.name not in _APART:
            hashes.update(path.read_bytes())
    return hashes.hexdigest()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
