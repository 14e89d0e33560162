"""`edgewright verify`: whether an artifact is whole and still computes its golden vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact's folder.", show_default=False)],
    on: Annotated[str, typer.Option(metavar="DEVICE", help="Where to run it (edgewright devices).")] = "local",
) -> None:
    """Check every file's hash, load the artifact in its runtime and compare its outputs with the golden vectors.

    Examples:

    \b
        edgewright verify out/x86-avx2
        edgewright verify out/x86-avx2/baseline
    """
    from ..pipeline.bench import device_named, verify

    for name, parity in verify(artifact, device_named(on)).items():
        typer.echo(f"{artifact}: {name}: at most {parity.largest_steps:.2g} steps from the golden vectors")
