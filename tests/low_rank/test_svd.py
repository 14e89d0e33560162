"""The nearest matrix of a rank, by hand."""

from __future__ import annotations

import torch
from edgewright.low_rank.svd import energies, matrix_of, split
from torch.testing import assert_close


def test_what_is_lost_is_the_energy_of_the_singular_values_that_are_left_out() -> None:
    """diag(4, 2, 1), turned: of 16 + 4 + 1 the first one keeps 16, the first two 20."""
    turned, _ = torch.linalg.qr(torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    weight = turned @ torch.diag(torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64))
    assert_close(energies(weight), torch.tensor([16 / 21, 20 / 21, 1.0], dtype=torch.float64))
    for rank, lost in ((1, 5.0), (2, 1.0), (3, 0.0)):
        left, right = split(weight, rank)
        assert (left.shape, right.shape) == ((5, rank), (rank, 3))
        assert_close((weight - left @ right).square().sum(), torch.tensor(lost, dtype=torch.float64))


def test_both_factors_weigh_alike() -> None:
    left, right = split(torch.diag(torch.tensor([9.0, 4.0])), 2)
    assert_close(left.norm(dim=0), torch.tensor([3.0, 2.0], dtype=torch.float64))
    assert_close(right.norm(dim=1), left.norm(dim=0))


def test_a_kernel_is_a_matrix_of_all_that_an_output_reads() -> None:
    weight = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert matrix_of(weight).shape == (2, 12)
    assert_close(energies(torch.zeros(2, 3)), torch.ones(2, dtype=torch.float64))
