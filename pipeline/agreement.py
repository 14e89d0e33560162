"""How often the artifacts of one recipe predict the same, and on which samples they do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ..benchmarks.accuracy import Evaluation

SHOWN = 10
"""How many samples a text names."""


@dataclass(frozen=True)
class Agreement:
    """Two targets, the share of samples on which their artifacts predict the same, and the indices of the others."""

    targets: tuple[str, str]
    agree: float
    differ: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """One entry of `build --json`'s agreement."""
        return {"targets": list(self.targets), "agree": self.agree, "differ": list(self.differ)}

    def __str__(self) -> str:
        """The share, and the first samples on which the two differ."""
        first, second = self.targets
        text = f"{first} and {second} predict the same on {self.agree:.2%} of the samples"
        if not self.differ:
            return text
        more = f" and {len(self.differ) - SHOWN} more" if len(self.differ) > SHOWN else ""
        return f"{text}; they differ on {', '.join(map(str, self.differ[:SHOWN]))}{more}"


def agreements(evaluations: Mapping[str, Evaluation]) -> tuple[Agreement, ...]:
    """Each pair of targets, by their artifacts' evaluations on the same samples; none where the task has no classes."""
    return tuple(
        found
        for (first, left), (second, right) in combinations(evaluations.items(), 2)
        if (found := _agreement(first, second, left, right)) is not None
    )


def _agreement(first: str, second: str, left: Evaluation, right: Evaluation) -> Agreement | None:
    import numpy as np

    if left.predictions is None or right.predictions is None or left.samples != right.samples:
        return None
    differs = (left.predictions != right.predictions).reshape(left.samples, -1).any(axis=1)
    return Agreement((first, second), 1 - float(differs.mean()), tuple(map(int, np.flatnonzero(differs))))
