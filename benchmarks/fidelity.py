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
    and everything is None where `note` says why nothing could be compared. `largest_steps` counts in steps of the
    tensor's own scale.
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


@dataclass(frozen=True)
class Diff:
    """Every layer of an artifact beside its counterpart, in the order in which they run.

    `left` are layers of the other artifact that have none here; `passes` are those that only the artifact went through.
    """

    artifact: str
    against: str
    device: str
    samples: int
    layers: tuple[LayerDifference, ...]
    left: tuple[str, ...]
    passes: tuple[str, ...]
    remarks: tuple[str, ...]

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

    def to_json(self) -> dict[str, Any]:
        """The document of `diff --json`."""
        names = {name: None if layer is None else layer.name for name, layer in self._named().items()}
        return {"schema": 1, **asdict(self), **names}

    def to_text(self) -> str:
        """The layers as a table, and below it the worst, the culprit, and what has to be known."""
        rows = [("layer", "operator", "type", "SQNR", "largest difference", "")]
        rows += [(*_row(layer), self._mark(layer)) for layer in self.layers]
        lines = [f"{self.artifact} against {self.against}: {self.samples} samples on {self.device}", *_aligned(rows)]
        lines += [f"only in {self.against}: {', '.join(self.left)}"] if self.left else []
        lines += [f"passes that only {self.artifact} went through: {', '.join(self.passes)}"] if self.passes else []
        return "\n".join([*lines, *self.remarks, self._verdict()]) + "\n"

    def _named(self) -> dict[str, LayerDifference | None]:
        return {"worst": self.worst, "culprit": self.culprit}

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


def _row(layer: LayerDifference) -> tuple[str, str, str, str, str]:
    if layer.note:
        return layer.name, layer.operator, layer.dtype, "-", layer.note
    steps = "" if layer.largest_steps is None else f"{layer.largest_steps:.1f} steps"
    return layer.name, layer.operator, layer.dtype, _decibels(layer.sqnr_db), steps or f"{layer.largest:.3g}"


def _decibels(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f} dB"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
