"""`edgewright doctor`: what is installed, which runtimes and devices can be used, and what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from ..runtimes import EMITTERS

REQUIRED = (
    *("torch", "torch-pruning", "onnx", "onnx-ir", "onnxscript", "accelerate", "safetensors"),
    *("numpy", "pydantic", "pyyaml", "typer", "rich"),
)
"""The packages that edgewright itself depends on, as pyproject.toml names them."""
RUNTIMES = {name: tuple(emitter.packages) for name, emitter in EMITTERS.items()}
"""Runtimes that artifacts can be made for, and the packages that each needs."""
EXTRAS = {name: emitter.extra for name, emitter in EMITTERS.items()}
"""The extra that brings them."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for; `found` is None where it is missing, and `advice` says what to do then."""

    what: str
    found: str | None
    advice: str = ""
    is_needed: bool = False


def command(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Show what is installed, which runtimes and targets can be used here, and what is missing and how to get it.

    Exit code: 1 where nothing can be built before something is installed, else 0.

    Examples:

    \b
        edgewright doctor
        edgewright doctor --json
    """
    findings = [
        *_packages(),
        *_runtimes(),
        *_tensorrt(),
        _host(),
        *_devices(),
    ]
    if as_json:
        typer.echo(json.dumps({"schema": 1, "findings": [asdict(each) for each in findings]}, indent=2))
    else:
        width = max(len(each.what) for each in findings)
        for each in findings:
            typer.echo(f"{each.what:<{width}}  {each.found or f'MISSING: {each.advice}'}")
    if any(each.found is None and each.is_needed for each in findings):
        raise typer.Exit(1)


def _packages() -> list[Finding]:
    from .. import __version__

    own = [Finding("edgewright", __version__), Finding("python", platform.python_version())]
    return [*own, *(Finding(name, _version(name), f"pip install {name}", is_needed=True) for name in REQUIRED)]


def _runtimes() -> list[Finding]:
    found = {name: [_version(package) for package in packages] for name, packages in RUNTIMES.items()}
    is_needed = not any(None not in versions for versions in found.values())
    return [
        Finding(
            f"runtime {name}",
            _together(name, versions),
            f"pip install 'edgewright[{EXTRAS.get(name, name)}]'",
            is_needed,
        )
        for name, versions in found.items()
    ]


def _tensorrt() -> list[Finding]:
    """Who judges models for NVIDIA GPUs here, and who runs engines."""
    from ..devices.graphics import graphics
    from ..runtimes.tensorrt_build import host, verdict

    judge = _version(verdict.PACKAGES[0]) if verdict.is_installed() else None
    said = None if judge is None else f"TensorRT for RTX {judge}: parses and builds, with no GPU"
    lacks = host.why_not()
    return [
        Finding("tensorrt builder", said, f"{verdict.HOW}: models for NVIDIA GPUs are checked by rules alone"),
        Finding(
            "tensorrt engines",
            None if lacks else f"{', '.join(map(str, graphics()))} with {host.libraries()[0]}",
            f"{lacks}: onnxruntime proves artifacts as reference, nothing is timed",
        ),
    ]


def _together(name: str, versions: list[str | None]) -> str | None:
    """The packages of a runtime with their versions; None where one is missing."""
    if None in versions:
        return None
    return ", ".join(f"{package} {version}" for package, version in zip(RUNTIMES[name], versions, strict=True))


def _host() -> Finding:
    from ..devices.machine import host_target, this_machine
    from ..ir.errors import InputError

    try:
        hardware, target = this_machine().hardware, host_target()
    except InputError as error:
        return Finding("target host", None, str(error))
    return Finding("target host", f"{target.name} ({hardware.cpu}, {hardware.cores} cores, {hardware.memory_mib} MiB)")


def _devices() -> list[Finding]:
    from ..devices import registry
    from ..pipeline.store import devices_folder

    folder = devices_folder()
    return [
        Finding(
            f"device {name}",
            summary if registry.is_ready(name, folder) else None,
            registry.how_to_make(name, folder),
        )
        for name, summary in registry.SUMMARIES.items()
    ]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
