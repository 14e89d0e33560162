"""`edgewright cache`: how large the step cache is, and making it smaller."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Action(StrEnum):
    """What to do with the cache."""

    show = "show"
    prune = "prune"


def command(
    action: Annotated[Action, typer.Argument(metavar="ACTION", help="What to do: show or prune.")] = Action.show,
    days: Annotated[
        float | None,
        typer.Option(min=0, metavar="DAYS", help="prune: remove what was not used for so long (default 30)."),
    ] = None,
    keep_mib: Annotated[
        float | None,
        typer.Option(min=0, metavar="MIB", help="prune: then remove the longest unused until no more is left."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The step cache (default: $EDGEWRIGHT_CACHE or the user's cache folder)."),
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
    from ..pipeline.store import Store, default_root
    from .console import Terminal

    if action is Action.show and (days is not None or keep_mib is not None):
        raise typer.BadParameter("--days and --keep-mib say what to remove: edgewright cache prune ...")
    store = Store(cache or default_root(), Terminal())
    freed = 0
    if action is Action.prune:
        default_days = 30.0 if keep_mib is None else float("inf")
        seconds = (default_days if days is None else days) * 86400
        freed = store.prune(seconds, None if keep_mib is None else int(keep_mib * 2**20))
    usage = store.usage()
    if as_json:
        document = {"path": str(store.root), "entries": usage.entries, "bytes": usage.bytes_by_kind, "freed": freed}
        typer.echo(json.dumps({"schema": 1, **document}))
        return
    if action is Action.prune:
        typer.echo(f"freed {freed / 2**20:.1f} MiB")
    typer.echo(f"{store.root}: {usage.entries} entries, {usage.total_bytes / 2**20:.1f} MiB")
    for kind, size_bytes in usage.bytes_by_kind.items():
        typer.echo(f"  {kind:<10} {size_bytes / 2**20:8.1f} MiB")
