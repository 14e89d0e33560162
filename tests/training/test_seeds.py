"""Seeds: the same numbers from every generator for the same seed and step."""

from __future__ import annotations

import random

import numpy as np
import torch
from edgewright.training.seeds import mix, seed_everything


def drawn(seed: int, step: int, rank: int = 0) -> tuple[float, float, float]:
    seed_everything(seed, step, rank)
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_every_generator_draws_the_same_for_a_seed_and_a_step() -> None:
    first = drawn(0, 5)
    torch.rand(3), random.random(), np.random.random()
    assert drawn(0, 5) == first
    for other in (drawn(0, 6), drawn(1, 5), drawn(0, 5, 1), drawn(0, 5, 2)):
        assert all(one != two for one, two in zip(first, other, strict=True))


def test_mixed_seeds_differ_and_have_32_bits() -> None:
    seeds = {mix(seed, number) for seed in range(30) for number in range(-1, 30)}
    assert len(seeds) == 30 * 31
    assert all(0 <= seed < 2**32 for seed in seeds)
