"""`edgewright plan`: what a build would do, in which order, and why; without doing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


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
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Show the order of passes for each target, the reason for each place, and what is skipped and why.

    Examples:

    \b
        edgewright plan recipe.yaml
        edgewright plan recipe.yaml --target x86-avx2 --set compress.prune.flops=0.4
    """
    from ..pipeline import planning
    from ..recipe.schema import load_recipe

    loaded = load_recipe(recipe, set_ or ())
    plans = [planning.plan(loaded, profile) for profile in planning.targets_of(loaded, target or ())]
    if as_json:
        documents = [plan.to_json() for plan in plans]
        typer.echo(json.dumps(documents[0] if len(documents) == 1 else {"schema": 1, "plans": documents}, indent=2))
        return
    typer.echo("\n".join(plan.to_text() for plan in plans), nl=False)
