"""The program as a whole: help that helps, exit codes, and how it ends when things go wrong around it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgewright
import pytest
import typer
from edgewright.commands import doctor
from edgewright.commands.app import COMMANDS, app

PROGRAM = [sys.executable, "-P", "-c", "from edgewright.deploy import main; main()"]
IMPORTED = """
import sys
from edgewright.deploy import main
try:
    main()
except SystemExit as ended:
    if ended.code:
        raise
print(*sys.modules, file=sys.stderr)
"""
HEAVY = {"torch", "numpy", "onnx", "onnxruntime", "onnxscript", "safetensors", "accelerate", "torch_pruning"}


def test_help_names_every_command_and_shows_examples(edgewright: Callable[..., Any]) -> None:
    shown = edgewright("--help")
    assert shown.code == 0
    for name, line in COMMANDS.items():
        assert f"  {name} " in shown.out
        assert line in shown.out
    assert "edgewright build recipe.yaml" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_examples_that_it_takes(name: str, edgewright: Callable[..., Any]) -> None:
    """Each example stands on a line of its own, to be copied, and is parsed by the command itself."""
    shown = edgewright(name, "--help")
    assert shown.code == 0
    lines = [line.strip() for line in shown.out.splitlines()]
    examples = [shlex.split(line, comments=True) for line in lines if line.startswith(f"edgewright {name}")]
    assert "Examples:" in lines
    assert examples
    group = typer.main.get_command(app)
    context = group.make_context("edgewright", [name])
    for example in examples:
        arguments = example[2 : example.index(">")] if ">" in example else example[2:]
        group.get_command(context, name).make_context(name, arguments)  # type: ignore[attr-defined]


def test_without_a_command_it_shows_its_help(edgewright: Callable[..., Any]) -> None:
    shown = edgewright()
    assert shown.code == 2
    assert "Commands:" in shown.out + shown.err


def test_its_version_is_the_packages(edgewright: Callable[..., Any]) -> None:
    shown = edgewright("--version")
    assert (shown.code, shown.out, shown.err) == (0, f"edgewright {sys.modules['edgewright'].__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["biuld"], "No such command 'biuld'"),
        (["plan"], "Missing argument"),
        (["plan", "recipe.yaml", "other.yaml"], "unexpected extra argument"),
        (["plan", "recipe.yaml", "--taget", "host"], "No such option"),
        (["build", "recipe.yaml", "--set"], "requires an argument"),
        (["bench", "out", "--threads", "0"], "--threads"),
        (["cache", "empty"], "not one of"),
    ],
)
def test_a_command_line_that_is_wrong_ends_with_2(
    arguments: list[str], message: str, edgewright: Callable[..., Any]
) -> None:
    ended = edgewright(*arguments)
    assert ended.code == 2
    assert message in ended.err
    assert ended.out == ""


def test_wrong_input_is_said_line_by_line_without_a_traceback(tmp_path: Path, edgewright: Callable[..., Any]) -> None:
    (tmp_path / "recipe.yaml").write_text("modell: {}\n")
    ended = edgewright("plan", tmp_path / "recipe.yaml")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 3
    assert all(line.startswith(f"error: {tmp_path}/recipe.yaml: ") for line in ended.err.splitlines())


@pytest.mark.parametrize(("option", "variable"), [(["--debug"], {}), ([], {"EDGEWRIGHT_DEBUG": "1"})])
def test_a_traceback_is_for_those_who_ask(
    option: list[str], variable: dict[str, str], program: Callable[..., Any]
) -> None:
    ended = program(*option, "plan", "none.yaml", env={**os.environ, **variable})
    assert ended.code == 2
    assert "Traceback" in ended.err
    assert "error: none.yaml: expected a readable file" in ended.err


def test_a_fault_of_our_own_is_called_one(monkeypatch: pytest.MonkeyPatch, edgewright: Callable[..., Any]) -> None:
    monkeypatch.setattr(doctor, "_packages", lambda: {}["what nobody thought of"])
    ended = edgewright("doctor")
    assert ended.code == 1
    assert "a fault in edgewright: KeyError: 'what nobody thought of' (EDGEWRIGHT_DEBUG=1 shows where)" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        *([name, "--help"] for name in COMMANDS),
        ["targets"],
        ["targets", "probe"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_what_only_tells_imports_nothing_heavy(arguments: list[str]) -> None:
    ended = subprocess.run([sys.executable, "-P", "-c", IMPORTED, *arguments], capture_output=True, text=True)
    assert ended.returncode == 0
    assert "edgewright.commands.app" in ended.stderr.split()
    assert HEAVY.intersection(ended.stderr.split()) == set()


def test_planning_imports_nothing_heavy(recipe_file: Path) -> None:
    command = [sys.executable, "-P", "-c", IMPORTED, "plan", str(recipe_file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "edgewright.passes.manager" in ended.stderr.split()
    assert HEAVY.intersection(ended.stderr.split()) == set()


def test_help_imports_no_command() -> None:
    ended = subprocess.run([sys.executable, "-P", "-c", IMPORTED, "--help"], capture_output=True, text=True, check=True)
    loaded = [name for name in ended.stderr.split() if name.startswith("edgewright.")]
    assert not [name for name in loaded if name.rpartition(".")[2] in COMMANDS]
    assert "pydantic" not in ended.stderr.split()


def test_a_full_standard_output_is_an_error_and_no_traceback() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([*PROGRAM, "targets"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert ended.stderr == "error: standard output: could not be read or written: No space left on device\n"


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ended = subprocess.run([*PROGRAM, "targets", "show"], stdout=pipe, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert ended.stderr == ""


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program in a Python in which one package can't be found."""
    hide = (
        "import sys, importlib.abc\n"
        "class Hidden(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name.split('.')[0] == {module!r}:\n"
        f"            raise ModuleNotFoundError('No module named {module}', name={module!r})\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from edgewright.deploy import main\nmain()"
    )
    return subprocess.run([sys.executable, "-P", "-c", hide, *arguments], capture_output=True, text=True)


def test_a_package_that_is_missing_is_named(tmp_path: Path) -> None:
    ended = without("yaml", "plan", "recipe.yaml")
    assert ended.returncode == 1
    assert ended.stderr == (
        f"error: yaml is not installed for {sys.executable}; `edgewright doctor` tells what is missing\n"
    )
    ended = without("typer", "plan", "recipe.yaml")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: typer is not installed")


def test_the_package_and_the_program_are_one_version() -> None:
    assert edgewright.__version__.count(".") == 2
