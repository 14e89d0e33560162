"""What a recipe may say about pruning: compress.prune."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .parts import Names, Part

Ratio = Annotated[float, Field(gt=0, lt=1)]

Criterion = Literal["l1", "l2", "batchnorm", "taylor", "geometric-median", "entropy", "slimming", "group-l2", "random"]
"""What says how much a channel matters."""
LEARNED = ("slimming", "group-l2")
"""Criteria whose scales are learned first, by training with a penalty."""
_AMOUNTS = {
    "channel": ("flops", "parameters", "channels"),
    "element": ("weights", "threshold"),
    "block": ("blocks", "flops", "parameters"),
}
"""What an amount can be counted in, by what goes."""
_OF_CHANNELS = ("criterion", "multiple", "regularize", "regularize_epochs")
"""Keys that say something of channels only."""


class Prune(Part):
    """How much to prune, exactly one amount (the part that is taken away, in what is counted), and by what.

    What goes: whole channels; single weights (`element`: `weights` by their number, `threshold` by their size); or
    whole blocks (`blocks`: how many).
    """

    flops: Ratio | None = None
    parameters: Ratio | None = None
    channels: Ratio | None = None
    weights: Ratio | None = None
    threshold: float | None = Field(default=None, gt=0)
    blocks: int | None = Field(default=None, ge=1)
    criterion: Criterion = "l2"
    regularize: float | None = Field(default=None, gt=0)
    """How strongly the penalty of a learned criterion counts beside the loss (0.01 where it is not said)."""
    regularize_epochs: float | None = Field(default=None, gt=0)
    """Epochs of training with that penalty, before anything is pruned (1 where it is not said)."""
    scope: Literal["global", "per-layer"] = "global"
    granularity: Literal["channel", "element", "block"] = "channel"
    steps: int = Field(default=1, ge=1, le=100)
    schedule: Literal["linear", "cubic"] = "linear"
    """Along which curve steps come to the amount."""
    recover_epochs: float = Field(default=0.0, ge=0)
    """Epochs of training between two steps."""
    most_loss: float | None = Field(default=None, ge=0)
    """What one step may cost, once trained: points of held-out top-1, or percent of the loss. More is taken back."""
    multiple: int | None = Field(default=None, ge=1)
    keep: Names = ()

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        able = _AMOUNTS[self.granularity]
        given = [key for key in dict.fromkeys(sum(_AMOUNTS.values(), ())) if getattr(self, key) is not None]
        if len(given) != 1 or given[0] not in able:
            counted = f"{', '.join(able[:-1])} and {able[-1]}"
            how = "" if self.granularity == "channel" else f" with granularity {self.granularity}"
            found = f", not {given[0]}" if len(given) == 1 else ""
            raise ValueError(f"exactly one of {counted}{how}{found}{self._hint(given)}")
        return self

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """What is at its default counts as not said, so that a recipe that was written out can be read again."""
        said = {key for key, field in type(self).model_fields.items() if getattr(self, key) != field.default}
        if self.granularity != "channel" and (strange := [key for key in _OF_CHANNELS if key in said]):
            raise ValueError(f"no {' and no '.join(strange)} with granularity {self.granularity}")
        if self.granularity == "block" and "scope" in said:
            raise ValueError("no scope with granularity block: blocks are ranked together")
        strange = sorted({"regularize", "regularize_epochs"} & said)
        if strange and self.criterion not in LEARNED:
            raise ValueError(f"criterion {' or '.join(LEARNED)} with {' and '.join(strange)}, not {self.criterion}")
        if self.blocks is not None and self.steps > self.blocks:
            raise ValueError(f"no more steps than blocks ({self.blocks}), not {self.steps}")
        if self.threshold is not None and self.steps > 1:
            raise ValueError("one step where there is a threshold: a part of the weights can be reached in several")
        if self.steps == 1 and self.schedule == "cubic":
            raise ValueError("several steps with schedule cubic: one has no curve")
        if self.steps == 1 and self.recover_epochs and self.most_loss is None:
            raise ValueError("several steps, or most_loss, with recover_epochs; compress.recover trains after pruning")
        return self

    def _hint(self, given: list[str]) -> str:
        others = [name for name, keys in _AMOUNTS.items() if len(given) == 1 and given[0] in keys]
        return f" (that is for granularity {' and '.join(others)})" if others else ""

    @property
    def amount(self) -> tuple[float, str]:
        """The amount that is given, and in what it is counted."""
        return next((value, key) for key in _AMOUNTS[self.granularity] if (value := getattr(self, key)) is not None)
