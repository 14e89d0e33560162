"""`edgewright build`: from the recipe to a measured artifact for each target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..pipeline.build import Result
    from .console import Terminal


def command(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)],
    target: Annotated[
        list[str] | None, typer.Option(help="A profile's name, its file, or host. May be repeated.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Where artifacts go: OUT/TARGET.")] = Path("out"),
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one key of the recipe: compress.prune.flops=0.4", show_default=False),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="The step cache (default: $EDGEWRIGHT_CACHE or the user's cache folder).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Build, verify and measure an artifact for each target, next to its float32 baseline.

    A second build does only what has changed; a build that was killed goes on where it was. Exit codes: 0 done, 1 a
    step failed, 2 the input is wrong, 3 a budget is missed (the artifact is kept and marked).

    Examples:

        edgewright build recipe.yaml

        edgewright build recipe.yaml --target x86-avx2 --target host --out artifacts --json

        edgewright build recipe.yaml --set compress.prune.flops=0.4
    """
    from ..pipeline.build import build, exit_code
    from ..pipeline.planning import targets_of
    from ..pipeline.store import Store, default_root
    from ..recipe.schema import load_recipe
    from .console import Terminal

    terminal = Terminal()
    loaded = load_recipe(recipe, set_ or ())
    store = Store(cache or default_root(), terminal)
    results = build(loaded, targets_of(loaded, target or ()), out, store, terminal)
    if as_json:
        typer.echo(json.dumps({"schema": 1, "results": [result.to_json() for result in results]}, indent=2))
    else:
        for result in results:
            _show(result, terminal)
    raise typer.Exit(exit_code(results))


def _show(result: Result, terminal: Terminal) -> None:
    """The table, then warnings, budgets and where the artifact lies; a failure's message goes to standard error."""
    if result.error is not None:
        terminal.error(f"{result.target}: {result.error}")
        return
    if result.judgement is None or result.made is None:
        return
    done = sum(not step.cached for step in result.made.steps)
    typer.echo("")
    for skip in result.made.plan.skips:
        typer.echo(f"skipped {skip}")
    for warning in terminal.warnings:
        typer.echo(f"warning: {warning}")
    for verdict in result.verdicts:
        typer.echo(str(verdict))
    for remark in result.remarks:
        typer.echo(f"note: {remark}")
    typer.echo(f"steps: {done} run, {len(result.made.steps) - done} from the cache")
    if result.judgement.reused:
        typer.echo(f"not measured again, nothing it rests on has changed: {', '.join(result.judgement.reused)}")
    typer.echo(f"artifact: {result.folder}\n")
    typer.echo(result.judgement.summary.to_text(), nl=False)
