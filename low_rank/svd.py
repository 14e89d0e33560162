"""Matrices of lower rank: the nearest ones, by the singular value decomposition (Eckart and Young 1936)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def matrix_of(weight: Tensor) -> Tensor:
    """A weight (out, in, *kernel) as a matrix (out, in * kernel) of float64."""
    return weight.detach().double().reshape(weight.shape[0], -1)


def energies(weight: Tensor) -> Tensor:
    """The part of the matrix's squared entries that its nearest matrix of rank 1, 2, ... keeps; all ones for zeros."""
    import torch

    squares = torch.linalg.svdvals(matrix_of(weight)).square()
    total = squares.sum()
    return squares.cumsum(0) / total if total > 0 else torch.ones_like(squares)


def split(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(out, rank) and (rank, in * kernel), whose product is the nearest matrix of that rank.

    Both have the roots of the singular values in them, so that they learn alike.
    """
    import torch

    left, values, right = torch.linalg.svd(matrix_of(weight), full_matrices=False)
    roots = values[:rank].sqrt()
    return left[:, :rank] * roots, roots[:, None] * right[:rank]
