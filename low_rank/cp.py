"""Convolutions as sums of products of vectors: canonical polyadic decomposition.

Lebedev et al. 2015, "Speeding-up Convolutional Neural Networks Using Fine-tuned CP-Decomposition", arXiv:1412.6553; by
alternating least squares (Kolda and Bader 2009, "Tensor Decompositions and Applications", section 3.4), from the
singular vectors and then from random factors, of which the best stay.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

_STARTS = 2
_MOST_TURNS = 100
_SETTLED, _EXACT = 1e-4, 1e-16
"""A turn is the last that lowers the error by less than this part of it, or to less than that part of the whole."""
_RIDGE = 1e-10
"""The part of its mean that is added to the diagonal of normal equations: nearly parallel factors do not blow up."""


def split(weight: Tensor, rank: int, seed: int = 0) -> tuple[Tensor, ...]:
    """A factor (size, rank) for each axis of the weight (out, in, *kernel), of equal norms in each column."""
    import torch

    tensor = weight.detach().double()
    generator = torch.Generator().manual_seed(seed)
    tried = [_alternated(tensor, _start(tensor, rank, generator, number)) for number in range(_STARTS)]
    return _balanced(min(tried, key=lambda factors: _error(tensor, factors)))


def composed(factors: tuple[Tensor, ...]) -> Tensor:
    """The tensor that the factors make."""
    import torch

    letters = "abcde"[: len(factors)]
    return torch.einsum(",".join(f"{letter}r" for letter in letters) + f"->{letters}", *factors)


def _start(tensor: Tensor, rank: int, generator: Generator, number: int) -> list[Tensor]:
    """The leading singular vectors of each axis, filled up with noise; noise alone for all starts but the first."""
    import torch

    factors = []
    for axis, size in enumerate(tensor.shape):
        factor = torch.randn(size, rank, generator=generator, dtype=tensor.dtype)
        if number == 0:
            basis = torch.linalg.svd(_unfolded(tensor, axis), full_matrices=False)[0][:, :rank]
            factor[:, : basis.shape[1]] = basis
        factors.append(factor)
    return factors


def _alternated(tensor: Tensor, factors: list[Tensor]) -> tuple[Tensor, ...]:
    """Each factor in turn is the best for the others, until a turn betters little."""
    import torch

    total = float(tensor.square().sum())
    last = 2 * total
    for _ in range(_MOST_TURNS):
        for axis in range(tensor.dim()):
            others = [factor for place, factor in enumerate(factors) if place != axis]
            squares = functools.reduce(operator.mul, (factor.T @ factor for factor in others))
            ridge = _RIDGE * squares.diagonal().mean() * torch.eye(len(squares), dtype=squares.dtype)
            sides = _unfolded(tensor, axis) @ functools.reduce(_khatri_rao, others)
            factors[axis] = torch.linalg.lstsq(squares + ridge, sides.T).solution.T
            if axis < tensor.dim() - 1:
                factors[axis] = factors[axis] / factors[axis].norm(dim=0).clamp(min=torch.finfo(tensor.dtype).tiny)
        error = _error(tensor, factors)
        if last - error <= _SETTLED * last or error <= _EXACT * total:
            break
        last = error
    return tuple(factors)


def _khatri_rao(left: Tensor, right: Tensor) -> Tensor:
    """(rows of left * rows of right, rank): the products of all rows, column by column."""
    return (left[:, None] * right[None]).flatten(0, 1)


def _unfolded(tensor: Tensor, axis: int) -> Tensor:
    return tensor.movedim(axis, 0).flatten(1)


def _error(tensor: Tensor, factors: list[Tensor] | tuple[Tensor, ...]) -> float:
    return float((composed(tuple(factors)) - tensor).square().sum())


def _balanced(factors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The same product, with each column as long in every factor."""
    norms = [factor.norm(dim=0) for factor in factors]
    tiny = min(float(factor.new_tensor(0).nextafter(factor.new_tensor(1))) for factor in factors)
    mean = functools.reduce(operator.mul, norms) ** (1 / len(factors))
    return tuple(factor / norm.clamp(min=tiny) * mean for factor, norm in zip(factors, norms, strict=True))
