"""The old interpreter as a device: tflite-runtime 2.14, the last one, in a Python environment of its own.

It was built against numpy 1 and has no package for Pythons after 3.11, so that it can't live beside torch and the newer
interpreter. It is made by a command, never by a build.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..ir.errors import InputError, Problem, StepError
from .local import LocalDevice

NAME = "tflite-runtime"
PACKAGES = ("tflite-runtime==2.14.0", "numpy==1.26.4")
PYTHON = (3, 11)


def find(folder: Path) -> LocalDevice | None:
    """The device whose environment lies in `folder`; None where none was made."""
    python = folder / NAME / "bin" / "python"
    return LocalDevice(NAME, str(python)) if python.exists() else None


def make(folder: Path, say: Callable[[str], None]) -> LocalDevice:
    """The environment lies in `folder`, whole or not at all; one that is there already is taken.

    InputError where there is no Python 3.11, StepError where pip can't install what is needed.
    """
    if found := find(folder):
        return found
    python = _interpreter()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=folder) as unfinished:
        fresh = Path(unfinished) / NAME
        say(f"an environment for {', '.join(PACKAGES)}, with {python}")
        _run([python, "-m", "venv", str(fresh)])
        _run([str(fresh / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES])
        _run([str(fresh / "bin" / "python"), "-c", "import tflite_runtime.interpreter"])
        fresh.rename(folder / NAME)
    return LocalDevice(NAME, str(folder / NAME / "bin" / "python"))


def _interpreter() -> str:
    """A Python of the one version that the package was built for and that we support."""
    if sys.version_info[:2] == PYTHON:
        return sys.executable
    wanted = f"python{PYTHON[0]}.{PYTHON[1]}"
    if found := shutil.which(wanted):
        return found
    expected = f"{wanted} on the path: tflite-runtime has no package for later ones"
    raise InputError(Problem("devices", NAME, expected, f"only Python {sys.version_info[0]}.{sys.version_info[1]}"))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise StepError(f"devices: {NAME}: '{' '.join(command[1:4])}' failed: {said[-1] if said else 'without a word'}")
