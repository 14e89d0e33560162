"""`edgewright devices`: where artifacts can be run, and making what has to be made for it."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer


class Action(StrEnum):
    """What to do."""

    list = "list"
    make = "make"


def command(
    action: Annotated[Action, typer.Argument(metavar="ACTION", help="What to do: list or make.")] = Action.list,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="make: which device.", show_default=False)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="list: one JSON document on standard output.")] = False,
) -> None:
    """List the devices that `bench --on` and `verify --on` know, or make one: packages are installed for it.

    Examples:

    \b
        edgewright devices
        edgewright devices make tflite-runtime
        edgewright devices make qemu-cortex-a72
        edgewright verify out/arm64-cortex-a72 --on tflite-runtime
    """
    from ..devices import registry
    from ..pipeline.store import devices_folder
    from .console import Terminal

    folder = devices_folder()
    if action is Action.make:
        registry.make(name, folder, Terminal().note)
        typer.echo(f"{name}: ready")
        return
    ready = {each: registry.is_ready(each, folder) for each in registry.SUMMARIES}
    if as_json:
        devices = [{"name": each, "summary": registry.SUMMARIES[each], "ready": ready[each]} for each in ready]
        typer.echo(json.dumps({"schema": 1, "devices": devices}, indent=2))
        return
    width = max(map(len, ready))
    for each, is_ready in ready.items():
        state = "ready" if is_ready else f"not made: {registry.how_to_make(each, folder)}"
        typer.echo(f"{each:<{width}}  {registry.SUMMARIES[each]} ({state})")
