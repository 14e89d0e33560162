"""How faithful an artifact's layers are to another's: signal, noise, and where the noise comes in.

The signal-to-quantization-noise ratio is the power of the right values over that of the difference, in decibels
(https://en.wikipedia.org/wiki/Signal-to-quantization-noise_ratio).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

HEADINGS = ("layer", "operator", "type", "SQNR", "largest difference", "from simulated")
NEXT_STEP = 1.5
"""More than this many steps are more than one: half a step of slack is what rounding to the grid leaves."""


@dataclass(frozen=True)
class Noise:
    """Sums over the values of one layer: `signal` and `noise` of squares, `largest` of differences."""

    signal: float = 0.0
    noise: float = 0.0
    largest: float = 0.0

    def plus(self, right: np.ndarray, found: np.ndarray) -> Noise:
        """The sums with some more values and what was found in their place, both of the same shape."""
        import numpy as np

        exact = right.astype(np.float64)
        difference = found.astype(np.float64) - exact
        largest = float(np.abs(difference).max(initial=0.0))
        return Noise(
            self.signal + float(np.square(exact).sum()),
            self.noise + float(np.square(difference).sum()),
            max(self.largest, largest),
        )

    @property
    def share(self) -> float:
        """The noise as a part of the signal; infinite where there should be nothing at all."""
        if not self.noise:
            return 0.0
        return self.noise / self.signal if self.signal else math.inf

    @property
    def sqnr_db(self) -> float:
        """The signal-to-quantization-noise ratio; infinite where the values are equal."""
        if not self.share:
            return math.inf
        return -10 * math.log10(self.share) if math.isfinite(self.share) else -math.inf


@dataclass(frozen=True)
class LayerDifference:
    """What one layer of the artifact computes beside what it should.

    `against` is the other artifact's operator. `added_share` is the noise, as a part of the signal, that its output has
    more than the worst of its inputs, whose ratio is `input_sqnr_db`. Decibels are None where there is no difference,
    and all of this is None where `note` says why nothing could be compared. `largest_steps` counts in steps of the
    tensor's own scale.

    `simulated_steps` is the largest difference from what was simulated when the artifact was built, in the first
    inference, and `simulated_equal` the share of values without any; None where nothing is known of it.
    """

    name: str
    operator: str
    dtype: str
    against: str | None = None
    sqnr_db: float | None = None
    input_sqnr_db: float | None = None
    added_share: float | None = None
    largest: float | None = None
    largest_steps: float | None = None
    note: str = ""
    simulated_steps: float | None = None
    simulated_equal: float | None = None


@dataclass(frozen=True)
class Diff:
    """Every layer of an artifact beside its counterpart, in the order in which they run.

    `left` are layers of the other artifact that have none here; `passes` are those that only the artifact went through.
    `reference_runtime` computed all of it where the artifact's own hands out no values of layers.
    """

    artifact: str
    against: str
    device: str
    samples: int
    layers: tuple[LayerDifference, ...]
    left: tuple[str, ...]
    passes: tuple[str, ...]
    remarks: tuple[str, ...]
    reference_runtime: str | None = None

    @property
    def worst(self) -> LayerDifference | None:
        """The layer whose values are the furthest off; None where all are equal."""
        found = [layer for layer in self.layers if layer.sqnr_db is not None]
        return min(found, key=lambda layer: layer.sqnr_db or 0.0, default=None)

    @property
    def culprit(self) -> LayerDifference | None:
        """The layer that adds the most noise; None where none adds any."""
        found = [layer for layer in self.layers if layer.added_share]
        return max(found, key=lambda layer: layer.added_share or 0.0, default=None)

    @property
    def strayed(self) -> LayerDifference | None:
        """The first layer that is more than one step from what was simulated; None where none is known to be."""
        return next((layer for layer in self.layers if (layer.simulated_steps or 0) > NEXT_STEP), None)

    def to_json(self) -> dict[str, Any]:
        """The document of `diff --json`."""
        every = {**self._named(), "strayed": self.strayed}
        names = {name: None if layer is None else layer.name for name, layer in every.items()}
        return {"schema": 1, **asdict(self), **names}

    def to_text(self) -> str:
        """The layers as a table, and below it the worst, the culprit, and what has to be known."""
        rows: list[tuple[str, ...]] = [(*HEADINGS, "")]
        rows += [(*_row(layer), self._mark(layer)) for layer in self.layers]
        if not (simulation := self._simulation()):
            rows = [(*row[:5], row[6]) for row in rows]
        place = self.device
        if self.reference_runtime is not None:
            place = f"{place} by {self.reference_runtime}, a reference runtime"
        lines = [f"{self.artifact} against {self.against}: {self.samples} samples on {place}", *_aligned(rows)]
        lines += [f"only in {self.against}: {', '.join(self.left)}"] if self.left else []
        lines += [f"passes that only {self.artifact} went through: {', '.join(self.passes)}"] if self.passes else []
        return "\n".join([*lines, *self.remarks, *simulation, self._verdict()]) + "\n"

    def _named(self) -> dict[str, LayerDifference | None]:
        return {"worst": self.worst, "culprit": self.culprit}

    def _simulation(self) -> list[str]:
        """How far the artifact is from what was simulated, and where that begins; empty where nothing is known."""
        known = {layer.name: layer.simulated_steps for layer in self.layers if layer.simulated_steps is not None}
        if not known:
            return []
        furthest = max(known, key=lambda name: known[name])
        line = f"simulated: {len(known)} of {len(self.layers)} layers known, at most {known[furthest]:.1f} steps off"
        if self.strayed is None:
            return [line]
        return [f"{line} ({furthest}); the first more than one step off: {self.strayed.name}"]

    def _mark(self, layer: LayerDifference) -> str:
        names = [name for name, found in self._named().items() if found is layer]
        return f"<- {', '.join(names)}" if names else ""

    def _verdict(self) -> str:
        if self.culprit is None:
            return "no layer adds any error" if self.worst is None else "no layer adds error to that of its inputs"
        before = "exact" if self.culprit.input_sqnr_db is None else _decibels(self.culprit.input_sqnr_db)
        after = _decibels(self.culprit.sqnr_db)
        return f"adds the most error: {self.culprit.name} ({self.culprit.operator}): inputs {before}, output {after}"


def added(shares: Mapping[str, float], sources: Mapping[str, Sequence[str]], tensor: str) -> tuple[float, float]:
    """(the noise share that `tensor` has more than its sources, the largest share of those).

    A source whose share is not known stands for its own sources. Shares are by tensor, as are `sources`.
    """
    before = max((_share(shares, sources, source) for source in sources.get(tensor, ())), default=0.0)
    if math.isinf(before):
        return 0.0, before
    return max(0.0, shares[tensor] - before), before


def _share(shares: Mapping[str, float], sources: Mapping[str, Sequence[str]], tensor: str) -> float:
    if tensor in shares:
        return shares[tensor]
    return max((_share(shares, sources, source) for source in sources.get(tensor, ())), default=0.0)


def _row(layer: LayerDifference) -> tuple[str, str, str, str, str, str]:
    simulated = "equal" if layer.simulated_steps == 0 else ""
    if layer.simulated_steps:
        simulated = f"{layer.simulated_steps:.1f} steps, {layer.simulated_equal or 0:.1%} equal"
    if layer.note:
        return layer.name, layer.operator, layer.dtype, "-", layer.note, simulated
    steps = "" if layer.largest_steps is None else f"{layer.largest_steps:.1f} steps"
    return layer.name, layer.operator, layer.dtype, _decibels(layer.sqnr_db), steps or f"{layer.largest:.3g}", simulated


def _decibels(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f} dB"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
