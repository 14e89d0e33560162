"""Names of a network's modules, as a recipe gives them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from .errors import InputError, Problem

if TYPE_CHECKING:
    from torch import nn


def refuse_unknown(names: Iterable[str], module: nn.Module, key: str) -> None:
    """InputError, with all names that no module of the network has and the nearest that there are."""
    refuse_unknown_names(names, [name for name, _ in module.named_modules() if name], key)


def refuse_unknown_names(names: Iterable[str], known: Collection[str], key: str) -> None:
    """The same of the names of a network's modules: those that are not known, or that nothing known lies within."""
    problems = []
    for name in names:
        if name not in known and not any(entry.startswith(f"{name}.") for entry in known):
            near = difflib.get_close_matches(name, sorted(known), 3, 0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            problems.append(Problem("recipe", key, f"names of modules of the network{hint}", name))
    if problems:
        raise InputError(problems)


def is_within(name: str, modules: Collection[str]) -> bool:
    """Whether the module of that name is one of these, or lies in one of them."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)
