"""What a recipe may say about pruning: compress.prune."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .parts import Names, Part

Ratio = Annotated[float, Field(gt=0, lt=1)]


class Prune(Part):
    """How much to prune (exactly one of flops, parameters, channels: the part that is taken away) and by what."""

    flops: Ratio | None = None
    parameters: Ratio | None = None
    channels: Ratio | None = None
    criterion: Literal["l1", "l2", "batchnorm", "taylor", "geometric-median", "entropy", "random"] = "l2"
    scope: Literal["global", "per-layer"] = "global"
    granularity: Literal["channel", "element"] = "channel"
    steps: int = Field(default=1, ge=1, le=100)
    recover_epochs: float = Field(default=0.0, ge=0)
    """Epochs of training between two steps."""
    multiple: int | None = Field(default=None, ge=1)
    keep: Names = ()

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if sum(amount is not None for amount in (self.flops, self.parameters, self.channels)) != 1:
            raise ValueError("exactly one of flops, parameters and channels")
        return self
