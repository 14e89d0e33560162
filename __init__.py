"""edgewright: a build system for neural networks on edge devices.

The Python API, light to import: `load_recipe`, `load_target`, `plan`, `build`, `bench`.

    import edgewright
    recipe = edgewright.load_recipe("recipe.yaml")
    print(edgewright.plan(recipe, edgewright.load_target("host")).to_text())
    results = edgewright.build(recipe)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .ir.progress import Progress
    from .passes.manager import Plan
    from .pipeline.bench import Bench
    from .pipeline.build import Result
    from .recipe.schema import Recipe
    from .targets import Target

__version__ = "0.1.0"
__all__ = ["bench", "build", "load_recipe", "load_target", "plan"]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in the file, with `key.of.it=value` overrides. InputError with every problem of the file."""
    from .recipe.schema import load_recipe as load

    return load(Path(path), overrides)


def load_target(name: str) -> Target:
    """The profile of that name or file; `host` is the one that fits this machine. InputError with every problem."""
    from .pipeline.planning import resolve

    return resolve(name)


def plan(recipe: Recipe, target: Target) -> Plan:
    """What a build for the target would do, with the reason for each place and each skip. PlanError, InputError."""
    from .pipeline import planning

    return planning.plan(recipe, target)


def build(
    recipe: Recipe,
    targets: Sequence[Target] = (),
    out: str | Path = "out",
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> tuple[Result, ...]:
    """A result for each target (default: the recipe's), each artifact in `out`/TARGET.

    A target that fails or misses a budget says so in its result; only what concerns all targets raises.
    """
    from .ir.progress import Silent
    from .pipeline.build import build as run
    from .pipeline.planning import targets_of
    from .pipeline.store import Store, default_root

    listener = progress or Silent()
    store = Store(default_root() if cache is None else Path(cache), listener)
    return run(recipe, targets or targets_of(recipe), Path(out), store, listener)


def bench(artifact: str | Path, against: str | Path | None = None, threads: int | None = None) -> Bench:
    """The artifact's latency on this machine; with `against`, in turns with another and with a verdict."""
    from .ir.progress import Silent
    from .pipeline.bench import bench as run
    from .pipeline.bench import device_named

    other = None if against is None else Path(against)
    return run(Path(artifact), other, device_named("local"), threads, Silent())
