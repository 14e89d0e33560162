"""The smallest part of a ranked list that is enough, found with few looks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence


def smallest(
    ranked: Sequence[str], is_enough: Callable[[tuple[str, ...]], bool], most_tried: int
) -> tuple[tuple[str, ...], bool]:
    """The fewest names that are enough, and whether no smaller set was left untried.

    `ranked` has the names that help most first; all of them together are enough. The shortest beginning of the list
    that is enough comes first, without what turns out not to be needed in it; then all sets that are smaller are tried,
    the smallest first, as long as a size has no more than `most_tried` of them: else those of the first names.
    """
    length = next(count for count in range(len(ranked) + 1) if count == len(ranked) or is_enough(tuple(ranked[:count])))
    found = list(ranked[:length])
    for name in reversed(ranked[: max(0, length - 1)]):
        without = [each for each in found if each != name]
        if is_enough(tuple(without)):
            found = without
    is_every = True
    for size in range(1, len(found)):
        considered = size
        while considered < len(ranked) and math.comb(considered + 1, size) <= most_tried:
            considered += 1
        is_every = is_every and considered == len(ranked)
        for names in itertools.combinations(ranked[:considered], size):
            if is_enough(names):
                return names, is_every
    return tuple(found), is_every
