"""choose-precision: the fewest layers stay in float with which the metric drops by no more than the recipe allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from ..ir.errors import InputError, Problem, StepError
from ..ir.facts import BATCHNORM_FOLDED, EXPORTED, PRECISION_CHOSEN, RANGES_CALIBRATED, Aspect, Fact
from ..ir.graph import editable, module_names
from ..ir.state import register_quantized_operators
from ..quantization.subsets import smallest
from .calibrate import Calibrate
from .contract import Context, Exact, Numerics, Skip
from .insert_quantization import FLOAT_LAYERS, InsertQuantization
from .samples import calibration_batches
from .trial import Trial

if TYPE_CHECKING:
    from ..ir.state import ModelState
    from ..recipe.datasets import Batch
    from ..recipe.schema import Recipe
    from ..targets import Target

_MOST_TRIED = 100
"""So many sets of each size are tried: every set of a small network, those of the most sensitive layers of others."""
_TOLD, _TIMED = 10, 3
"""Layers whose sensitivity is told, and how often both are timed, in turns: the least of each counts."""


@dataclass(frozen=True)
class ChoosePrecision:
    """The modules that stay in float are attached as "float_layers".

    Layers are ranked by what each, left in float alone, gains the quantized network's outputs (signal over error).
    The metric of calibration samples decides how many of them are needed; for small networks no smaller set would do.
    `calibrate` and `quantization` are what the network is quantized by.
    """

    name: ClassVar[str] = "choose-precision"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED, BATCHNORM_FOLDED, RANGES_CALIBRATED})
    makes: ClassVar[frozenset[Fact]] = frozenset({PRECISION_CHOSEN})
    touches: ClassVar[frozenset[Aspect]] = frozenset({Aspect.NUMERICS})
    """Which layers will be integers: that is known before roundings are learned and biases corrected for them."""
    keeps: ClassVar[frozenset[Fact]] = frozenset()
    numerics: ClassVar[Numerics] = Exact()
    asks: ClassVar[str | None] = "compress.quantize.mixed"
    reads: ClassVar[frozenset[str]] = frozenset({"calibration"})
    decides: ClassVar[str] = "which layers stay in float, by the metric of the quantized network"
    measures: ClassVar[bool] = True
    """Time decides nothing, but what the float layers cost is told."""

    drop_points: float
    samples: int
    most_layers: int | None
    calibrate: Calibrate
    quantization: InsertQuantization

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | Skip | None:
        asked = recipe.compress.quantize
        calibrate, quantization = Calibrate.for_target(target, recipe), InsertQuantization.for_target(target, recipe)
        if asked is None or asked.mixed is None or calibrate is None:
            return None
        if not isinstance(quantization, InsertQuantization):
            return None
        if not quantization.allow_float:
            why = f"{target.name} computes integers alone, unless compress.quantize.allow_float is true"
            return Skip("mixed precision", why)
        return cls(**asked.mixed.model_dump(), calibrate=calibrate, quantization=quantization)

    def run(self, state: ModelState, context: Context) -> ModelState:
        register_quantized_operators()
        judged = _Judged(self, state, context)
        if judged.drop(()) <= self.drop_points:
            context.say(f"no layer has to stay in float: {judged.told(())}")
            return state.with_attachment(FLOAT_LAYERS, [])
        context.say(f"with all layers in int8: {judged.told(())}")
        ranked = judged.ranked()
        chosen, is_least = smallest(ranked, lambda names: judged.drop(names) <= self.drop_points, _MOST_TRIED)
        if len(chosen) == len(ranked):
            raise StepError(
                f"{self.name}: every layer would have to stay in float for a drop of at most {self.drop_points:g}"
                " points; allow more, or leave compress.quantize out"
            )
        if self.most_layers is not None and len(chosen) > self.most_layers:
            raise StepError(
                f"{self.name}: {len(chosen)} layers would have to stay in float ({', '.join(chosen)}), and"
                f" compress.quantize.mixed.most_layers allows {self.most_layers}"
            )
        proved = "no smaller set would do" if is_least else "smaller sets of the most sensitive layers do not do"
        context.say(f"in float: {', '.join(chosen)} ({len(chosen)} of {len(ranked)}; {proved}): {judged.told(chosen)}")
        self._tell_time(judged, chosen, context)
        return state.with_attachment(FLOAT_LAYERS, list(chosen))

    def _tell_time(self, judged: _Judged, chosen: tuple[str, ...], context: Context) -> None:
        if context.measure is None:
            context.say("what they cost in time can't be measured here")
            return
        taken = [[context.measure(judged.quantized(names)) / 1e6 for names in ((), chosen)] for _ in range(_TIMED)]
        uniform, mixed = (min(times) for times in zip(*taken, strict=True))
        context.say(f"{mixed:.3f} ms beside {uniform:.3f} ms with all in int8")


class _Judged:
    """The network quantized with any modules left in float, each looked at once."""

    def __init__(self, options: ChoosePrecision, state: ModelState, context: Context) -> None:
        if context.score is None:
            raise InputError(Problem("recipe", "task", "a task whose metric judges mixed precision", "none"))
        self._options, self._state, self._score = options, state, context.score
        self._context, self._trial = context, Trial.of(state, context, options.calibrate, options.quantization)
        self._batches: list[Batch] = list(calibration_batches(state, context, options.samples))
        self._drops: dict[frozenset[str], float] = {}
        self.samples = sum(len(batch.labels) for batch in self._batches)
        self._float_score = self._scored(state)

    def drop(self, names: tuple[str, ...]) -> float:
        """By how many points the metric drops with these in float; budgets count the same way."""
        key = frozenset(names)
        if key not in self._drops:
            lost = self._float_score - self._scored(self.quantized(names))
            self._drops[key] = 100 * lost / (1.0 if self._float_score >= 0 else -self._float_score)
        return self._drops[key]

    def told(self, names: tuple[str, ...]) -> str:
        """The drop, in words."""
        return (
            f"{self.drop(names):.2f} points below float on {self.samples} samples,"
            f" {self._options.drop_points:g} allowed"
        )

    def ranked(self) -> list[str]:
        """The modules that may stay in float, those first that gain the outputs most."""
        module = editable(self._state.exported_program())
        layers = self._options.quantization.placement(module, self._state).layers
        nodes = {node.name: node for node in module.graph.nodes}
        names = list(dict.fromkeys(each.module for each in layers if each.module in module_names(nodes[each.node])))
        before, gains = self._trial.decibels(self._state), dict[str, float]()
        with self._context.progress.task("sensitivity of layers", len(names)) as advance:
            for name in names:
                gains[name] = self._trial.decibels(self._with((name,))) - before
                advance(1, name)
        ranked = sorted(names, key=lambda name: -gains[name])
        told = ", ".join(f"{name} {gains[name]:+.2f}" for name in ranked[:_TOLD])
        more = f" and {len(ranked) - _TOLD} more" if len(ranked) > _TOLD else ""
        self._context.say(f"dB that a layer gains the outputs, in float alone: {told}{more}")
        return ranked

    def quantized(self, names: tuple[str, ...]) -> ModelState:
        """The state in integers but for these modules."""
        return self._trial.quantization.run(self._with(names), self._trial.context)

    def _with(self, names: tuple[str, ...]) -> ModelState:
        return self._state.with_attachment(FLOAT_LAYERS, list(names))

    def _scored(self, state: ModelState) -> float:
        import torch
        from torch.utils._pytree import tree_leaves

        module = state.callable_module()
        with torch.no_grad():
            outputs = [tree_leaves(module(*batch.inputs))[0] for batch in self._batches]
        return self._score(torch.cat(outputs), torch.cat([batch.labels for batch in self._batches]))
