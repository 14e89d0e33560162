"""What a recipe may say about what integers break and how it is mended: compress.quantize.repair and mixed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from .parts import Part, as_tuple

EVERY = ("equalize", "smooth", "correct-bias")


class Mixed(Part):
    """Mixed precision: the fewest layers stay in float with which the drop of the metric is no larger."""

    drop_points: float = Field(gt=0, le=100)
    """Points of the metric beside the float network's, on the samples of `split`."""
    samples: int = Field(default=1000, ge=10)
    """Calibration samples, with labels, that the metric is found on."""
    most_layers: int | None = Field(default=None, ge=1)
    """Where more than so many layers would have to stay in float, the build ends."""


def _repairs(value: Any) -> Any:
    """`auto` stands for every repair, a text alone for one."""
    if isinstance(value, str):
        return EVERY if value == "auto" else (value,)
    return as_tuple(value)


Repairs = Annotated[tuple[Literal["equalize", "smooth", "correct-bias"], ...], BeforeValidator(_repairs)]
