"""`edgewright bench`: how fast an artifact is, and whether it is faster than another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..ir.errors import InputError, Problem


def command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact's folder.", show_default=False)],
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="ARTIFACT", help="Another artifact, timed in turns with the first."),
    ] = None,
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
    batch: Annotated[
        str,
        typer.Option(
            "--batch", metavar="COUNT,...", help="Samples in one inference, each of these in turn; of an open batch."
        ),
    ] = "",
    cuda_graph: Annotated[
        bool | None,
        typer.Option(
            "--cuda-graph/--no-cuda-graph",
            help="TensorRT: the engine as one CUDA graph, or launched kernel by kernel (default: both).",
        ),
    ] = None,
    events: Annotated[
        bool, typer.Option("--events", help="TensorRT: the engine alone too, by CUDA events, without the copies.")
    ] = False,
    precisions: Annotated[
        bool, typer.Option("--precisions", help="TensorRT: FP32, FP16 and INT8 side by side, baseline's models too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document with all raw samples.")] = False,
) -> None:
    """Measure an artifact in its runtime, alone or in turns with another.

    With --against it prints the ratio of the latencies with an interval, and one of: faster, slower, cannot tell. Below
    a table of several ways (batches, CUDA graphs, precisions) stands what one sample of the time spans.

    Examples:

    \b
        edgewright bench out/x86-avx2
        edgewright bench out/x86-avx2 --against out/x86-avx2/baseline
        edgewright bench out/x86-avx2 --threads 2 --json
        edgewright bench out/x86-avx2 --batch 1,4,16
        edgewright bench out/nvidia-jetson-orin --precisions --events --cuda-graph
    """
    from ..pipeline.bench import bench, device_named
    from ..pipeline.ways import Asked
    from .console import Terminal

    asked = Asked(_batches(batch), cuda_graph, events, precisions)
    result = bench(artifact, against, device_named(on), threads, Terminal(), asked)
    typer.echo(json.dumps(result.to_json()) if as_json else result.to_text(), nl=as_json)


def _batches(text: str) -> tuple[int, ...]:
    """The numbers in `1,4,16`, each once. InputError where there is anything else."""
    words = [word.strip() for word in text.split(",")] if text else []
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise InputError(Problem("bench", "--batch", "numbers from 1 on, as in 1,4,16", f"'{text}'"))
    return tuple(dict.fromkeys(map(int, words)))
