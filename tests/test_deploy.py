"""The program as a person starts it: `python deploy.py` from anywhere, beside folders that are called like ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy.py"


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


@pytest.fixture
def project(recipe_file: Path) -> Path:
    """A user's folder whose network and data import modules of their own that are called like rooms of ours."""
    folder = recipe_file.parent
    for room in ("passes", "targets", "commands", "benchmarks", "recipe"):
        (folder / room).mkdir()
        (folder / room / "__init__.py").write_text(f"MINE = {room!r}\n")
    (folder / "ir.py").write_text("MINE = 'ir'\n")
    (folder / "targets" / "board.yaml").write_text("name: board\nsummary: mine\nextends: x86-avx2\n")
    own = (
        "from passes import MINE as passes\nimport targets, commands, ir\nfrom benchmarks import MINE\n"
        "assert (passes, targets.MINE, commands.MINE, ir.MINE, MINE) =="
        " ('passes', 'targets', 'commands', 'ir', 'benchmarks')\n"
    )
    for name in ("model.py", "data.py"):
        (folder / name).write_text(own + (folder / name).read_text())
    return folder


def test_it_runs_from_another_folder(tmp_path: Path) -> None:
    for script in (DEPLOY, os.path.relpath(DEPLOY, tmp_path)):
        ended = run(script, "targets", cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert "x86-avx2" in ended.stdout


def test_it_is_the_same_program_as_the_installed_one(program: Callable[..., Any]) -> None:
    for arguments in (["--help"], ["targets", "show", "x86-avx2"], ["plan", "none.yaml"]):
        ended, other = run(DEPLOY, *arguments), program(*arguments)
        assert (ended.returncode, ended.stdout, ended.stderr) == (other.code, other.out, other.err)


def test_a_checkout_of_any_name_runs_itself(tmp_path: Path) -> None:
    """A copy whose version differs, so that it can be told from the checkout that is installed."""
    copy = tmp_path / "my clone of it"
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    for room in rooms:
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(DEPLOY, copy)
    (copy / "__init__.py").write_text(
        (ROOT / "__init__.py").read_text().replace("__version__ = ", "__version__ = 'x' ")
    )
    ended = run(copy / "deploy.py", "--version", cwd=tmp_path)
    assert ended.stdout.startswith("edgewright x"), ended.stderr
    assert "x86-avx2" in run(copy / "deploy.py", "targets", cwd=tmp_path).stdout


@pytest.mark.parametrize("start", [[DEPLOY], ["-m", "edgewright.deploy"]], ids=["script", "module"])
def test_own_folders_are_neither_hidden_nor_taken_for_ours(project: Path, start: list[object]) -> None:
    ended = run(*start, "plan", "recipe.yaml", "--target", "board", cwd=project)
    assert ended.returncode == 0, ended.stderr
    assert "plan for board" in ended.stdout
    assert "board" in run(*start, "targets", cwd=project).stdout


@pytest.mark.slow
def test_a_network_that_imports_its_own_passes_and_targets_is_built(project: Path) -> None:
    """A user's modules are imported by the user's code, and ours by ours, in one process."""
    where = ["--target", "board", "--out", "out", "--cache", "cache"]
    changes = [f"compress.{name}=null" for name in ("prune", "recover", "quantize")]
    options = [argument for change in changes for argument in ("--set", change)]
    ended = run(DEPLOY, "build", "recipe.yaml", *where, *options, cwd=project)
    assert ended.returncode == 0, ended.stderr
    assert (project / "out" / "board" / "model.onnx").is_file()
    assert run(DEPLOY, "verify", "out/board", cwd=project).returncode == 0


def test_importing_the_script_starts_nothing() -> None:
    ended = run("-P", "-c", "import sys, edgewright.deploy; print('typer' in sys.modules)")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "False\n", "")


def test_without_the_package_beside_it_says_what_it_needs(tmp_path: Path) -> None:
    """deploy.py is no program of its own."""
    shutil.copy(DEPLOY, tmp_path)
    ended = run("-I", tmp_path / "deploy.py", "--help", cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr == f"error: {tmp_path}: expected the checkout of edgewright around deploy.py\n"


def test_without_its_packages_it_says_what_to_install() -> None:
    """As the system's own Python does in a fresh clone (-S: no installed packages)."""
    ended = run("-S", DEPLOY, "--help")
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: typer is not installed for {sys.executable}; in the checkout: pip install")
    assert len(ended.stderr.splitlines()) == 1
