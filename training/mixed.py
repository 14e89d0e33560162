"""Samples with labels and samples without as one split, in which those with labels come first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..recipe.datasets import Batch, Split


@dataclass
class Mixed:
    """Both splits, one behind the other. What stands for the label of a sample that has none is zero."""

    labelled: Split
    unlabelled: Split
    chosen: tuple[int, ...] | None = None
    """Which of all samples these are; None where they are all."""
    name: str = "train and unlabelled"

    def __len__(self) -> int:
        return len(self.labelled) + len(self.unlabelled) if self.chosen is None else len(self.chosen)

    def subset(self, indices: Sequence[int]) -> Mixed:
        """See Split."""
        own = self._order()
        return replace(self, chosen=tuple(own[index] for index in indices))

    def batches(self, size: int, *, limit: int | None = None, order_seed: int | None = None) -> Iterator[Batch]:
        """See Split."""
        order = list(self._order())
        if order_seed is not None:
            import torch

            shuffled = torch.randperm(len(order), generator=torch.Generator().manual_seed(order_seed)).tolist()
            order = [order[place] for place in shuffled]
        order = order[:limit]
        for start in range(0, len(order), size):
            yield self._read(order[start : start + size])

    def _order(self) -> Sequence[int]:
        return range(len(self)) if self.chosen is None else self.chosen

    def _read(self, indices: Sequence[int]) -> Batch:
        """The samples of these indices, in this order."""
        import torch

        count = len(self.labelled)
        own = [index for index in indices if index < count]
        other = [index - count for index in indices if index >= count]
        read = [
            next(iter(split.subset(places).batches(len(places))))
            for split, places in ((self.labelled, own), (self.unlabelled, other))
            if places
        ]
        labels = [batch.labels for batch in read]
        labels[-1] = labels[-1] if not other else labels[0].new_zeros(len(other), *labels[0].shape[1:])
        behind = {index: place for place, index in enumerate([*own, *(index + count for index in other)])}
        order = torch.tensor([behind[index] for index in indices])
        columns = zip(*(batch.inputs for batch in read), strict=True)
        inputs = tuple(torch.cat(column)[order] for column in columns)
        return replace(read[0], inputs=inputs, labels=torch.cat(labels)[order])
