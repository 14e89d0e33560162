"""How a recipe narrows what a target's int8 kernels take: fewer bits, one scale, symmetric grids, fixed point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..recipe.quantization import Quantize
    from ..targets.schema import Int8

WIDE_BITS = 16
"""Of activations whose integers are int16."""


def narrowed(int8: Int8, asked: Quantize) -> Int8:
    """The profile's static int8 with what the recipe wants otherwise, whether the kernels can do it or not."""
    weights, activations = asked.weights, asked.activations
    wanted: dict[str, Any] = {
        "weight_bits": weights.bits,
        "weight_granularity": weights.granularity,
        "symmetric_activations": activations.symmetric,
        "power_of_two": True if asked.scales == "power-of-two" else None,
    }
    if activations.bits == WIDE_BITS:
        wanted |= {"activations": "int16", "symmetric_activations": True}
        wanted |= {"kernels": int8.int16_kernels, "fixed_outputs": int8.int16_fixed_outputs}
    return int8.model_copy(update={key: value for key, value in wanted.items() if value is not None})


def why_not(int8: Int8, asked: Quantize) -> str:
    """Why the kernels can't compute what the recipe wants; empty where they can."""
    wanted = narrowed(int8, asked)
    if asked.activations.bits == WIDE_BITS and not int8.int16_kernels:
        return "it has no kernels for activations of 16 bits (compress.quantize.activations.bits: 8)"
    if wanted.weight_bits > int8.weight_bits:
        return (
            f"its kernels take weights of at most {int8.weight_bits} bits without overflowing, not {wanted.weight_bits}"
        )
    if wanted.weight_granularity == "per-channel" and int8.weight_granularity == "per-tensor":
        return "its kernels take one scale for each weight tensor (compress.quantize.weights.granularity: per-tensor)"
    if int8.symmetric_activations and not wanted.symmetric_activations:
        return "its kernels take activations whose zero point is fixed (compress.quantize.activations.symmetric: true)"
    return ""


def remark(int8: Int8, bits: int, activations: str) -> str:
    """What comes of weights of so many bits where the kernels take int8 alone, and of activations of that type."""
    found = []
    if activations == "int16":
        found.append(
            "activations are int16: more exact than int8, and computed by kernels that are slower than float's"
        )
    if bits < int8.weight_bits:
        is_experiment = "an experiment: " if bits <= 2 else ""
        found.append(
            f"{is_experiment}weights of {bits} bits lie in int8: the artifact is no faster for them, and smaller only"
            " when compressed; its accuracy is that of so few bits"
        )
    return "; ".join(found)
