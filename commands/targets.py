"""`edgewright targets`: the device profiles, one of them in full, or a new one of this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..ir.errors import Problem
    from ..targets import Target


class Action(StrEnum):
    """What to do."""

    list = "list"
    show = "show"
    probe = "probe"


def command(
    action: Annotated[Action, typer.Argument(metavar="ACTION", help="What to do: list, show or probe.")] = Action.list,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="show: a profile's name, its file, or host (the default); probe: what to call the new profile.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="probe: write a new file instead of to standard output."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="list, show: one JSON document on standard output.")] = False,
) -> None:
    """List device profiles, show one with everything that it inherits, or probe this machine.

    `probe` writes a profile of this machine: instruction set, cores, caches, memory. Use its file as a target.

    Examples:

    \b
        edgewright targets
        edgewright targets show x86-avx2
        edgewright targets probe my-board --out my-board.yaml
    """
    if action is Action.list and name is not None:
        raise typer.BadParameter(f"list takes no name; to see one profile: edgewright targets show {name}")
    if action is not Action.probe and out is not None:
        raise typer.BadParameter("--out is where probe writes; the others print to standard output")
    if action is Action.probe and as_json:
        raise typer.BadParameter("a profile is YAML; --json is for list and show")
    match action:
        case Action.list:
            _list(as_json)
        case Action.show:
            _show(name or "host", as_json)
        case Action.probe:
            _probe(name or "my-machine", out)


@dataclass(frozen=True)
class Row:
    """A profile, and why this machine is not its own; `unlike` is None where that can't be told here."""

    target: Target
    unlike: tuple[str, ...] | None

    def here(self) -> str:
        """Whether the profile fits this machine, in words."""
        if self.unlike is None:
            return "whether it fits this machine can't be told"
        return f"not this machine: {'; '.join(self.unlike)}" if self.unlike else "fits this machine"


def _list(as_json: bool) -> None:
    """Every profile that can be read is printed; then InputError with every problem of those that can't."""
    from ..devices.machine import gpus_here
    from ..ir.errors import InputError

    rows, problems = _rows()
    if as_json:
        entries = [
            {
                "name": row.target.name,
                "runtime": row.target.runtime,
                "summary": row.target.summary,
                "fits_here": None if row.unlike is None else not row.unlike,
            }
            for row in rows
        ]
        typer.echo(json.dumps({"schema": 1, "targets": entries}, indent=2))
    else:
        width = max(len(row.target.name) for row in rows)
        for row in rows:
            typer.echo(f"{row.target.name:<{width}}  {row.target.runtime}  {row.target.summary}")
            typer.echo(f"{'':<{width}}  {row.here()}")
        typer.echo(f"{'host':<{width}}  {_host()}")
        for line in gpus_here():
            typer.echo(f"{'':<{width}}  GPU: {line}")
    if problems:
        raise InputError(problems)


def _rows() -> tuple[list[Row], list[Problem | str]]:
    from ..devices.machine import mismatches, this_machine
    from ..ir.errors import InputError
    from ..targets import builtin_names, load_target, own_names

    try:
        machine = this_machine()
    except InputError:
        machine = None
    rows: list[Row] = []
    problems: list[Problem | str] = []
    for name in (*builtin_names(), *own_names()):
        try:
            target = load_target(name)
        except InputError as error:
            problems += error.problems
            continue
        rows.append(Row(target, None if machine is None else mismatches(target, machine)))
    return rows, problems


def _host() -> str:
    """Which profile stands behind the name `host`, in words."""
    from ..devices.machine import host_target
    from ..ir.errors import InputError

    try:
        return f"this machine's profile: {host_target().name}"
    except InputError as error:
        return f"no profile for this machine: {error}"


def _show(name: str, as_json: bool) -> None:
    from ..pipeline.planning import resolve
    from ..targets import to_yaml

    target = resolve(name)
    if as_json:
        document = {"schema": 1, "target": target.model_dump(mode="json", exclude_none=True)}
        typer.echo(json.dumps(document, indent=2))
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
    typer.echo(f"{out}: written; use it with --target {out if out.is_absolute() else f'./{out}'}")
