"""A seed fixes what is drawn inside, and nothing outside."""

from __future__ import annotations

import random

import numpy
import torch
from edgewright.recipe.randomness import seeded


def draw():
    return random.random(), float(numpy.random.rand()), float(torch.rand(()))


def test_a_seed_fixes_every_generator():
    with seeded(3):
        first = draw()
    with seeded(3):
        second = draw()
    with seeded(4):
        other = draw()
    assert first == second
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_the_generators_outside_go_on_as_if_nothing_was_drawn():
    with seeded(0):
        draw()
        expected = draw()
    with seeded(0):
        draw()
        with seeded(5):
            draw()
        assert draw() == expected
