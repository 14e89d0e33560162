"""The fewest names that are enough: as few as trying every set finds, where sets are few."""

from __future__ import annotations

import itertools
import random

import pytest
from edgewright.quantization.subsets import smallest

NAMES = tuple("abcdefg")


def brute_force(worth: dict[str, float], wanted: float) -> int:
    sizes = range(len(NAMES) + 1)
    return next(
        size
        for size in sizes
        if any(sum(worth[name] for name in names) >= wanted for names in itertools.combinations(NAMES, size))
    )


@pytest.mark.parametrize("seed", range(20))
def test_no_smaller_set_is_enough(seed: int) -> None:
    draw = random.Random(seed)
    worth = {name: draw.random() for name in NAMES}
    wanted = draw.random() * sum(worth.values())
    ranked = sorted(NAMES, key=lambda name: worth[name] + draw.gauss(0, 0.5))
    found, is_least = smallest(ranked, lambda names: sum(worth[name] for name in names) >= wanted, 100)
    assert is_least
    assert len(found) == brute_force(worth, wanted)
    assert sum(worth[name] for name in found) >= wanted


def test_what_helps_only_together_is_found() -> None:
    found, is_least = smallest(NAMES, lambda names: {"c", "f"} <= set(names), 100)
    assert (found, is_least) == (("c", "f"), True)


def test_large_lists_are_not_tried_whole() -> None:
    names = [f"layer{number}" for number in range(60)]
    looks = []

    def is_enough(chosen: tuple[str, ...]) -> bool:
        looks.append(chosen)
        return len(chosen) >= 3

    found, is_least = smallest(names, is_enough, 100)
    assert len(found) == 3
    assert not is_least
    assert len(looks) < 260


def test_all_may_be_needed() -> None:
    assert smallest(NAMES, lambda names: len(names) == len(NAMES), 100) == (NAMES, True)
