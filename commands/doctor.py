"""`edgewright doctor`: what is installed, which runtimes and devices can be used, and what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import dataclass
from typing import Annotated

import typer

REQUIRED = ("torch", "torch-pruning", "onnx", "onnxscript", "accelerate", "safetensors", "numpy", "pydantic", "pyyaml")
RUNTIMES = {"onnxruntime": "pip install 'edgewright[onnxruntime]'"}
"""Runtimes that artifacts can be made for, and how each is installed."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for; `found` is None where it is missing, and `advice` says what to do then."""

    what: str
    found: str | None
    advice: str = ""


def command(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Show what is installed, which runtimes and targets can be used here, and what is missing and how to get it.

    Examples:

        edgewright doctor
    """
    findings = [*_packages(), *_runtimes(), _machine()]
    if as_json:
        entries = [{"what": each.what, "found": each.found, "advice": each.advice} for each in findings]
        typer.echo(json.dumps({"schema": 1, "findings": entries}, indent=2))
        return
    width = max(len(each.what) for each in findings)
    for each in findings:
        typer.echo(f"{each.what:<{width}}  {each.found or f'MISSING: {each.advice}'}")
    typer.echo(f"{'devices':<{width}}  local: artifacts are measured on this machine and on no other")


def _packages() -> list[Finding]:
    python = Finding("python", platform.python_version())
    return [python, *(Finding(name, _version(name), "pip install edgewright") for name in REQUIRED)]


def _runtimes() -> list[Finding]:
    return [Finding(f"runtime {name}", _version(name), advice) for name, advice in RUNTIMES.items()]


def _machine() -> Finding:
    from ..devices.machine import host_target, this_machine
    from ..ir.errors import InputError

    try:
        hardware, target = this_machine().hardware, host_target()
    except InputError as error:
        return Finding("target host", None, str(error))
    return Finding("target host", f"{target.name} ({hardware.cpu}, {hardware.cores} cores, {hardware.memory_mib} MiB)")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
