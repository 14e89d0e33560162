"""How long edgewright takes before it does anything: help, targets, a plan, and a rebuild of what has not changed.

    python benchmarks/suite/startup.py [--quick] [--recipe FILE]

Each command takes turns with a bare start of Python, `python -c pass`; medians are over the rounds, and Python's
compiled files are kept, as they are by default. The recipe (default: tests/small_recipe with random weights) is built
once before rebuilds are timed. Writes results/startup.md and startup.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _measure
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
ONCE = 0
"""In which round everything runs once untimed, so that files are compiled and cached."""


@dataclass
class Command:
    """One command, what it may take, and what it took: seconds on the clock and seconds of the processor, by round."""

    name: str
    arguments: tuple[str, ...]
    limit_s: float | None = None
    beyond_python: bool = False
    """The limit is for what comes on top of a bare start."""
    light: bool = True
    """Has no use for torch."""
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    imports_torch: bool | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--recipe", type=Path, help="the recipe that is planned and built")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recipe = str(options.recipe.resolve() if options.recipe else small_recipe(Path(folder) / "recipe"))
        out = str(Path(folder) / "out")
        bare = Command("python -c pass", ("-c", "pass"))
        commands = [
            bare,
            edgewright("--help", limit_s=0.3, beyond_python=True),
            edgewright("targets", limit_s=0.3, beyond_python=True),
            edgewright("plan", recipe, limit_s=0.5),
            edgewright("build", recipe, "--out", out, limit_s=3.0, light=False),
        ]
        environment = {**os.environ, "EDGEWRIGHT_CACHE": str(Path(folder) / "cache"), "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range((6 if options.quick else 25) + 1):
            for command in commands:
                run(command, environment, timed=number != ONCE)
        for command in commands:
            command.imports_torch = imports_torch(command, environment) if command.light else None
        uncached = steps_run(commands[-1], environment)
    write(commands, uncached, options.quick)


def edgewright(*arguments: str, limit_s: float, beyond_python: bool = False, light: bool = True) -> Command:
    name = " ".join(["edgewright", arguments[0], *("RECIPE" for _ in arguments[1:2])])
    return Command(name, (str(ROOT / "deploy.py"), *arguments), limit_s, beyond_python, light)


def small_recipe(folder: Path) -> Path:
    """A copy of tests/small_recipe with weights, which a process of its own draws."""
    shutil.copytree(ROOT / "tests" / "small_recipe", folder)
    draw = "import model, safetensors.torch as s; s.save_file(model.build().state_dict(), 'weights.safetensors')"
    subprocess.run([sys.executable, "-c", draw], cwd=folder, check=True)
    return folder / "recipe.yaml"


def run(command: Command, environment: dict[str, str], *, timed: bool) -> None:
    """The command ran; its output goes nowhere but where it fails."""
    before, start = os.times(), time.perf_counter()
    done = finished(sys.executable, *command.arguments, environment=environment)
    wall_s, after = time.perf_counter() - start, os.times()
    if done.returncode not in (0, 3):  # 3: a budget is missed, which says nothing about how long a build takes
        raise SystemExit(f"{command.name} ended with {done.returncode}:\n{done.stderr}")
    if timed:
        command.wall_s.append(wall_s)
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        command.cpu_s.append(spent)


def finished(*words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def imports_torch(command: Command, environment: dict[str, str]) -> bool:
    """Whether Python's own record of imports names torch."""
    done = finished(sys.executable, "-X", "importtime", *command.arguments, environment=environment)
    return any(line.rpartition("|")[2].strip() == "torch" for line in done.stderr.splitlines())


def steps_run(build: Command, environment: dict[str, str]) -> list[str]:
    """The steps that a rebuild does not take from the cache."""
    done = finished(sys.executable, *build.arguments, "--json", environment=environment)
    steps = [step for result in json.loads(done.stdout)["results"] for step in result["steps"]]
    return [step["pass"].partition("{")[0] for step in steps if not step["cached"]]


def write(commands: Sequence[Command], uncached: Sequence[str], quick: bool) -> None:
    """The table, and whether each limit was kept."""
    bare, lines, rows = commands[0], [], []
    for command in commands:
        beyond = np.array(command.wall_s) - np.array(bare.wall_s)
        judged = float(np.median(beyond if command.beyond_python else command.wall_s))
        verdict = "" if command.limit_s is None else "kept" if judged <= command.limit_s else "missed"
        limit = "" if command.limit_s is None else f"{command.limit_s} s{' beyond Python' * command.beyond_python}"
        seconds = [f"{np.median(values):.3f}" for values in (command.wall_s, beyond, command.cpu_s)]
        torch = {None: "", True: "yes", False: "no"}[command.imports_torch]
        lines.append([f"`{command.name}`", *seconds, limit, verdict, torch])
        rows.append({"command": command.name, "wall_s": command.wall_s, "cpu_s": command.cpu_s})
        rows[-1] |= {"limit_s": command.limit_s, "imports_torch": command.imports_torch}
    headers = ["command", "seconds", "beyond a bare start", "of the processor", "limit", "verdict", "imports torch"]
    rebuilt = f"not from the cache: {', '.join(uncached)}" if uncached else "every step came from the cache"
    text = (
        f"Starting edgewright; medians of {len(bare.wall_s)} rounds in turns. The build is a rebuild: {rebuilt}. Where"
        " the processor's seconds are far below those on the clock, other programs held it.\n\n"
        f"{_measure.table(headers, lines)}"
    )
    _measure.write("startup", text, rows, origin(), quick=quick)


def origin() -> dict[str, Any]:
    return _measure.origin("typer", "pydantic", "torch")


if __name__ == "__main__":
    main()
