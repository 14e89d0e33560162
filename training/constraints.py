"""What holds for a network's weights while they are trained: zeros stay zeros, and shared weights stay equal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class Constraints:
    """The zeros of the parameters `masked` and the equal values of the parameters `shared`, as they are when this is
    made. `gather` comes before an optimizer's step and `apply` behind it."""

    def __init__(self, module: nn.Module, masked: Iterable[str], shared: Iterable[str] = ()) -> None:
        zeros = [module.get_parameter(name) for name in masked]
        self._free: list[tuple[Tensor, Tensor]] = [(entry, entry.detach() != 0) for entry in zeros]
        equal = [module.get_parameter(name) for name in shared]
        self._clusters: list[tuple[Tensor, Clusters]] = [(entry, Clusters.of(entry)) for entry in equal]

    def gather(self) -> None:
        """The gradient of a shared weight is that of its value: the sum over all weights that have it.

        Han et al. 2016, "Deep Compression", arXiv:1510.00149, equation 3.
        """
        for parameter, clusters in self._clusters:
            if parameter.grad is not None:
                parameter.grad.copy_(clusters.summed(parameter.grad))

    def apply(self) -> None:
        """What was zero is zero again, whatever an optimizer's step, its momentum or its weight decay made of it, and
        what was equal is equal, to the bit."""
        import torch

        with torch.no_grad():
            for parameter, clusters in self._clusters:
                parameter.copy_(clusters.united(parameter))
            for parameter, is_free in self._free:
                parameter.mul_(is_free)


@dataclass(frozen=True)
class Clusters:
    """Which weights of a tensor of N have the same of K values. `index` (N,): which; `order` (N,): the weights, cluster
    by cluster, each of `sizes` (K,)."""

    index: Tensor
    order: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> Clusters:
        """Equal weights are in one cluster."""
        import torch

        _, index, sizes = torch.unique(weight.detach().flatten(), return_inverse=True, return_counts=True)
        return cls(index, index.argsort(stable=True), sizes)

    def summed(self, values: Tensor) -> Tensor:
        """In each place the sum over its cluster, always in the same order."""
        import torch

        sums = torch.segment_reduce(values.detach().flatten()[self.order].double(), "sum", lengths=self.sizes)
        return sums[self.index].reshape(values.shape).to(values.dtype)

    def united(self, weight: Tensor) -> Tensor:
        """In each place what stands in the first one of its cluster."""
        first = self.order[self.sizes.cumsum(0) - self.sizes]
        return weight.detach().flatten()[first][self.index].reshape(weight.shape)
