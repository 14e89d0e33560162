"""equalize-ranges: channels of neighbouring layers have alike weight ranges, and the network computes the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from ..ir.facts import BATCHNORM_FOLDED, EXPORTED, RANGES_EQUALIZED, Aspect, Fact
from ..ir.graph import editable, lifted
from ..ir.state import register_quantized_operators
from ..quantization import rescaling
from ..quantization.placement import layer_name
from .calibrate import Calibrate
from .contract import Close, Context, Numerics
from .insert_quantization import InsertQuantization
from .trial import Trial, asked_for

if TYPE_CHECKING:
    from ..ir.state import ModelState
    from ..recipe.schema import Recipe
    from ..targets import Target

_ROUNDS, _SETTLED = 20, 1.01
"""Layers in a chain are equalized pair after pair until no factor is larger than the second number."""


@dataclass(frozen=True)
class EqualizeRanges:
    """Cross-layer range equalization (Nagel et al. 2019, arXiv:1906.04721, section 4.1), kept where it helps.

    Scales move between two layers with at most an activation f(s x) = s f(x) and pooling between them, where no other
    layer reads the first or has the weights of one. `calibrate` and `quantization` are what will follow: the
    network is quantized by them with and without.
    """

    name: ClassVar[str] = "equalize-ranges"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED, BATCHNORM_FOLDED})
    makes: ClassVar[frozenset[Fact]] = frozenset({RANGES_EQUALIZED})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.VALUES, Aspect.RANGES})
    keeps: ClassVar[frozenset[Fact]] = frozenset({EXPORTED})
    numerics: ClassVar[Numerics] = Close(1e-3)
    asks: ClassVar[str | None] = "compress.quantize.repair"
    reads: ClassVar[frozenset[str]] = frozenset({"calibration"})
    decides: ClassVar[str] = "whether scales move between layers, by the error of the quantized network's outputs"

    calibrate: Calibrate
    quantization: InsertQuantization

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | None:
        found = asked_for("equalize", target, recipe)
        return None if found is None else cls(*found)

    def run(self, state: ModelState, context: Context) -> ModelState:
        register_quantized_operators()
        program = state.exported_program()
        module = editable(program)
        pairs, stops = rescaling.pairs(module)
        if not pairs:
            context.say("no two layers between which scales can move")
            return state
        largest = dict.fromkeys(pairs, 1.0)
        for _ in range(_ROUNDS):
            factors = [rescaling.equalize(module, pair) for pair in pairs]
            largest = {pair: max(largest[pair], factor) for pair, factor in zip(pairs, factors, strict=True)}
            if max(factors) < _SETTLED:
                break
        names = [f"{layer_name(pair.first)} and {layer_name(pair.second)}" for pair in pairs]
        after = replace(state, program=lifted(module, program))
        for kind, count in sorted(stops.items()):
            context.say(f"{kind} stands in the way behind {count} layers")
        trial = Trial.of(state, context, self.calibrate, self.quantization)
        if trial.better(state, after, f"{len(pairs)} pairs of layers equalized") is state:
            return state
        factor, name = max(zip(largest.values(), names, strict=True))
        context.say(f"the largest factor, {factor:.3g}, is between {name}")
        return after
