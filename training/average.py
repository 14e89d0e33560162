"""An exponential moving average of weights, which is often better than the weights of the last step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class Average:
    """The average of a module's parameters and buffers over the steps of a run, in float32 on the module's device.

    A decay d weighs the step k steps back by d**k. In the first steps the decay is (1 + steps) / (10 + steps) where
    that is less, so that the weights that the run began with are soon forgotten (as in TensorFlow's
    tf.train.ExponentialMovingAverage with num_updates). Whole numbers are the last ones.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.values: dict[str, Tensor] = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self, steps: int) -> None:
        """The weights of the step after `steps` others are part of the average."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        for name, value in self.module.state_dict().items():
            own = self.values[name]
            if own.is_floating_point():
                own.lerp_(value.detach(), 1 - decay)
            else:
                own.copy_(value)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """The average is what is given."""
        for name, value in values.items():
            self.values[name].copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module holds the average while the context is open, and its own weights again afterwards."""
        own = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        self.module.load_state_dict(self.values)
        try:
            yield
        finally:
            self.module.load_state_dict(own)
