"""Networks of a recipe beside the one that is built, as teachers are: loaded and fingerprinted as that one is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..ir.errors import InputError, Problem
from . import fingerprints, source

if TYPE_CHECKING:
    from torch import nn

    from .schema import Recipe


@dataclass(frozen=True)
class OtherNetwork:
    """Where the network and its weights come from, and the key of the recipe that says so. It has the same inputs."""

    source: str
    weights: str | None
    key: str

    def load(self, recipe: Recipe) -> nn.Module:
        """The network with its weights in eval mode; InputError as `source.load_model`, said of `key`."""
        with self._said_of_key():
            return source.load_model(self._in_place(recipe))

    def fingerprint(self, recipe: Recipe, memory: Path) -> str:
        """Hex of its code, structure and weights; InputError as `fingerprints.model_fingerprint`, said of `key`."""
        with self._said_of_key():
            return fingerprints.model_fingerprint(self._in_place(recipe), memory)

    def _in_place(self, recipe: Recipe) -> Recipe:
        model = recipe.model.model_copy(update={"source": self.source, "weights": self.weights})
        return recipe.model_copy(update={"model": model})

    @contextmanager
    def _said_of_key(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            raise InputError([self._said(problem) for problem in error.problems]) from error

    def _said(self, problem: Problem | str) -> Problem | str:
        if isinstance(problem, str) or not problem.key.startswith("model."):
            return problem
        return replace(problem, key=f"{self.key}.{problem.key.removeprefix('model.')}")
