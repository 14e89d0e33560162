"""How long layers take on the device that is built for, each kind of layer measured once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..ir.state import InputSpec, ModelState

if TYPE_CHECKING:
    from torch import nn

    from .layers import Layer

_FASTER = 0.98
"""The part of a latency below which another one is faster: what is nearer cannot be told from noise."""


class Timing:
    """Latencies in nanoseconds of one sample: layers that differ in their weights alone are timed together."""

    def __init__(self, measure: Callable[[ModelState], float]) -> None:
        self._measure = measure
        self._known: dict[tuple[str, tuple[int, ...]], list[float]] = {}

    def latency_ns(self, layer: Layer, module: nn.Module, times: int = 1) -> float:
        """How long `module` takes in the layer's place: the lowest of what was measured, at least so many times."""
        shape = (1, *layer.input_shape[1:])
        found = self._known.setdefault((repr(module), shape), [])
        while len(found) < times:
            found.append(self.network_ns(ModelState((InputSpec("input", shape),), module)))
        return min(found)

    def network_ns(self, state: ModelState) -> float:
        """How long a whole network takes, measured now."""
        return self._measure(state)


def is_faster(candidate_ns: float, whole_ns: float) -> bool:
    """Whether the candidate is faster by more than noise."""
    return candidate_ns < whole_ns * _FASTER
