"""CP: exact where the tensor is such a sum, balanced, and the same every time."""

from __future__ import annotations

import torch
from edgewright.low_rank.cp import composed, split
from torch.testing import assert_close


def test_a_sum_of_products_of_vectors_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = (8, 6, 3, 3)
    factors = tuple(torch.randn(size, 2, generator=generator, dtype=torch.float64) for size in sizes)
    weight = composed(factors)
    found = split(weight, 2)
    assert [tuple(factor.shape) for factor in found] == [(size, 2) for size in sizes]
    assert_close(composed(found).float(), weight.float())
    norms = torch.stack([factor.norm(dim=0) for factor in found])
    assert_close(norms, norms[:1].expand(4, 2))


def test_rank_one_of_a_matrix_is_its_largest_singular_value() -> None:
    weight = torch.diag(torch.tensor([3.0, 1.0]))[:, :, None]
    made = composed(split(weight, 1)).float()
    assert_close(made, torch.tensor([[3.0, 0.0], [0.0, 0.0]])[:, :, None])


def test_the_same_seed_gives_the_same_factors_and_more_rank_a_smaller_error() -> None:
    weight = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(1))
    for one, other in zip(*(split(weight, 4, seed=3) for _ in range(2)), strict=True):
        assert_close(one, other)
    errors = [float((composed(split(weight, rank)) - weight).square().sum()) for rank in (1, 3, 6, 12)]
    assert errors == sorted(errors, reverse=True)


def test_zeros_come_apart_into_zeros() -> None:
    assert not composed(split(torch.zeros(3, 2, 2), 2)).any()
