"""Which channels go: the least important for what they cost, in steps that keep widths at a multiple."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from .costs import Costs
from .groups import ChannelGroup

_FLOOR = 8
"""A layer keeps at least this fraction (one eighth) of its width: ranking over all layers can otherwise empty one,
which no training recovers ("layer collapse", Tanaka et al. 2020, arXiv:2006.05467)."""
CLEARLY = 0.9
"""The last step is taken where it ends at less than this part of the distance to the goal; else channels stay."""
_LEAST = 1e-3
"""No unit counts for less than this part of its group's average, so that logarithms are of something."""

Importance = Mapping[ChannelGroup, Sequence[float]]
"""For each group the importance of each of its units; comparable within a group only."""


@dataclass
class Shrinking:
    """One group while channels are being chosen from it: its units, least important first, and how many go."""

    group: ChannelGroup
    importance: Sequence[float]
    quantum: int
    """Units go so that the number that is left is a multiple of this."""
    smallest: int
    gone: int = 0
    order: list[int] = field(init=False)
    _left: list[float] = field(init=False)
    """The importance that is left when the first so many of `order` are gone."""

    def __post_init__(self) -> None:
        self.order = sorted(range(self.group.units), key=lambda unit: (self.importance[unit], unit))
        average = sum(self.importance) / len(self.importance) or 1.0
        weights = (self.importance[unit] + _LEAST * average for unit in reversed(self.order))
        self._left = [*accumulate(weights, initial=0.0)][::-1]

    @property
    def next_gone(self) -> int | None:
        """How many units would be gone after the next step; None where the group is as small as it may be."""
        left = self.group.units - self.gone
        after = (left - 1) // self.quantum * self.quantum
        return self.group.units - after if after >= self.smallest else None

    def loss(self, gone: int) -> float:
        """What going on to `gone` takes, as the logarithm of the part of the remaining importance that is lost.

        The logarithm makes each further step from the same group dearer, so that no group pays for all others.
        """
        return math.log(self._left[self.gone]) - math.log(self._left[gone])


def shrinkable(
    groups: Sequence[ChannelGroup], importance: Importance, multiple: int, widths: Mapping[str, int]
) -> tuple[list[Shrinking], dict[str, str]]:
    """The groups that can lose channels in steps of `multiple`, and the others' first layers with the reason.

    `widths` are the first layers' widths before any pruning, of which an eighth stays.
    """
    able: list[Shrinking] = []
    whole: dict[str, str] = {}
    for group in groups:
        quantum = _quantum(group, multiple)
        if quantum is None:
            whole[group.name] = "its channels can only go in parts of different sizes"
            continue
        floor = math.ceil(widths[group.name] * group.units / group.width / _FLOOR / quantum) * quantum
        shrinking = Shrinking(group, importance[group], quantum, max(quantum, floor))
        if shrinking.next_gone is None:
            whole[group.name] = f"{group.width} channels are too few to lose some and stay a multiple of {multiple}"
        else:
            able.append(shrinking)
    return able, whole


def choose_globally(groups: Sequence[Shrinking], costs: Costs, goal: float) -> None:
    """Enough is gone from `groups` for the costs to come as near to `goal` as steps allow.

    Each step is the one that loses least for what it saves; the last is the one that ends nearest to the goal, and is
    left out where that is hardly nearer than where it starts. A loss counts by what its whole group costs: where no
    channel stands out, all groups then give the same part, and a costly group is not emptied before the others give
    any.
    """
    stakes = {shrinking.group: costs.saved(shrinking.group, shrinking.order) for shrinking in groups}
    while costs.total > goal:
        steps = []
        for shrinking in groups:
            gone = shrinking.next_gone
            saved = 0.0 if gone is None else costs.saved(shrinking.group, shrinking.order[shrinking.gone : gone])
            if gone is not None and saved > 0:
                steps.append((shrinking.loss(gone) * stakes[shrinking.group] / saved, saved, gone, shrinking))
        if not steps:
            return
        _, saved, gone, best = min(steps, key=lambda step: step[0])
        if costs.total - saved < goal:
            excess = costs.total - goal
            _, saved, gone, best = min(steps, key=lambda step: abs(excess - step[1]))
            if abs(excess - saved) >= CLEARLY * excess:
                return
        costs.take(best.group, best.order[best.gone : gone])
        best.gone = gone


def choose_evenly(groups: Sequence[Shrinking], costs: Costs, goal: float) -> None:
    """The same part of every group is gone, rounded to its steps, for the costs to come as near to `goal` as can be."""
    options = sorted({gone / shrinking.group.units for shrinking in groups for gone in _stops(shrinking)} | {0.0})
    low, high = 0, len(options) - 1
    while low < high:
        middle = (low + high) // 2
        if _total_at(groups, costs, options[middle]) <= goal:
            high = middle
        else:
            low = middle + 1
    nearest = min(options[max(0, low - 1) : low + 1], key=lambda part: abs(_total_at(groups, costs, part) - goal))
    for shrinking in groups:
        shrinking.gone = _gone_at(shrinking, nearest)
        costs.take(shrinking.group, shrinking.order[: shrinking.gone])


def _stops(shrinking: Shrinking) -> list[int]:
    units, quantum = shrinking.group.units, shrinking.quantum
    return [units - left for left in range(shrinking.smallest, units, quantum)]


def _gone_at(shrinking: Shrinking, part: float) -> int:
    """The largest step whose part of the group is no more than `part`."""
    return max((gone for gone in _stops(shrinking) if gone <= part * shrinking.group.units), default=0)


def _total_at(groups: Sequence[Shrinking], costs: Costs, part: float) -> float:
    trial = costs.copy()
    for shrinking in groups:
        trial.take(shrinking.group, shrinking.order[: _gone_at(shrinking, part)])
    return trial.total


def _quantum(group: ChannelGroup, multiple: int) -> int | None:
    """The smallest number of units that is a multiple of `multiple` channels in every layer that gives them."""
    quantum = 1
    for member in group.members:
        if member.side != "out":
            continue
        sizes = Counter(len(places) for places in member.positions)
        if len(sizes) != 1:
            return None
        size = next(iter(sizes))
        quantum = math.lcm(quantum, multiple // math.gcd(multiple, size))
    return quantum
