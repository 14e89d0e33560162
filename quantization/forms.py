"""How a recipe narrows what a target's int8 kernels take: fewer bits, one scale, symmetric grids, fixed point."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..recipe.quantization import Quantize
    from ..targets.schema import Int8


def narrowed(int8: Int8, asked: Quantize) -> Int8:
    """The profile's static int8 with what the recipe wants otherwise, whether the kernels can do it or not."""
    weights, activations = asked.weights, asked.activations
    wanted = {
        "weight_bits": weights.bits,
        "weight_granularity": weights.granularity,
        "symmetric_activations": activations.symmetric,
        "power_of_two": True if asked.scales == "power-of-two" else None,
    }
    return int8.model_copy(update={key: value for key, value in wanted.items() if value is not None})


def why_not(int8: Int8, asked: Quantize) -> str:
    """Why the kernels can't compute what the recipe wants; empty where they can."""
    wanted = narrowed(int8, asked)
    if wanted.weight_bits > int8.weight_bits:
        return (
            f"its kernels take weights of at most {int8.weight_bits} bits without overflowing, not {wanted.weight_bits}"
        )
    if wanted.weight_granularity == "per-channel" and int8.weight_granularity == "per-tensor":
        return "its kernels take one scale for each weight tensor (compress.quantize.weights.granularity: per-tensor)"
    if int8.symmetric_activations and not wanted.symmetric_activations:
        return "its kernels take activations whose zero point is fixed (compress.quantize.activations.symmetric: true)"
    return ""


def remark(int8: Int8, bits: int) -> str:
    """What comes of weights of so many bits where the kernels take int8 alone."""
    if bits >= int8.weight_bits:
        return ""
    is_experiment = "an experiment: " if bits <= 2 else ""
    return (
        f"{is_experiment}weights of {bits} bits lie in int8: the artifact is no faster for them, and smaller only when"
        " compressed; its accuracy is that of so few bits"
    )
