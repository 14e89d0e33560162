"""`edgewright profile`: how long each operator of an artifact takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact's folder.", show_default=False)],
    on: Annotated[str, typer.Option("--on", metavar="DEVICE", help="Where to run it (edgewright devices).")] = "local",
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            metavar="COUNT",
            help="Threads of the runtime (default: what the artifact was built for).",
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option("--runs", min=1, metavar="COUNT", help="How many inferences are profiled.")
    ] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Run an artifact with its runtime's profiler on and show what each operator takes, and its share of all.

    ONNX Runtime has such a profiler, and TensorRT on a machine with a GPU; the TFLite interpreters have none that
    Python can reach.

    Examples:

    \b
        edgewright profile out/x86-avx2
        edgewright profile out/x86-avx2/baseline --runs 1000 --json
        edgewright profile out/nvidia-jetson-orin
    """
    from ..pipeline.bench import device_named
    from ..pipeline.profile import profile

    found = profile(artifact, device_named(on), threads, runs)
    typer.echo(json.dumps(found.to_json()) if as_json else found.to_text(), nl=as_json)
