"""`edgewright bench`: how fast an artifact is, and whether it is faster than another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    artifact: Annotated[Path, typer.Argument(help="An artifact's directory.", show_default=False)],
    against: Annotated[
        Path | None, typer.Option(help="Another artifact, timed in turns with the first.", show_default=False)
    ] = None,
    on: Annotated[str, typer.Option(help="The device.")] = "local",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads (default: what the artifact was built for).", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document with all raw samples.")] = False,
) -> None:
    """Measure an artifact in its runtime, alone or in turns with another.

    With --against it prints the ratio of the latencies with an interval, and one of: faster, slower, cannot tell.

    Examples:

        edgewright bench out/x86-avx512-vnni

        edgewright bench out/x86-avx512-vnni --against out/x86-avx512-vnni/baseline --json
    """
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
        found = result.comparison
        typer.echo(
            f"{artifact} against {against}: {found.verdict}: {found.ratio:.3f} of its latency"
            f" ({found.low:.3f} to {found.high:.3f})"
        )
