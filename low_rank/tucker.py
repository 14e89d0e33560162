"""Convolutions with fewer channels within: Tucker decomposition of the two channel axes.

Kim et al. 2016, "Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications",
arXiv:1511.06530. Factors start as the higher-order SVD and are bettered in turns (De Lathauwer et al. 2000, "On the
Best Rank-1 and Rank-(R1, ..., RN) Approximation of Higher-Order Tensors").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_TURNS = 10


def energies(weight: Tensor) -> Tensor:
    """(in, out): what part of the weight's squared entries is kept at least by ranks 1, 2, ... of the two sides.

    It is what the higher-order SVD keeps, whose factors are orthogonal: the sum of the core's squares that stay.
    """
    import torch

    tensor = _three(weight)
    core = torch.einsum("oik,or,is->srk", tensor, _basis(tensor, 0), _basis(tensor, 1))
    squares = core.square().sum(2)
    total = squares.sum()
    return squares.cumsum(0).cumsum(1) / total if total > 0 else torch.ones_like(squares)


def split(weight: Tensor, ranks: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices (rank_in, in) and (out, rank_out) around a core (rank_out, rank_in, *kernel); `ranks` are of in and out.

    A side whose rank is its width has the identity.
    """
    import torch

    tensor = _three(weight)
    inner, outer = ranks
    left, right = _leading(tensor, 0, outer), _leading(tensor, 1, inner)
    for _ in range(_TURNS):
        left = _leading(torch.einsum("oik,is->osk", tensor, right), 0, outer)
        right = _leading(torch.einsum("oik,or->rik", tensor, left), 1, inner)
    core = torch.einsum("oik,or,is->rsk", tensor, left, right)
    return right.T, core.reshape(outer, inner, *weight.shape[2:]), left


def _three(weight: Tensor) -> Tensor:
    """A weight (out, in, *kernel) as (out, in, kernel) of float64."""
    return weight.detach().double().flatten(2)


def _leading(tensor: Tensor, axis: int, rank: int) -> Tensor:
    """(width, rank): the most important columns of the basis; the identity where all are wanted."""
    import torch

    width = tensor.shape[axis]
    return torch.eye(width, dtype=tensor.dtype) if rank == width else _basis(tensor, axis)[:, :rank]


def _basis(tensor: Tensor, axis: int) -> Tensor:
    """Orthonormal columns for what the axis holds, the most important first: square, or as many as there can be."""
    import torch

    matrix = tensor.movedim(axis, 0).flatten(1)
    basis: Tensor = torch.linalg.svd(matrix, full_matrices=matrix.shape[1] < matrix.shape[0])[0]
    return basis
