"""`edgewright cache`: how large the step cache is, and making it smaller."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..pipeline.store import Usage


class Action(StrEnum):
    """What to do with the cache."""

    show = "show"
    prune = "prune"


def command(
    action: Annotated[Action, typer.Argument(metavar="ACTION", help="What to do: show or prune.")] = Action.show,
    days: Annotated[
        float | None,
        typer.Option("--days", min=0, metavar="DAYS", help="prune: remove what was not used for so long (default 30)."),
    ] = None,
    keep_mib: Annotated[
        float | None,
        typer.Option(
            "--keep-mib", min=0, metavar="MIB", help="prune: then remove the longest unused until no more is left."
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="DIR", help="The step cache (default: $EDGEWRIGHT_CACHE or the user's cache folder)."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Show what the step cache holds, or prune it. What is pruned is made again when it is needed.

    Examples:

    \b
        edgewright cache
        edgewright cache prune --days 7 --keep-mib 500
        edgewright cache prune --days 0
    """
    from ..pipeline.store import Store, Usage, default_root
    from .console import Terminal

    if action is Action.show and (days is not None or keep_mib is not None):
        raise typer.BadParameter("--days and --keep-mib say what to remove: edgewright cache prune ...")
    root = cache or default_root()
    if not root.exists():
        _print(root, Usage(0, {}), 0, as_json)
        return
    store = Store(root, Terminal())
    freed_bytes = 0
    if action is Action.prune:
        default_days = 30.0 if keep_mib is None else float("inf")
        seconds = (default_days if days is None else days) * 86400
        freed_bytes = store.prune(seconds, None if keep_mib is None else int(keep_mib * 2**20))
    if action is Action.prune and not as_json:
        typer.echo(f"freed {freed_bytes / 2**20:.1f} MiB")
    _print(root, store.usage(), freed_bytes, as_json)


def _print(root: Path, usage: Usage, freed_bytes: int, as_json: bool) -> None:
    if as_json:
        document = {"path": str(root), "entries": usage.entries, "bytes": usage.bytes_by_kind, "freed": freed_bytes}
        typer.echo(json.dumps({"schema": 1, **document}))
        return
    if not usage.bytes_by_kind:
        typer.echo(f"{root}: no cache there yet")
        return
    typer.echo(f"{root}: {usage.entries} entries, {usage.total_bytes / 2**20:.1f} MiB")
    for kind, total_bytes in usage.bytes_by_kind.items():
        typer.echo(f"  {kind:<10} {total_bytes / 2**20:8.1f} MiB")
