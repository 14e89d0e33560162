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
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.", show_default=False)],
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="TARGET",
            help="A profile's name, its file, or host; may be repeated (default: the recipe's).",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where artifacts go: DIR/TARGET.")] = Path("out"),
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe; may be repeated."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="DIR", help="The step cache (default: $EDGEWRIGHT_CACHE or the user's cache folder)."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Build, verify and measure an artifact for each target, next to its float32 baseline.

    A second build does only what has changed; a build that was killed goes on where it was. Exit codes: 0 done, 1 a
    step failed, 2 the input is wrong, 3 a budget is missed (the artifact is kept and marked).

    Examples:

    \b
        edgewright build recipe.yaml
        edgewright build recipe.yaml --target x86-avx2 --target ./my-board.yaml
        edgewright build recipe.yaml --set compress.prune.flops=0.4 --out smaller
        edgewright build recipe.yaml --json > results.json
    """
    from ..pipeline.build import agreement, build, exit_code
    from ..pipeline.planning import targets_of
    from ..pipeline.store import Store, default_root
    from ..recipe.schema import load_recipe
    from .console import Terminal, results_only

    terminal = Terminal()
    loaded = load_recipe(recipe, set_ or ())
    targets = targets_of(loaded, target or ())
    store = Store(cache or default_root(), terminal)
    with results_only():
        results = build(loaded, targets, out, store, terminal)
    if as_json:
        documents = {"results": [result.to_json() for result in results]}
        pairs = [pair.to_json() for pair in agreement(results)]
        typer.echo(json.dumps({"schema": 1, **documents, "agreement": pairs}, indent=2))
    else:
        typer.echo("".join(f"warning: {warning}\n" for warning in terminal.warnings), nl=False)
        for result in results:
            _show(result)
        typer.echo("".join(f"\n{pair}\n" for pair in agreement(results)), nl=False)
    for result in results:
        _complain(result, terminal, as_json)
    raise typer.Exit(exit_code(results))


def _complain(result: Result, terminal: Terminal, as_json: bool) -> None:
    """Why the exit code will not be 0 stands on standard error, unless standard output just told a person so."""
    if result.error is not None:
        terminal.error(f"{result.target}: {result.error}")
    for verdict in result.verdicts:
        if as_json and not verdict.is_met:
            terminal.error(f"{result.target}: {verdict}")


def _show(result: Result) -> None:
    """What was skipped, budgets, remarks and where the artifact lies, then the table; nothing of a failed target."""
    if result.judgement is None or result.made is None:
        return
    done = sum(not step.cached for step in result.made.steps)
    typer.echo("")
    for skip in result.made.plan.skips:
        typer.echo(f"skipped {skip}")
    for verdict in result.verdicts:
        typer.echo(str(verdict))
    for remark in result.remarks:
        typer.echo(f"note: {remark}")
    typer.echo(f"steps: {done} run, {len(result.made.steps) - done} from the cache")
    if result.judgement.reused:
        typer.echo(f"not measured again, nothing it rests on has changed: {', '.join(result.judgement.reused)}")
    typer.echo(f"artifact: {result.folder}\n")
    typer.echo(result.judgement.summary.to_text(), nl=False)
