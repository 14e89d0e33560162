"""What integers would make of a state: it is quantized for a trial, and its outputs are compared with float's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..ir.progress import Silent
from .calibrate import Calibrate
from .insert_quantization import InsertQuantization
from .samples import calibration_batches

if TYPE_CHECKING:
    from torch import Tensor

    from ..ir.state import ModelState
    from ..recipe.schema import Recipe
    from ..targets import Target
    from .contract import Context

LEAST_GAIN = 0.1
"""Decibels: a repair that gains less than this is left out."""
_JUDGED = 64


def asked_for(repair: str, target: Target, recipe: Recipe) -> tuple[Calibrate, InsertQuantization] | None:
    """What a repair will be judged by, as the plan has it; None where the recipe does not ask for that repair."""
    asked = recipe.compress.quantize
    calibrate, quantization = Calibrate.for_target(target, recipe), InsertQuantization.for_target(target, recipe)
    if asked is None or repair not in asked.repair or calibrate is None:
        return None
    return (calibrate, quantization) if isinstance(quantization, InsertQuantization) else None


def is_better(after: float, before: float) -> bool:
    """Whether so many dB are worth a repair; never where both are lost in values that are not finite."""
    return after > before and after >= before + LEAST_GAIN


@dataclass
class Trial:
    """`float_outputs` are what the network answers before anything is done to it, on samples of the calibration."""

    calibrate: Calibrate
    quantization: InsertQuantization
    context: Context
    batches: Sequence[tuple[Tensor, ...]]
    say: Callable[[str], None]
    float_outputs: Sequence[Tensor] = field(default=())

    @classmethod
    def of(cls, state: ModelState, context: Context, calibrate: Calibrate, quantization: InsertQuantization) -> Trial:
        """A trial whose reference is the state as it is."""
        quiet = replace(context, say=lambda text: None, progress=Silent())
        batches = [batch.inputs for batch in calibration_batches(state, context, _JUDGED)]
        trial = cls(calibrate, replace(quantization, allow_float=True), quiet, batches, context.say)
        trial.float_outputs = trial.outputs(state)
        return trial

    def decibels(self, state: ModelState) -> float:
        """The signal of the float outputs over the error of the quantized state's, in dB."""
        if "ranges" not in state.attachments:
            state = self.calibrate.run(state, self.context)
        outputs = self.outputs(self.quantization.run(state, self.context))
        return sqnr(self.float_outputs, outputs)

    def better(self, before: ModelState, after: ModelState, done: str) -> ModelState:
        """Whichever of the two is nearer to float once it is quantized; the history says what was `done`, and why."""
        old, new = self.decibels(before), self.decibels(after)
        kept = is_better(new, old)
        outcome = done if kept else "left as it was"
        self.say(f"{outcome}: the quantized outputs' signal over their error is {new:.1f} dB beside {old:.1f} without")
        return after if kept else before

    def outputs(self, state: ModelState) -> list[Tensor]:
        """All outputs (N, ...) of the state, one after the other for each batch."""
        import torch
        from torch.utils._pytree import tree_leaves

        module = state.callable_module()
        with torch.no_grad():
            return [leaf.detach().float() for batch in self.batches for leaf in tree_leaves(module(*batch))]


def sqnr(wanted: Iterable[Tensor], found: Iterable[Tensor]) -> float:
    """The signal-to-quantization-noise ratio in dB; infinite where nothing differs."""
    signal, error = 0.0, 0.0
    for one, other in zip(wanted, found, strict=True):
        signal += float(one.double().square().sum())
        error += float((one.double() - other.double()).square().sum())
    if not math.isfinite(error):
        return -math.inf
    return 10 * math.log10(signal / error) if error > 0 and signal > 0 else math.inf
