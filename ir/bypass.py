"""Modules that are passed by: in their place stands one that gives back what it was called with first."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def pass_by(module: nn.Module, name: str) -> nn.Module:
    """The module of that name in `module` is passed by, in place; returns the one that was there."""
    return swap(module, name, _bypass()())


@contextmanager
def passed_by(module: nn.Module, names: Iterable[str]) -> Iterator[nn.Module]:
    """`module` with these modules passed by, until the context ends."""
    replaced = [(name, pass_by(module, name)) for name in names]
    try:
        yield module
    finally:
        for name, old in reversed(replaced):
            swap(module, name, old)


def swap(module: nn.Module, name: str, new: nn.Module) -> nn.Module:
    """`new` stands where the module of that name in `module` was, in place; returns the one that was there."""
    path, _, last = name.rpartition(".")
    parent, old = module.get_submodule(path), module.get_submodule(name)
    setattr(parent, last, new)
    return old


@functools.cache
def _bypass() -> type[nn.Module]:
    from torch import nn

    class Bypass(nn.Module):
        def forward(self, x: Any, *others: Any, **named: Any) -> Any:
            return x

    return Bypass
