"""Which block goes next: the one without which the network does least worse, for what its going saves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..ir.bypass import passed_by

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..recipe.datasets import Batch

Judge = Callable[["nn.Module"], float]
"""How bad a network is: the less the better."""
Count = Callable[["nn.Module"], float]


@dataclass(frozen=True)
class Candidate:
    """One block: how bad the network is without it, and what its going saves."""

    name: str
    worth: float
    saved: float


def candidates(module: nn.Module, names: Iterable[str], judge: Judge, count: Count) -> list[Candidate]:
    """Each block with what the network is without it alone; `module` is left as it is."""
    whole = count(module)
    found = []
    for name in names:
        with passed_by(module, [name]) as without:
            found.append(Candidate(name, judge(without), whole - count(without)))
    return found


def next_to_go(found: Sequence[Candidate], stands: float, excess: float) -> Candidate | None:
    """The block that costs least for what it saves, of those that end nearer to the goal; None where none does.

    One without which the network gives no numbers (NaN) stays.
    `stands` is how bad the network is with all of them, `excess` what is still to be saved.
    """
    nearer = [each for each in found if abs(excess - each.saved) < excess and not math.isnan(each.worth)]
    return min(nearer, key=lambda each: ((each.worth - stands) / each.saved, each.name), default=None)


def mean_loss(module: nn.Module, batches: Iterable[Batch], loss: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The loss of the network's first output, the mean over all samples."""
    import torch
    from torch.utils._pytree import tree_leaves

    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            total += float(loss(tree_leaves(module(*batch.inputs))[0], batch.labels)) * len(batch.labels)
            count += len(batch.labels)
    return total / count


def outputs_of(module: nn.Module, batches: Iterable[Batch]) -> Tensor:
    """The network's first output for all samples."""
    import torch
    from torch.utils._pytree import tree_leaves

    with torch.no_grad():
        return torch.cat([tree_leaves(module(*batch.inputs))[0] for batch in batches])


def change(outputs: Tensor, reference: Tensor) -> float:
    """How far outputs are from those of reference: the mean square of the difference, by that of the reference."""
    return float((outputs - reference).square().mean() / reference.square().mean())
