"""Learned rounding: which of the two nearest integers each weight of a layer becomes, by the layer's own output.

AdaRound (Nagel et al. 2020, arXiv:2004.10568). A weight w on a grid of step s becomes s * (floor(w / s) + h(v)), where
v is learned and h is a sigmoid that is stretched to [-0.1, 1.1] and cut at 0 and 1 (section 3.3, equation 23). The loss
is the squared error of the layer's output against the float network's, on inputs as the quantized network gives them,
and behind the activation that is fused into the layer (equation 25), and a term that draws h to 0 or 1 (equation 24).

The error counts in parts of what rounding to nearest costs, so that the options mean the same for every layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LOWEST, HIGHEST = -0.1, 1.1
"""Between which the sigmoid is stretched, gamma and zeta of the paper."""
BETAS = (20.0, 2.0)
"""The exponent of the term that draws to integers, at the end of the warm start and at the end."""


@dataclass(frozen=True)
class Options:
    """How long a layer is learned and how fast; `warm_start` is the part of the iterations without regularization."""

    iterations: int
    batch_size: int
    learning_rate: float
    regularization: float
    warm_start: float


@dataclass(frozen=True)
class Layer:
    """What is known of one layer: its float weights, their scales, which broadcast to them, and what it should give.

    Weights become integers in [-limit, limit]; a weight that is zero stays so. `compute` gives the layer's output, its
    activation with it, from inputs and weights. `inputs` (N, ...) are those of the quantized network, `wanted` (N, ...)
    the float network's outputs.
    """

    weight: Tensor
    scales: Tensor
    limit: int
    compute: Callable[[Tensor, Tensor], Tensor]
    inputs: Tensor
    wanted: Tensor


@dataclass(frozen=True)
class Learned:
    """The integers (the weight's shape), and the mean squared error of the layer's output with each way to round."""

    integers: Tensor
    nearest_error: float
    error: float
    flipped: int
    """How many weights are not rounded to the nearest integer."""


def stretched(values: Tensor) -> Tensor:
    """h: how far above its floor a weight lies, between 0 and 1."""
    return (values.sigmoid() * (HIGHEST - LOWEST) + LOWEST).clamp(0, 1)


def unstretched(parts: Tensor) -> Tensor:
    """The v with which `stretched` gives these parts, each within [0, 1)."""
    return -((HIGHEST - LOWEST) / (parts - LOWEST) - 1).log()


def undecided(parts: Tensor, beta: float) -> Tensor:
    """The sum of 1 - |2h - 1|^beta, which is zero where every part is 0 or 1."""
    return (1 - (2 * parts - 1).abs().pow(beta)).sum()


def beta_at(iteration: int, options: Options) -> float | None:
    """The exponent, which falls along half a cosine; None during the warm start."""
    import math

    start = round(options.warm_start * options.iterations)
    if iteration < start:
        return None
    done = (iteration - start) / max(options.iterations - start, 1)
    return BETAS[1] + (BETAS[0] - BETAS[1]) * (1 + math.cos(math.pi * done)) / 2


def nearest(layer: Layer) -> Tensor:
    """The integers that insert-quantization would give the weights."""
    return (layer.weight / layer.scales).round().clamp(-layer.limit, layer.limit)


def learn_rounding(layer: Layer, options: Options, seed: int, advance: Callable[[], None]) -> Learned:
    """The integers that were learned; those of rounding to nearest where they turn out no better on all the inputs."""
    import torch

    usual = nearest(layer)
    usual_error = error_of(layer, usual, options.batch_size)
    if usual_error == 0:
        return Learned(usual, 0.0, 0.0, 0)
    floors, values = _start(layer)
    optimizer = torch.optim.Adam([values], options.learning_rate)
    generator = torch.Generator().manual_seed(seed)
    for iteration in range(options.iterations):
        rows = torch.randint(len(layer.inputs), (options.batch_size,), generator=generator)
        parts = stretched(values)
        integers = torch.where(layer.weight == 0, 0, floors + parts).clamp(-layer.limit, layer.limit)
        found = layer.compute(layer.inputs[rows], integers * layer.scales)
        loss = (found - layer.wanted[rows]).square().mean() / usual_error
        if (beta := beta_at(iteration, options)) is not None:
            loss = loss + options.regularization * undecided(parts, beta) / parts.numel()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        advance()
    with torch.no_grad():
        chosen = torch.where(layer.weight == 0, 0, floors + (stretched(values) >= 0.5))
        chosen = chosen.clamp(-layer.limit, layer.limit)
    error = error_of(layer, chosen, options.batch_size)
    if not error < usual_error:
        return Learned(usual, usual_error, usual_error, 0)
    return Learned(chosen, usual_error, error, int((chosen != usual).sum()))


def error_of(layer: Layer, integers: Tensor, batch_size: int) -> float:
    """The mean squared error of the layer's output with these integers, over all the inputs."""
    import torch

    total = 0.0
    with torch.no_grad():
        weight = integers * layer.scales
        for start in range(0, len(layer.inputs), batch_size):
            inputs, wanted = (each[start : start + batch_size] for each in (layer.inputs, layer.wanted))
            total += float((layer.compute(inputs, weight) - wanted).double().square().sum())
    return total / max(layer.wanted.numel(), 1)


def _start(layer: Layer) -> tuple[Tensor, Tensor]:
    """The floors, and a leaf that is learned with which weights are what they are."""
    ratio = layer.weight / layer.scales
    floors = ratio.floor()
    return floors, unstretched(ratio - floors).requires_grad_()
