"""scale-activations: outliers of single channels move from activations into the weights behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from ..ir.facts import ACTIVATIONS_SCALED, BATCHNORM_FOLDED, EXPORTED, Aspect, Fact
from ..ir.graph import editable, lifted, up_to
from ..ir.state import register_quantized_operators
from ..quantization import rescaling
from .calibrate import Calibrate
from .contract import Close, Context, Numerics
from .insert_quantization import InsertQuantization
from .trial import Trial, asked_for, is_better

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

    from ..ir.state import ModelState
    from ..recipe.schema import Recipe
    from ..targets import Target

_STRENGTHS = (0.25, 0.5, 0.75)
"""How much of an activation's range moves into the weights; the paper's is 0.5, 0.75 where outliers are strong."""


@dataclass(frozen=True)
class ScaleActivations:
    """SmoothQuant (Xiao et al. 2022, arXiv:2211.10438) for layer normalizations, with the strength that helps most.

    A normalization's weights are divided by what the linear layers behind it are multiplied by. `calibrate` and
    `quantization` are what will follow: the network is quantized by them with each strength and without.
    """

    name: ClassVar[str] = "scale-activations"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED, BATCHNORM_FOLDED})
    makes: ClassVar[frozenset[Fact]] = frozenset({ACTIVATIONS_SCALED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.VALUES, Aspect.RANGES})
    keeps: ClassVar[frozenset[Fact]] = frozenset({EXPORTED})
    numerics: ClassVar[Numerics] = Close(1e-3)
    asks: ClassVar[str | None] = "compress.quantize.repair"
    reads: ClassVar[frozenset[str]] = frozenset({"calibration"})
    decides: ClassVar[str] = "how much of the activations' ranges moves, by the error of the quantized outputs"

    calibrate: Calibrate
    quantization: InsertQuantization

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | None:
        found = asked_for("smooth", target, recipe)
        return None if found is None else cls(*found)

    def run(self, state: ModelState, context: Context) -> ModelState:
        register_quantized_operators()
        program = state.exported_program()
        module = editable(program)
        count = len(rescaling.norms(module))
        if not count:
            context.say("no layer normalization with linear layers behind it")
            return state
        trial = Trial.of(state, context, self.calibrate, self.quantization)
        largest = _largest(module, trial.batches)
        found = {0.0: (trial.decibels(state), state)}
        for strength in _STRENGTHS:
            scaled = editable(program)
            for norm in rescaling.norms(scaled):
                rescaling.smooth(scaled, norm, largest[norm.norm.name], strength)
            after = replace(state, program=lifted(scaled, program))
            found[strength] = trial.decibels(after), after
        told = ", ".join(f"{strength:g}: {decibels:.1f}" for strength, (decibels, _) in found.items())
        context.say(f"signal over error of the quantized outputs in dB, by strength: {told}")
        best = max(found, key=lambda strength: found[strength][0])
        if not is_better(found[best][0], found[0.0][0]):
            context.say("left as it was")
            return state
        context.say(f"{count} layer normalizations scaled with strength {best:g}")
        return found[best][1]


def _largest(module: GraphModule, batches: Sequence[tuple[Tensor, ...]]) -> Mapping[str, Tensor]:
    """(C,) for each normalization: the largest magnitude that each channel has behind it."""
    import torch

    found = {}
    with torch.no_grad():
        for norm in rescaling.norms(module):
            part = up_to(module, norm.norm)
            values = [part(*batch).abs() for batch in batches]
            found[norm.norm.name] = torch.stack([each.flatten(0, -2).amax(0) for each in values]).amax(0)
    return found
