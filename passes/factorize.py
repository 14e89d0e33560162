"""factorize: layers are products of smaller ones, where that saves work and, measured on the device, time.

Linear layers by singular values (Denton et al. 2014, arXiv:1404.0736), convolutions so too, by Tucker-2 (Kim et al.
2016, arXiv:1511.06530) or by CP (Lebedev et al. 2015, arXiv:1412.6553).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from ..ir.bypass import swap
from ..ir.errors import InputError, Problem
from ..ir.examples import example_inputs
from ..ir.facts import CHANNELS_PRUNED, FACTORIZED, Aspect, Fact
from ..ir.names import refuse_unknown
from ..ir.state import Edit, ModelState
from ..recipe.factorization import By
from ..recipe.factorization import Method as Asked
from .contract import Context, Lossy, Numerics

if TYPE_CHECKING:
    from ..ir.factors import Factors, Method
    from ..low_rank.choice import Option, Options
    from ..low_rank.layers import Layer
    from ..low_rank.timing import Timing
    from ..recipe.schema import Recipe
    from ..targets import Target

_TRIED = 3
"""How many ranks of each method are timed for a layer, the cheapest first, where ranks are measured."""
_KEY = "compress.factorize"


@dataclass(frozen=True)
class _Verdict:
    """What becomes of one layer: factors or none, and why in words."""

    layer: Layer
    factors: Factors | None
    said: str


@dataclass(frozen=True)
class Factorize:
    """Each layer has the rank that `amount` asks for in what `by` counts, in multiples of `multiple` where it can.

    A layer where that saves no multiply-accumulates stays whole; where the build can measure and `only_if_faster`, also
    one that takes no less time. `by` measured: of the ranks that keep `amount` of the layer's energy the fastest.
    """

    amount: float
    by: By = "energy"
    method: Asked = "auto"
    multiple: int = 1
    keep: tuple[str, ...] = ()
    only_if_faster: bool = True

    name: ClassVar[str] = "factorize"
    needs: ClassVar[frozenset[Fact]] = frozenset()
    makes: ClassVar[frozenset[Fact]] = frozenset({FACTORIZED})
    touches: ClassVar[frozenset[Aspect]] = frozenset(Aspect) - {Aspect.LAYOUT, Aspect.NUMERICS}
    keeps: ClassVar[frozenset[Fact]] = frozenset({CHANNELS_PRUNED})
    """Channels that are gone stay gone: a layer's own widths do not change."""
    numerics: ClassVar[Numerics] = Lossy("layers are of lower rank")
    asks: ClassVar[str | None] = _KEY
    reads: ClassVar[frozenset[str]] = frozenset()
    decides: ClassVar[str] = "which layers at which ranks, by what saves work and, where it can be measured, time"

    @property
    def measures(self) -> bool:
        """Whether time decides, where a build can measure it."""
        return self.by == "measured" or self.only_if_faster

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | None:
        """The recipe's amount on every target, in ranks that its kernels want: whether it pays is found when built."""
        asked = recipe.compress.factorize
        if asked is None:
            return None
        amount, by = asked.amount
        multiple = target.pruning.channel_multiple if target.pruning else 1
        return cls(amount, by, asked.method, multiple, asked.keep, asked.only_if_faster)

    def run(self, state: ModelState, context: Context) -> ModelState:
        """The state with smaller layers, and the edits that put them into the user's network.

        InputError where `keep` names no module, where a rank is above that of every layer, or where ranks are to be
        measured and the build can't.
        """
        from ..low_rank.layers import find_layers
        from ..low_rank.parts import taken_apart
        from ..low_rank.timing import Timing

        before = state.torch_module()
        refuse_unknown(self.keep, before, f"{_KEY}.keep")
        if self.by == "measured" and context.measure is None:
            expected = "energy or ratio where a build can't measure on the target's runtime"
            raise InputError(Problem("recipe", f"{_KEY}.rank", expected, "measured"))
        module = copy.deepcopy(before).eval()
        layers = find_layers(module, example_inputs(state.inputs), self.keep)
        self._check_rank(layers.found)
        timing = None if context.measure is None else Timing(context.measure)
        verdicts = [self._judged(layer, timing, context) for layer in layers.found]
        edits = []
        for verdict in verdicts:
            if verdict.factors is not None:
                swap(module, verdict.layer.name, taken_apart(verdict.layer.module, verdict.factors, context.seed))
                edits.append(Edit(verdict.layer.name, {}, {}, factors=verdict.factors))
        after = replace(state, module=module.eval(), edits=(*state.edits, *edits))
        self._tell(state, after, verdicts, layers.whole, context)
        return state if timing is not None and self._is_slower(state, after, timing, context) else after

    def _check_rank(self, layers: Sequence[Layer]) -> None:
        """InputError where no layer has a rank so large; those that have a smaller one are told of later."""
        from ..low_rank.choice import most_rank

        most = max((most_rank(layer) for layer in layers), default=0)
        if self.by == "rank" and self.method != "cp" and layers and self.amount > most:
            expected = f"at most {most}, for no layer that can be taken apart has more than {most + 1}"
            raise InputError(Problem("recipe", f"{_KEY}.rank", expected, f"{self.amount:g}"))

    def _judged(self, layer: Layer, timing: Timing | None, context: Context) -> _Verdict:
        """Which factors the layer gets, if any."""
        from ..low_rank.choice import Options

        ways = [Options(layer, method, self.multiple, context.seed) for method in self._methods(layer)]
        found = [option for options in ways for option in self._asked(options)]
        if not found:
            return _Verdict(layer, None, f"nothing {self._wanted()} saves multiply-accumulates")
        whole_macs = ways[0].whole_macs
        if timing is None:
            best = self._cheapest(found)
            return _Verdict(layer, best.factors, _saves(best, whole_macs))
        return self._timed(layer, found, timing, whole_macs)

    def _methods(self, layer: Layer) -> tuple[Method, ...]:
        """A matrix comes apart by singular values alone: Tucker and CP of a matrix are those."""
        from ..ir.factors import kernel_of

        if math.prod(kernel_of(layer.module)) == 1:
            return ("svd",)
        return ("svd", "tucker") if self.method == "auto" else (self.method,)

    def _asked(self, options: Options) -> list[Option]:
        """The options that the recipe asks for: one for each method, or some where the time decides."""
        from ..low_rank.choice import able, by_energy, by_rank, by_ratio

        if self.by == "measured":
            return able(options, self.amount, _TRIED)
        choose = {"energy": by_energy, "ratio": by_ratio}
        found = by_rank(options, int(self.amount)) if self.by == "rank" else choose[self.by](options, self.amount)
        return [] if found is None else [found]

    def _cheapest(self, found: Sequence[Option]) -> Option:
        """Of several methods the one that costs least; by ratio all cost alike, and the one that keeps most."""
        if self.by == "ratio":
            return max(found, key=lambda option: option.energy)
        return min(found, key=lambda option: option.macs)

    def _timed(self, layer: Layer, found: Sequence[Option], timing: Timing, whole_macs: int) -> _Verdict:
        """The fastest of what was asked for, where it is faster than the layer or need not be.

        Of those that are as fast as it, the one that keeps most.
        """
        from ..ir.factors import assemble
        from ..low_rank.timing import is_faster

        if self.by != "measured":
            found = [self._cheapest(found)]
        timing.latency_ns(layer, layer.module)
        taken_ns = [timing.latency_ns(layer, assemble(layer.module, option.factors)) for option in found]
        alike = [option for option, ns in zip(found, taken_ns, strict=True) if not is_faster(min(taken_ns), ns)]
        best = max(alike, key=lambda option: option.energy)
        best_ns = timing.latency_ns(layer, assemble(layer.module, best.factors), 2)
        whole_ns = timing.latency_ns(layer, layer.module, 2)
        change = f"{whole_ns / 1e3:.1f} -> {best_ns / 1e3:.1f} us alone ({best_ns / whole_ns - 1:+.0%})"
        if self.only_if_faster and not is_faster(best_ns, whole_ns):
            return _Verdict(layer, None, f"{best.factors} is not faster: {change}; {_saves(best, whole_macs)}")
        return _Verdict(layer, best.factors, f"{_saves(best, whole_macs)}; {change}")

    def _wanted(self) -> str:
        counted = {"energy": "of the energy kept", "measured": "of the energy kept", "ratio": "of the work gone"}
        return f"of rank {self.amount:g}" if self.by == "rank" else f"with {self.amount:.1%} {counted[self.by]}"

    def _tell(
        self,
        before: ModelState,
        after: ModelState,
        verdicts: Sequence[_Verdict],
        whole: Mapping[str, str],
        context: Context,
    ) -> None:
        """What became of each layer; a warning where nothing came of any."""
        from ..channels.costs import count_macs

        inputs = example_inputs(before.inputs)
        replaced = [verdict for verdict in verdicts if verdict.factors is not None]
        gone = 1 - count_macs(after.torch_module(), inputs) / (count_macs(before.torch_module(), inputs) or 1.0)
        context.say(f"{len(replaced)} of {len(verdicts) + len(whole)} layers are products of smaller ones")
        context.say(f"{gone:.1%} of the network's multiply-accumulates are gone")
        if context.measure is None:
            context.say("nothing was measured: whether a layer is faster was judged by multiply-accumulates alone")
        for verdict in replaced:
            context.say(f"{verdict.layer.name}: {verdict.factors}: {verdict.said}")
        left = {verdict.layer.name: verdict.said for verdict in verdicts if verdict.factors is None}
        for name, why in {**left, **whole}.items():
            context.say(f"left whole: {name}: {why}")
        if not replaced:
            context.progress.warn(f"{self.name}: no layer was taken apart: plan.txt says why of each")

    def _is_slower(self, before: ModelState, after: ModelState, timing: Timing, context: Context) -> bool:
        """Whether the whole network takes longer for it, and is to stay as it was then."""
        if after.edits == before.edits:
            return False
        pairs = [(timing.network_ns(before), timing.network_ns(after)) for _ in range(2)]
        before_ns, after_ns = (min(side) for side in zip(*pairs, strict=True))
        said = f"the whole network: {before_ns / 1e6:.3f} -> {after_ns / 1e6:.3f} ms ({after_ns / before_ns - 1:+.0%})"
        is_slower = self.only_if_faster and after_ns > before_ns
        context.say(f"{said}: it stays as it was" if is_slower else said)
        if is_slower:
            context.progress.warn(f"{self.name}: {said}: layers that are faster alone are not so together; it stays")
        return is_slower


def _saves(option: Option, whole_macs: int) -> str:
    kept = f"{option.energy:.1%} of the energy kept"
    return f"{kept}, {1 - option.macs / whole_macs:.0%} of the multiply-accumulates gone"
