"""calibrate: the range of every tensor that will be held in int8, from one pass over the calibration samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..ir.errors import InputError, Problem
from ..ir.facts import BATCHNORM_FOLDED, EXPORTED, RANGES_CALIBRATED, Aspect, Fact
from ..ir.graph import editable, has_open_batch, outputs_of, sizes, user_inputs
from ..ir.state import ModelState
from ..quantization.forms import narrowed
from ..quantization.placement import Placement, place
from ..quantization.rules import Rules
from .contract import Context, Exact, Numerics

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

    from ..quantization.observers import Extremes
    from ..quantization.thresholds import Range
    from ..recipe.datasets import Batch
    from ..recipe.schema import Recipe
    from ..targets import Target

_BATCH = 32
_FEW = 64
_STILL_GROWING = 0.1


@dataclass(frozen=True)
class Calibrate:
    """Ranges are attached as "ranges": {tensor: [minimum, maximum]}; zero lies in each of them."""

    name: ClassVar[str] = "calibrate"
    needs: ClassVar[frozenset[Fact]] = frozenset({EXPORTED, BATCHNORM_FOLDED})
    makes: ClassVar[frozenset[Fact]] = frozenset({RANGES_CALIBRATED})
    touches: ClassVar[frozenset[Aspect]] = frozenset()
    keeps: ClassVar[frozenset[Fact]] = frozenset()
    numerics: ClassVar[Numerics] = Exact()
    asks: ClassVar[str | None] = None
    reads: ClassVar[frozenset[str]] = frozenset({"calibration"})
    decides: ClassVar[str] = "each tensor's range, by the values it takes on the calibration samples"

    method: str
    samples: int
    percentile: float
    symmetric: bool
    keep_float: tuple[str, ...]
    rules: Rules

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | None:
        asked, int8 = recipe.compress.quantize, target.quantization.int8_static
        if asked is None or int8 is None or not asked.is_static:
            return None
        options = asked.calibration
        int8 = narrowed(int8, asked)
        return cls(
            method=options.method,
            samples=options.samples,
            percentile=options.percentile,
            symmetric=int8.symmetric_activations,
            keep_float=asked.keep_float,
            rules=Rules.of(int8, asked.allow_float),
        )

    def run(self, state: ModelState, context: Context) -> ModelState:
        program = state.exported_program()
        module = editable(program)
        placement = place(module.graph, self.rules, self.keep_float)
        fixed = None if has_open_batch(program) else sizes(user_inputs(program)[0])[0]
        audit = _Audit(min(self.samples, len(context.data.split("calibration"))))
        observers = {name: self._observer(audit.expected) for name in placement.observed.values()}
        _observe(module, placement, observers, self._batches(context, fixed, audit, observers))
        audit.check(self.samples, context, _classes(module))
        ranges = {name: list(_with_zero(self._range(observer))) for name, observer in observers.items()}
        context.say(f"{len(ranges)} ranges from {audit.seen} samples by {self.method}")
        return state.with_attachment("ranges", ranges)

    def _observer(self, samples: int) -> Extremes:
        from ..quantization.observers import AverageExtremes, Extremes, Histogram

        if self.method == "min-max":
            return Extremes()
        return AverageExtremes() if self.method == "moving-average" else Histogram(samples)

    def _range(self, observer: Extremes) -> Range:
        from ..quantization.observers import AverageExtremes, Histogram
        from ..quantization.thresholds import entropy, mean_squared_error, percentile

        if isinstance(observer, AverageExtremes):
            return observer.average
        if not isinstance(observer, Histogram):
            return observer.minimum, observer.maximum
        if self.method == "percentile":
            return percentile(observer, self.percentile)
        return entropy(observer) if self.method == "entropy" else mean_squared_error(observer, self.symmetric)

    def _batches(
        self, context: Context, fixed: int | None, audit: _Audit, observers: Mapping[str, Extremes]
    ) -> Iterator[tuple[Tensor, ...]]:
        split = context.data.split("calibration")
        with context.progress.task(f"calibrate ({self.method})", audit.expected) as advance:
            for batch in split.batches(fixed or _BATCH, limit=self.samples):
                audit.add(batch, observers)
                yield batch.inputs if fixed is None else batch.filled(fixed)
                _refuse_nonfinite(observers)
                advance(len(batch.labels), "")


class _Audit:
    """Whether the calibration samples can stand for what the model will see."""

    def __init__(self, expected: int) -> None:
        self.expected, self.seen = expected, 0
        self._first: tuple[Tensor, ...] = ()
        self._differ = False
        self._classes: set[int] | None = set()
        self._late: dict[str, Range] = {}
        self._observers: Mapping[str, Extremes] = {}

    def add(self, batch: Batch, observers: Mapping[str, Extremes]) -> None:
        """The batch that comes next is counted; the extremes so far are kept when the last quarter begins."""
        if not self._late and self.seen >= self.expected * 3 / 4:
            self._late = {name: (entry.minimum, entry.maximum) for name, entry in observers.items()}
        self._first = self._first or tuple(values[:1] for values in batch.inputs)
        self._observers = observers
        for first, values in zip(self._first, batch.inputs, strict=True):
            # One sample is constant when all of its values are equal; several, when they all equal the first.
            reference = first if self.expected > 1 else values.reshape(-1)[0]
            self._differ = self._differ or bool((values != reference).any())
        self.seen += len(batch.labels)
        if self._classes is not None and batch.labels.dim() == 1 and not batch.labels.is_floating_point():
            self._classes.update(batch.labels.tolist())
        else:
            self._classes = None

    def check(self, asked: int, context: Context, outputs: int | None) -> None:
        """Refuses a set that says nothing; warns, with numbers, about one that may say too little."""
        if not self.seen:
            raise InputError(Problem("data", "calibration", "at least one sample", "an empty split"))
        if not self._differ:
            found = f"{self.seen} times the same" if self.seen > 1 else "one sample whose values are all equal"
            raise InputError(Problem("data", "calibration", "samples that differ", found))
        warn = context.progress.warn
        if self.seen < asked:
            warn(f"calibration: {asked} samples asked for, but the split holds {self.seen}")
        if self.seen < _FEW:
            warn(f"calibration: {self.seen} samples are few; ranges settle with {_FEW} and more")
        growth = sorted(((self._growth(name), name) for name in self._late), reverse=True)
        grown = [f"{name} by {part:.0%}" for part, name in growth if part > _STILL_GROWING]
        if grown and self.seen >= _FEW:
            shown = ", ".join(grown[:3]) + (f" and {len(grown) - 3} more" if len(grown) > 3 else "")
            warn(f"calibration: ranges still grew over the last quarter of {self.seen} samples: {shown}")
        if context.task == "classification" and self._classes and outputs:
            least = min(outputs, self.seen) / 2
            if len(self._classes) < least:
                warn(f"calibration: the samples cover {len(self._classes)} of {outputs} classes")

    def _growth(self, name: str) -> float:
        low, high = self._late[name]
        now = self._observers[name]
        width = high - low
        return (now.maximum - now.minimum - width) / width if width > 0 else 0.0


def _observe(
    module: GraphModule,
    placement: Placement,
    observers: Mapping[str, Extremes],
    batches: Iterator[tuple[Tensor, ...]],
) -> None:
    """Every batch runs through the graph; a tensor is dropped as soon as nothing reads it any more."""
    import torch
    from torch.fx import Interpreter

    class Watcher(Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if n.name in placement.observed:
                observers[placement.observed[n.name]].update(value if value.dim() else value[None])
            return value

    watcher = Watcher(module)
    with torch.no_grad():
        for inputs in batches:
            watcher.run(*inputs)


def _refuse_nonfinite(observers: Mapping[str, Extremes]) -> None:
    for name, observer in observers.items():
        if not (math.isfinite(observer.minimum) and math.isfinite(observer.maximum)):
            found = f"{observer.minimum} to {observer.maximum}"
            raise InputError(Problem("calibration", f"tensor {name}", "finite values", found))


def _classes(module: GraphModule) -> int | None:
    """How many classes the first output has, if it looks like one score per class."""
    shape = outputs_of(module.graph)[0].meta["val"].shape
    return int(shape[1]) if len(shape) == 2 else None


def _with_zero(range_: Range) -> Range:
    return min(range_[0], 0.0), max(range_[1], 0.0)
