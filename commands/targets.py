"""`edgewright targets`: the device profiles, one of them in full, or a new one of this machine."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Action(StrEnum):
    """What to do."""

    list = "list"
    show = "show"
    probe = "probe"


def command(
    action: Annotated[Action, typer.Argument(help="What to do.")] = Action.list,
    name: Annotated[
        str, typer.Argument(help="show: a profile's name, its file, or host; probe: the new profile's name.")
    ] = "host",
    out: Annotated[
        Path | None, typer.Option(help="probe: write here instead of to standard output.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="list, show: one JSON document on standard output.")] = False,
) -> None:
    """List device profiles, show one with everything that it inherits, or probe this machine.

    `probe` writes a profile of this machine: instruction set, cores, caches, memory. Use its file as a target.

    Examples:

        edgewright targets

        edgewright targets show x86-avx2

        edgewright targets probe my-board --out my-board.yaml
    """
    match action:
        case Action.list:
            _list(as_json)
        case Action.show:
            _show(name, as_json)
        case Action.probe:
            _probe("my-machine" if name == "host" else name, out)


def _list(as_json: bool) -> None:
    from ..devices.machine import mismatches, this_machine
    from ..targets import builtin_names, load_target, own_names

    machine = this_machine()
    targets = [load_target(name) for name in (*builtin_names(), *own_names())]
    rows = [(target, mismatches(target, machine)) for target in targets]
    if as_json:
        entries = [
            {"name": target.name, "runtime": target.runtime, "summary": target.summary, "fits_here": not reasons}
            for target, reasons in rows
        ]
        typer.echo(json.dumps({"schema": 1, "targets": entries}, indent=2))
        return
    width = max(len(target.name) for target in targets)
    for target, reasons in rows:
        here = f"not this machine: {'; '.join(reasons)}" if reasons else "fits this machine"
        typer.echo(f"{target.name:<{width}}  {target.runtime}  {target.summary}\n{'':<{width}}  {here}")
    typer.echo(f"{'host':<{width}}  the profile that fits this machine best")


def _show(name: str, as_json: bool) -> None:
    from ..pipeline.planning import resolve
    from ..targets import to_yaml

    target = resolve(name)
    if as_json:
        typer.echo(json.dumps(target.model_dump(mode="json", exclude_none=True), indent=2))
        return
    typer.echo(to_yaml(target), nl=False)


def _probe(name: str, out: Path | None) -> None:
    from ..devices.machine import probe_profile
    from ..ir.errors import InputError, Problem

    text = probe_profile(name)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        with out.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise InputError(Problem(str(out), "--out", "a new file", str(error.strerror).lower())) from None
    typer.echo(f"{out}: written; use it with --target ./{out}" if not out.is_absolute() else f"{out}: written")
