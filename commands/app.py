"""The command line: commands by name, each module imported when its command is called and not before."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from ..ir.errors import EdgewrightError

COMMANDS = {
    "targets": "List device profiles, show one, or probe this machine.",
    "plan": "Show the order of passes with reasons, and what is skipped and why.",
    "build": "Build, verify and measure an artifact for each target.",
    "bench": "Measure an artifact, alone or in turns with another.",
    "verify": "Check an artifact's files and its golden vectors.",
    "diff": "Compare an artifact with its float baseline, layer by layer.",
    "explain": "Show what each pass of an artifact cost and gained.",
    "profile": "Show how long each operator of an artifact takes.",
    "lint": "Say what TensorRT would make of an ONNX model, without it.",
    "devices": "List where artifacts can be run, or make such a device.",
    "cache": "Show or prune the step cache.",
    "doctor": "Show what is installed, what can be used, and what is missing.",
}
INTERRUPTED = 130
GARBAGE = 50_000
"""How many new objects are waited for before cycles are looked for. With Python's 700, imports and graph building
search torch's objects again and again: a twentieth of a start, half of insert-quantization."""


class _Lazy(TyperGroup):
    """Knows the commands' names and one line of each; imports a command only to run it or to show its own help."""

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt as error:  # typer would exit without a word
            _end(error, "interrupted; finished steps are kept, the same command goes on from there", INTERRUPTED)

    def list_commands(self, context: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: Any, name: str) -> Any:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f".{name}", __package__)
        single = typer.Typer(rich_markup_mode=None, add_completion=False)
        single.command(name)(module.command)
        command = typer.main.get_command(single)
        command.name = name
        return command

    def format_commands(self, context: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    cls=_Lazy,
    name="edgewright",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from .. import __version__

        typer.echo(f"edgewright {__version__}")
        raise typer.Exit


@app.callback()
def _edgewright(
    version: bool = typer.Option(
        False, "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks (also: EDGEWRIGHT_DEBUG=1)."),
) -> None:
    """Build trained networks for edge devices: compress, emit, verify, measure.

    Examples:

    \b
        edgewright plan recipe.yaml
        edgewright build recipe.yaml
        edgewright COMMAND --help
    """
    if debug:
        os.environ["EDGEWRIGHT_DEBUG"] = "1"


def main() -> None:
    """Runs the command line and exits: 0 done, 1 a step failed, 2 the input is wrong, 3 a budget is missed."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for them takes a tenth of a start
    gc.set_threshold(GARBAGE)
    try:
        app(prog_name="edgewright")
    except EdgewrightError as error:
        _end(error, str(error), error.exit_code)
    except ModuleNotFoundError as error:
        _end(error, f"{error.name} is not installed for {sys.executable}; `edgewright doctor` tells what is missing", 1)
    except OSError as error:
        place = error.filename or "standard output"
        _end(error, f"{place}: could not be read or written: {error.strerror or error}", 1)
    except Exception as error:
        _end(error, f"a fault in edgewright: {type(error).__name__}: {error} (EDGEWRIGHT_DEBUG=1 shows where)", 1)


def _end(error: BaseException, message: str, code: int) -> NoReturn:
    if os.environ.get("EDGEWRIGHT_DEBUG"):
        traceback.print_exception(error)
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    sys.exit(code)
