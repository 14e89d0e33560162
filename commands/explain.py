"""`edgewright explain`: what each pass of an artifact cost and gained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..pipeline.origin import Origin


def command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact's folder.", show_default=False)],
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            metavar="RECIPE",
            help="The recipe that it was built from, where the cache does not remember.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="TARGET", help="With --recipe: the profile (default: the artifact's, by its name)."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With --recipe: change one key of it; may be repeated."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="DIR", help="The step cache (default: $EDGEWRIGHT_CACHE or the user's cache folder)."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Build an artifact again without each of its passes in turn, and show what each cost and gained.

    What a build did is taken from the cache; what training a variant needs is done now, and kept. All are timed in
    turns. "cannot tell" stands where the samples do not show a difference. The artifact's folder stays as it is. Exit
    codes: 0 done, 1 a variant failed (the others are shown), 2 the input is wrong.

    Examples:

    \b
        edgewright explain out/x86-avx2
        edgewright explain out/x86-avx2 --json > explanation.json
        edgewright explain received/x86-avx2 --recipe recipe.yaml --set compress.prune.flops=0.4
    """
    from ..ir.errors import InputError, Problem
    from ..pipeline.bench import device_named
    from ..pipeline.explain import explain
    from ..pipeline.store import Store, default_root
    from .console import Terminal, results_only

    if recipe is None and (target or set_):
        raise InputError(Problem("--target" if target else "--set", "", "--recipe beside it", "none"))
    terminal = Terminal()
    origin = None if recipe is None else _origin(artifact, recipe, target, set_ or ())
    store = Store(cache or default_root(), terminal)
    with results_only():
        found = explain(artifact, origin, store, device_named("local"), terminal)
    typer.echo(json.dumps(found.to_json(), indent=2) if as_json else found.to_text(), nl=as_json)
    for worth in found.worths:
        if worth.is_failed:
            terminal.error(f"without {worth.name}: {worth.why_not}")
    raise typer.Exit(0 if found.is_whole else 1)


def _origin(artifact: Path, recipe: Path, target: str | None, overrides: list[str] | tuple[()]) -> Origin:
    from ..pipeline.origin import Origin
    from ..pipeline.planning import targets_of
    from ..recipe.schema import load_recipe
    from ..ship import manifest

    loaded = load_recipe(recipe, overrides)
    (found,) = targets_of(loaded, [target or manifest.read(artifact).target])
    return Origin(loaded, found)
