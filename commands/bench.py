"""`edgewright bench`: how fast an artifact is, and whether it is faster than another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact's folder.", show_default=False)],
    against: Annotated[
        Path | None, typer.Option(metavar="ARTIFACT", help="Another artifact, timed in turns with the first.")
    ] = None,
    on: Annotated[str, typer.Option(metavar="DEVICE", help="Where to run it (edgewright devices).")] = "local",
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="COUNT", help="Threads of the runtime (default: what the artifact was built for)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document with all raw samples.")] = False,
) -> None:
    """Measure an artifact in its runtime, alone or in turns with another.

    With --against it prints the ratio of the latencies with an interval, and one of: faster, slower, cannot tell.

    Examples:

    \b
        edgewright bench out/x86-avx2
        edgewright bench out/x86-avx2 --against out/x86-avx2/baseline
        edgewright bench out/x86-avx2 --threads 2 --json
    """
    from ..benchmarks.figures import speed_up
    from ..benchmarks.report import latency_text
    from ..pipeline.bench import bench, device_named
    from .console import Terminal

    result = bench(artifact, against, device_named(on), threads, Terminal())
    if as_json:
        typer.echo(json.dumps(result.to_json()))
        return
    paths = {"artifact": str(artifact), "against": str(against)}
    typer.echo(latency_text({paths[name]: report for name, report in result.reports.items()}), nl=False)
    if result.comparison is not None:
        typer.echo(f"{artifact} against {against}: {speed_up(result.comparison)}")
