"""`edgewright lint`: what a target's runtime would make of an ONNX model, by rules, without the runtime."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX model, whoever made it.", show_default=False)],
    target: Annotated[
        str, typer.Option("--target", metavar="TARGET", help="What it is meant for: a profile's name or its file.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Say which layers of an ONNX model a target would refuse, compute wrongly or run in float, and why.

    For GPUs by what TensorRT's parser and builder were seen to do; neither is needed. For x86 by what onnxruntime's
    kernels do there: whether sums of 8-bit products saturate.
    Exit code: 1 where a finding is more than a note, else 0.

    Examples:

    \b
        edgewright lint model.onnx --target nvidia-rtx-ada
        edgewright lint model.onnx --target nvidia-jetson-orin --json
        edgewright lint model.onnx --target x86-avx2
    """
    from ..pipeline.planning import resolve
    from ..runtimes.onnx_graph.lint import lint

    profile = resolve(target)
    findings = lint(model, profile)
    errors = sum(finding.is_error for finding in findings)
    if as_json:
        document = {"schema": 1, "model": str(model), "target": profile.name, "errors": errors}
        typer.echo(json.dumps({**document, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            typer.echo(str(finding))
        typer.echo(f"{model} for {profile.name}: {errors} to repair, {len(findings) - errors} to know of")
    if errors:
        raise typer.Exit(1)
