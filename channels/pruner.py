"""One network on its way to its pruned form: find, prove, rank, choose, remove."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from . import Measure, Scope
from .choice import Importance, Shrinking, choose_evenly, choose_globally, shrinkable
from .costs import Costs, costs_of
from .groups import ChannelGroup, Groups
from .proof import MIXED, Prover
from .surgery import remove
from .walk import find_groups

if TYPE_CHECKING:
    from torch import Tensor, nn

Rank = Callable[["nn.Module", Sequence[ChannelGroup]], Importance]


class ChannelPruner:
    """Prunes `module` in place, step by step, and remembers what it was at first.

    `whole` names each layer that can't lose channels, with the reason.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: tuple[Tensor, ...],
        *,
        measure: Measure,
        scope: Scope,
        multiple: int,
        keep: Collection[str],
        seed: int,
    ) -> None:
        self.module = module
        self.whole: dict[str, str] = {}
        self._inputs, self._measure, self._scope = inputs, measure, scope
        self._multiple, self._keep, self._seed = multiple, keep, seed
        self._widths: dict[str, int] = {}
        self._first_cost: float | None = None

    def prune_to(self, part: float, rank: Rank) -> float:
        """The part of the network's first cost that is gone, after removing what brings it nearest to `part`.

        `rank` gives each group's units their importance.
        """
        prover, groups = self._proven()
        for group in groups.found:
            self._widths.setdefault(group.name, group.width)
        importance = rank(self.module, groups.found)
        chosen, costs = self._choose(groups, importance, part)
        while refuted := set(cut := _cut(chosen)) - set(prover.together(cut)):
            groups = groups.without(dict.fromkeys(refuted, MIXED))
            chosen, costs = self._choose(groups, importance, part)
        remove(self.module, cut)
        return 1 - costs.total / (self._first_cost or costs.total)

    def groups(self) -> tuple[ChannelGroup, ...]:
        """What can lose channels, of the module as it is."""
        return self._proven()[1].found

    def _proven(self) -> tuple[Prover, Groups]:
        prover = Prover(self.module, self._inputs)
        return prover, prover.proven(find_groups(copy.deepcopy(self.module), self._inputs, self._keep), self._seed)

    def _choose(self, groups: Groups, importance: Importance, part: float) -> tuple[list[Shrinking], Costs]:
        costs = costs_of(self.module, self._inputs, groups.found, self._measure)
        chosen, narrow = shrinkable(groups.found, importance, self._multiple, self._widths)
        untouched = {group.name for group in groups.found if group.width == self._widths[group.name]}
        self.whole = {**groups.whole, **{name: why for name, why in narrow.items() if name in untouched}}
        self._first_cost = self._first_cost or costs.total
        choose = choose_globally if self._scope == "global" else choose_evenly
        choose(chosen, costs, self._first_cost * (1 - part))
        return chosen, costs


def _cut(chosen: Sequence[Shrinking]) -> dict[ChannelGroup, list[int]]:
    return {shrinking.group: shrinking.order[: shrinking.gone] for shrinking in chosen if shrinking.gone}
