"""`edgewright diff`: an artifact beside its float baseline, layer by layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact's folder.", show_default=False)],
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="ARTIFACT", help="What it is held against (default: its own float baseline)."
        ),
    ] = None,
    on: Annotated[
        str, typer.Option("--on", metavar="DEVICE", help="Where to run them (edgewright devices).")
    ] = "local",
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, metavar="COUNT", help="How many of the golden inputs (default: all)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Run an artifact and its float baseline on the golden inputs and compare what their layers compute.

    SQNR is the power of the float values over that of the difference. The worst layer is marked, and so is the culprit:
    the one whose output is noisier than its inputs by the most. Beside it stands how far each layer is from what was
    simulated when the artifact was built. An artifact for TensorRT is run by its reference runtime where no GPU is.

    Examples:

    \b
        edgewright diff out/x86-avx2
        edgewright diff out/x86-avx2 --against pruned-only/x86-avx2 --samples 2
        edgewright diff out/arm64-cortex-a72 --json
    """
    from ..pipeline.bench import device_named
    from ..pipeline.diff import diff

    found = diff(artifact, against, device_named(on), samples)
    typer.echo(json.dumps(found.to_json()) if as_json else found.to_text(), nl=as_json)
