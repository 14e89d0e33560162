"""Codebooks: the few values that the weights of a layer take, and which of them each weight takes.

k-means: Han et al. 2016, "Deep Compression", arXiv:1510.00149, 3.1 and 3.2. logarithmic: Miyashita et al. 2016,
"Convolutional Neural Networks using Logarithmic Data Representation", arXiv:1603.01025. hash: Chen et al. 2015,
"Compressing Neural Networks with the Hashing Trick", arXiv:1504.04788. piecewise-linear: Fang et al. 2020,
"Post-Training Piecewise Linear Quantization for Deep Neural Networks", arXiv:2002.00104.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Method = Literal["k-means", "logarithmic", "hash", "piecewise-linear"]
Start = Literal["linear", "density", "random"]
FREE: tuple[Method, ...] = ("k-means", "hash")
"""Methods whose values can be any; those of the others lie on a grid of their own."""
_MOST_ROUNDS = 300
_BREAKPOINTS = 100
_SMALLEST_EXPONENT = -126
"""Of a normal float32."""


@dataclass(frozen=True)
class Codebook:
    """`values` (K,), rising and all in use, and the place among them of each weight: `index`, shaped as the weights."""

    values: Tensor
    index: Tensor

    @property
    def weights(self) -> Tensor:
        """The weights, each of them one of the values."""
        return self.values[self.index]

    @property
    def counts(self) -> list[int]:
        """How many weights take each value."""
        counts: list[int] = self.index.flatten().bincount(minlength=len(self.values)).tolist()
        return counts


def codebook(weight: Tensor, clusters: int, method: Method, start: Start = "linear", name: str = "") -> Codebook:
    """A codebook of at most so many values, found by the method. What is zero in the weight has the value zero.

    `start` is that of k-means; `name` tells the hashes, or the random starts, of one weight from another's.
    """
    import torch

    values = weight.detach().flatten().double()
    places = torch.arange(len(values))
    if method in FREE:  # the others have a zero among their values
        places = places[values != 0]
    has_zero, given = len(places) < len(values), values[places]
    if not len(given):
        return Codebook(torch.zeros(1, dtype=weight.dtype), torch.zeros(weight.shape, dtype=torch.int64))
    found, index = _fitted(given, places, max(clusters - has_zero, 1), method, start, name)
    if has_zero:
        found = torch.cat([torch.zeros(1, dtype=found.dtype), found])
        index = torch.zeros(len(values), dtype=torch.int64).index_put((places,), index + 1)
    used, index = torch.unique(found.to(weight.dtype)[index], return_inverse=True)
    return Codebook(used, index.reshape(weight.shape))


def _fitted(
    values: Tensor, places: Tensor, clusters: int, method: Method, start: Start, name: str
) -> tuple[Tensor, Tensor]:
    """A codebook (K,) for the values (N,) and the place in it of each; `places` (N,): where in the weight they lie."""
    match method:
        case "k-means":
            return k_means(values, starts(values, clusters, start, _seed(name)))
        case "hash":
            return hashed(values, places, clusters, _seed(name))
        case "logarithmic":
            return logarithmic(values, clusters)
        case "piecewise-linear":
            return piecewise_linear(values, clusters)


def starts(values: Tensor, clusters: int, start: Start, seed: int) -> Tensor:
    """Where k-means begins, rising (K,): evenly between the least and the greatest value, which gives the few large
    weights centers of their own (3.2); at evenly spaced quantiles; or at values drawn at random."""
    import torch

    match start:
        case "linear":
            return torch.linspace(float(values.min()), float(values.max()), clusters, dtype=torch.float64)
        case "density":
            ranks = (torch.arange(clusters, dtype=torch.float64) + 0.5) / clusters * len(values)
            return values.sort().values[ranks.long().clamp(max=len(values) - 1)]
        case "random":
            generator = torch.Generator().manual_seed(seed % 2**63)
            return values[torch.randperm(len(values), generator=generator)[:clusters]].sort().values


def k_means(values: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Centers (K,) where Lloyd's rounds end that begin at `centers`, rising, and for each value (N,) the nearest one's.

    On a line a cluster is an interval of the sorted values, so a round costs K searches, whatever N is. A center that
    no value is nearest to stays where it is.
    """
    import torch

    ordered, order = values.sort()
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), ordered.cumsum(0)])
    edges = torch.empty(0)
    for _ in range(_MOST_ROUNDS):
        between = torch.searchsorted(ordered, (centers[1:] + centers[:-1]) / 2, right=True)
        before, edges = edges, torch.cat([between.new_zeros(1), between, between.new_full((1,), len(ordered))])
        if torch.equal(edges, before):
            break
        counts = edges.diff()
        centers = torch.where(counts > 0, sums[edges].diff() / counts.clamp(min=1), centers)
    index = torch.empty_like(order)
    index[order] = torch.repeat_interleave(torch.arange(len(centers)), edges.diff())
    return centers, index


def hashed(values: Tensor, places: Tensor, clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """The means (K,) of the values that a hash of their places puts together, and that hash; a file needs no index."""
    import numpy as np
    import torch

    with np.errstate(over="ignore"):  # splitmix64's arithmetic is that of 64 bits (Steele et al. 2014, OOPSLA)
        mixed = places.numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    index = torch.from_numpy((mixed % np.uint64(clusters)).astype(np.int64))
    counts = index.bincount(minlength=clusters)
    return index.bincount(values, clusters) / counts.clamp(min=1), index


def logarithmic(values: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Zero and powers of two of both signs, down from the one nearest to the largest value; rounded in the logarithm.

    Below half of the least power a value is zero.
    """
    import torch

    largest = float(values.abs().max())
    top = max(round(math.log2(largest)), _SMALLEST_EXPONENT) if largest else 0
    powers = max(1, min((clusters - 1) // 2, top - _SMALLEST_EXPONENT + 1))
    exponents = torch.arange(top - powers + 1, top + 1, dtype=torch.float64)
    book = torch.cat([-exponents.flip(0).exp2(), torch.zeros(1, dtype=torch.float64), exponents.exp2()])
    rank = (values.abs().log2().round() - (top - powers)).clamp(1, powers)
    rank = rank.where(values.abs() >= exponents[0].exp2() / 2, 0.0)
    return book, (powers + rank * values.sign()).long()


def piecewise_linear(values: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Half of the levels lie evenly around zero, the others evenly in the two tails, where values are rare.

    The breakpoint between them is the one below half of the largest value that costs the least squared error.
    """
    import torch

    largest, best = float(values.abs().max()) or 1.0, (math.inf, values, values)
    for number in range(1, _BREAKPOINTS + 1):
        book = _two_pieces(largest * number / (2 * _BREAKPOINTS), largest, clusters)
        index = torch.bucketize(values, (book[1:] + book[:-1]) / 2)
        error = float((book[index] - values).square().sum())
        best = min(best, (error, book, index), key=lambda entry: entry[0])
    return best[1], best[2]


def _two_pieces(breakpoint: float, largest: float, clusters: int) -> Tensor:
    """Levels of both signs, with zero, rising: up to the breakpoint, and from there up to the largest value."""
    import torch

    inner = (clusters // 2 - 1) // 2
    outer = (clusters - 2 * inner - 1) // 2
    near = breakpoint * torch.arange(1, inner + 1, dtype=torch.float64) / max(inner, 1)
    far = breakpoint + (largest - breakpoint) * torch.arange(1, outer + 1, dtype=torch.float64) / outer
    above = torch.cat([near, far])
    return torch.cat([-above.flip(0), torch.zeros(1, dtype=torch.float64), above])


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
