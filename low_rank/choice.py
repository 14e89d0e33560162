"""At which rank a layer comes apart: what each rank costs and keeps, and which is the one that was asked for."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..ir.factors import Factors, Method, Piece, kernel_of, multiplications, pieces, whole
from . import svd, tucker
from .parts import energy_kept

if TYPE_CHECKING:
    from torch import Tensor

    from .layers import Layer

_MOST_STEPS = 64
"""How many ranks of one side Tucker looks at: the steps are wider where there would be more."""


@dataclass(frozen=True)
class Option:
    """One way of taking a layer apart: the factors, their multiply-accumulates, and what is kept of its energy."""

    factors: Factors
    macs: int
    energy: float


class Options:
    """All ways of one method to take a layer apart that save multiply-accumulates, the cheapest first.

    Ranks are multiples of `multiple`; where none of those saves anything, any rank may be taken.
    """

    def __init__(self, layer: Layer, method: Method, multiple: int, seed: int = 0) -> None:
        self.layer, self.method, self.multiple, self._seed = layer, method, multiple, seed
        self.whole_macs = self._macs((whole(layer.module),))
        self._energies: dict[Factors, float] = {}
        self.found = self._saving(multiple) or self._saving(1)

    def option(self, factors: Factors) -> Option:
        """The option of these factors; what a decomposition keeps is computed once."""
        return Option(factors, self.macs(factors), self.energy(factors))

    def macs(self, factors: Factors) -> int:
        """Multiply-accumulates of the smaller layers together."""
        return self._macs(pieces(self.layer.module, factors))

    def energy(self, factors: Factors) -> float:
        """The part of the weight's squared entries that is kept."""
        if self.method == "svd":
            return float(self._table[factors.ranks[0] - 1])
        if self.method == "tucker":
            return float(self._table[factors.ranks[0] - 1, factors.ranks[1] - 1])
        if factors not in self._energies:
            self._energies[factors] = energy_kept(self.layer.module, factors, self._seed)
        return self._energies[factors]

    @functools.cached_property
    def _table(self) -> Tensor:
        weight = self.layer.module.get_parameter("weight")
        return svd.energies(weight) if self.method == "svd" else tucker.energies(weight)

    def _macs(self, parts: Sequence[Piece]) -> int:
        return multiplications(self.layer.module, parts, self.layer.before, self.layer.behind)

    def _saving(self, multiple: int) -> tuple[Factors, ...]:
        able = [Factors(self.method, ranks) for ranks in self._ranks(multiple)]
        saving = [factors for factors in able if self.macs(factors) < self.whole_macs]
        return tuple(sorted(saving, key=lambda factors: (self.macs(factors), factors.ranks)))

    def _ranks(self, multiple: int) -> list[tuple[int, ...]]:
        outputs, inputs = self.layer.module.get_parameter("weight").shape[:2]
        kernel = math.prod(kernel_of(self.layer.module))
        if self.method == "tucker":
            inner_ranks = _sides(inputs, multiple, outputs * kernel)
            outer_ranks = _sides(outputs, multiple, inputs * kernel)
            return [
                (inner, outer) for inner in inner_ranks for outer in outer_ranks if (inner, outer) != (inputs, outputs)
            ]
        able = self.whole_macs // self.macs(Factors(self.method, (1,)))
        most = min(outputs, inputs * kernel, able) if self.method == "svd" else able
        return [(rank,) for rank in range(multiple, most + 1, multiple)]


def most_rank(layer: Layer) -> int:
    """The largest rank that means anything for the layer: less than that of its matrix."""
    weight = layer.module.get_parameter("weight")
    return min(weight.shape[0], weight[0].numel()) - 1


def by_energy(options: Options, least: float) -> Option | None:
    """The cheapest option that keeps so much; None where none that saves anything does."""
    if options.method == "tucker":
        return next((options.option(each) for each in options.found if options.energy(each) >= least), None)
    place = bisect.bisect_left(options.found, least, key=options.energy)
    return options.option(options.found[place]) if place < len(options.found) else None


def by_ratio(options: Options, gone: float) -> Option | None:
    """The option that keeps most of those in which at least that part of the multiply-accumulates is gone."""
    able = [each for each in options.found if options.macs(each) <= (1 - gone) * options.whole_macs]
    if options.method != "tucker":
        able = able[-1:]
    return max(map(options.option, able), key=lambda option: option.energy, default=None)


def by_rank(options: Options, rank: int) -> Option | None:
    """The option of that rank (on both sides, where they are wider); None where it saves nothing."""
    outputs, inputs = options.layer.module.get_parameter("weight").shape[:2]
    ranks = (min(rank, inputs), min(rank, outputs)) if options.method == "tucker" else (rank,)
    if options.method != "cp" and rank > most_rank(options.layer):
        return None
    factors = Factors(options.method, ranks)
    return options.option(factors) if options.macs(factors) < options.whole_macs else None


def able(options: Options, least: float, most: int) -> list[Option]:
    """The cheapest options that keep so much, at most so many of them."""
    if options.method == "cp":
        place = bisect.bisect_left(options.found, least, key=options.energy)
        return [options.option(each) for each in options.found[place : place + most]]
    keeping = (each for each in options.found if options.energy(each) >= least)
    return [options.option(each) for each, _ in zip(keeping, range(most), strict=False)]


def _sides(width: int, multiple: int, most: int) -> list[int]:
    """The ranks of one side: its width, and the multiples below it, up to `most`."""
    step = multiple * math.ceil(width / multiple / _MOST_STEPS)
    return [*(rank for rank in range(step, width, step) if rank <= most), width]
