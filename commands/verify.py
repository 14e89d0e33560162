"""`edgewright verify`: whether an artifact is whole and still computes its golden vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact's folder.", show_default=False)],
    on: Annotated[str, typer.Option("--on", metavar="DEVICE", help="Where to run it (edgewright devices).")] = "local",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Check every file's hash, load the artifact in its runtime and compare its outputs with the golden vectors.

    On an emulated device (qemu-...) the outputs are those of that processor's instructions, and nothing is timed.
    tflite-runtime's kernels round otherwise than XNNPACK's: an int8 artifact has golden vectors for them too.

    Examples:

    \b
        edgewright verify out/x86-avx2
        edgewright verify out/x86-avx2/baseline
        edgewright verify out/arm64-cortex-a72 --on qemu-cortex-a72
        edgewright verify out/arm64-cortex-a72 --on tflite-runtime
    """
    from ..pipeline.bench import device_named, verify

    found = verify(artifact, device_named(on))
    if as_json:
        typer.echo(json.dumps({**found.to_json(), "artifact": str(artifact)}))
        return
    for name, each in found.outputs.items():
        steps, equal = f"{each.parity.largest_steps:.2g} steps", f"{each.share_equal:.2%} of the values equal"
        vectors = f"the golden vectors{f' of {found.kernels}' * bool(found.kernels)}"
        typer.echo(f"{artifact}: {name}: at most {steps} from {vectors}, {equal}, on {found.place}")
