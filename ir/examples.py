"""Inputs that a network accepts, where it matters that it runs and not what it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .state import InputSpec

if TYPE_CHECKING:
    from torch import Tensor


def example_inputs(specs: Sequence[InputSpec]) -> tuple[Tensor, ...]:
    """Tensors that a network with these inputs accepts: noise, or zeros and ones for integers; an open batch is 2."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def example(spec: InputSpec) -> Tensor:
        shape, dtype = (spec.batch or 2, *spec.sample_shape), getattr(torch, spec.dtype)
        if dtype.is_floating_point:
            return torch.randn(shape, generator=generator, dtype=dtype)
        return torch.randint(0, 2, shape, generator=generator, dtype=dtype)

    return tuple(example(spec) for spec in specs)
