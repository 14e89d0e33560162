"""Losses between features, beside what was computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from edgewright.training.feature_losses import (
    ANGLE_SAMPLES,
    CONTRAST_TEMPERATURE,
    angle_loss,
    attention_loss,
    contrast_loss,
    distance_loss,
    hint_loss,
    pooled,
    same_places,
)
from torch import Tensor

TRIANGLE = [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]
"""Its sides are 3, 4 and 5 long."""
EVEN = [[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]]
"""An equilateral triangle."""


def points(values: list[list[float]]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hints_are_mean_squares() -> None:
    assert float(hint_loss(points([[1.0, 2.0]]), points([[3.0, 5.0]]))) == pytest.approx((4 + 9) / 2)


def test_attention_is_where_squares_are_large() -> None:
    """Two places; the student's channels have the squares 9 and 16, the teacher looks at the first place alone."""
    student, teacher = torch.tensor([3.0, 4.0]).reshape(1, 1, 1, 2), torch.zeros(1, 2, 1, 2)
    teacher[0, :, 0, 0] = torch.tensor([1.0, 7.0])
    length = math.hypot(9, 16)
    expected = ((9 / length - 1) ** 2 + (16 / length) ** 2) / 2
    assert float(attention_loss(student, teacher)) == pytest.approx(expected)


def test_attention_needs_no_equal_widths_and_scale_does_not_matter() -> None:
    features = random(2, 3, 4, 4)
    assert float(attention_loss(features, torch.cat([features, features], 1) * 5)) == pytest.approx(0, abs=1e-15)
    tokens = random(2, 7, 3)
    assert float(attention_loss(tokens, 2 * tokens)) == pytest.approx(0, abs=1e-15)  # float64's rounding, squared


def test_distances_of_triangles_by_hand() -> None:
    """3, 4 and 5 are 3/4, 1 and 5/4 of their mean, and the other triangle's sides all 1; smooth L1 halves squares."""
    found = float(distance_loss(points(TRIANGLE), points(EVEN)))
    assert found == pytest.approx((2 * 0.25**2 / 2) / 3)


def test_angles_of_triangles_by_hand() -> None:
    """Of 27 ordered triples, six at the corners have the cosines 0, 3/5, 4/5 (twice each) beside 1/2 all over."""
    found = float(angle_loss(points(TRIANGLE), points(EVEN)))
    assert found == pytest.approx(2 * (0.5**2 + 0.1**2 + 0.3**2) / 2 / 27)


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_relations_do_not_change_with_place_turn_and_scale(loss: object) -> None:
    assert callable(loss)
    features = random(8, 5)
    turn, _ = torch.linalg.qr(random(5, 5, seed=1))
    assert float(loss(features, 3 * features @ turn + 2)) == pytest.approx(0, abs=1e-15)  # float64's rounding, squared
    assert float(loss(features, random(8, 5, seed=2))) > 1e-3


@pytest.mark.parametrize("loss", [distance_loss, angle_loss, contrast_loss])
def test_samples_that_are_the_same_give_finite_gradients(loss: object) -> None:
    assert callable(loss)
    features = torch.ones(4, 3, requires_grad=True)
    loss(features, random(4, 3).float()).backward()
    assert features.grad is not None
    assert bool(features.grad.isfinite().all())


def test_angles_are_taken_between_some_samples_of_large_batches() -> None:
    student, teacher = random(ANGLE_SAMPLES + 30, 3), random(ANGLE_SAMPLES + 30, 3, seed=1)
    few = angle_loss(student[:ANGLE_SAMPLES], teacher[:ANGLE_SAMPLES])
    assert torch.equal(angle_loss(student, teacher), few)


def test_contrast_by_hand() -> None:
    """Two samples at right angles: own likeness 1, that with the other 0."""
    corners = points([[1.0, 0.0], [0.0, 1.0]])
    expected = math.log(1 + math.exp(-1 / CONTRAST_TEMPERATURE))
    assert float(contrast_loss(5 * corners, corners)) == pytest.approx(expected)
    wrong = math.log(1 + math.exp(1 / CONTRAST_TEMPERATURE))
    assert float(contrast_loss(corners.flip(0), corners)) == pytest.approx(wrong)


def test_features_are_pooled_over_places() -> None:
    images, tokens = random(2, 3, 4, 5), random(2, 7, 3)
    torch.testing.assert_close(pooled(images), images.flatten(2).mean(2))
    torch.testing.assert_close(pooled(tokens), tokens.mean(1))
    assert torch.equal(pooled(tokens[:, 0]), tokens[:, 0])


def test_the_larger_image_is_made_smaller() -> None:
    small, large = same_places(random(2, 3, 2, 8), random(2, 5, 4, 4))
    assert (small.shape, large.shape) == ((2, 3, 2, 4), (2, 5, 2, 4))
