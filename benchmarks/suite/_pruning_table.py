"""What pruning.py writes: a row for each network, and edgewright's ways beside torch-pruning's."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import _measure
import numpy as np

LATENCY_SLACK, STANDARD_ERRORS = 1.05, 2
"""Not worse: latency within 5 % and no interval that excludes equality; accuracy within two standard errors."""
Prune = Callable[[Any, argparse.Namespace], Any]
"""From a network to the state that it is in once pruned."""


@dataclass
class Row:
    """One network on its way: pruned or not, trained on or not, and what its artifacts do, one for each seed."""

    who: str
    how: str
    prune: Prune | None = None
    quantized: bool = True
    widths: str = ""
    macs: float = 0.0
    at_once: float | None = None
    """The accuracy right after pruning, before any recovery, in torch."""
    kib: tuple[float, float] = (0.0, 0.0)
    """The first seed's artifact, and what zlib makes of it."""
    times: _measure.Numbers = field(default_factory=lambda: np.zeros(0))
    """Nanoseconds of the first seed's artifact, in turns with the other rows'."""
    correct: _measure.Numbers = field(default_factory=lambda: np.zeros(0))
    """(seeds, images): which images the artifacts get right."""

    @property
    def name(self) -> str:
        return f"{self.who}, {self.how}"


def beside(one: Row, other: Row) -> tuple[str, str, bool]:
    """What may be said of `one` beside `other`: latency, accuracy, and whether it is not worse in both."""
    ratio, low, high = _measure.ratio(one.times, other.times)
    slower = low > 1 or ratio > LATENCY_SLACK
    differences = one.correct.mean(0) - other.correct.mean(0)
    errors = [float(np.std(differences) / np.sqrt(len(differences)))]
    seeds = one.correct.mean(1) - other.correct.mean(1)
    if len(seeds) > 1:
        errors.append(float(np.std(seeds, ddof=1) / np.sqrt(len(seeds))))
    difference, error = float(differences.mean()), max(errors)
    less_accurate = difference < -STANDARD_ERRORS * error
    return (
        f"{ratio:.3f} ({low:.3f} to {high:.3f})",
        f"{100 * difference:+.2f} +- {100 * error:.2f} points",
        not slower and not less_accurate,
    )


def write(said: str, rows: list[Row], ours: list[Row], theirs: list[Row], *, quick: bool) -> None:
    """The tables, with what was done (`said`) and the machine that they belong to."""
    lines = []
    for row in rows:
        ratio, low, high = _measure.ratio(row.times, rows[0].times)
        seeds = " ".join(f"{part:.2%}" for part in row.correct.mean(1))
        speed = [f"{np.median(row.times) / 1e6:.3f}", f"{ratio:.3f} ({low:.3f} to {high:.3f})"]
        at_once = "" if row.at_once is None else f"{row.at_once:.1%}"
        size = [f"{kib:.0f}" for kib in row.kib]
        figures = [f"{row.macs:.3f}", *size, *speed, at_once, seeds, f"{row.correct.mean():.2%}"]
        lines.append([row.who, row.how, row.widths, *figures])
    headers = ["by", "how", "widths: stage (within its blocks)", "MACs", "KiB", "by zlib", "ms", "of float's ms"]
    headers += ["top-1 unrecovered", "top-1 by seed", "top-1"]
    claims = []
    for one in ours:
        for other in theirs:
            latency, top1, is_fine = beside(one, other)
            claims.append([one.how, other.how, latency, top1, "not worse" if is_fine else "worse"])
    claim_headers = ["edgewright", "torch-pruning", "latency", "top-1, paired", "verdict"]
    text = (
        f"{said}\n\n{_measure.table(headers, lines)}\n\nEdgewright beside torch-pruning (95 % interval of the"
        " latency ratio; standard error of the difference of top-1, the larger of that over images and that over"
        f" seeds):\n\n{_measure.table(claim_headers, claims)}"
    )
    stored = [
        {
            "by": row.who,
            "how": row.how,
            "widths": row.widths,
            "macs": row.macs,
            "kib": row.kib[0],
            "kib_compressed": row.kib[1],
            "top1_unrecovered": row.at_once,
            "ms": float(np.median(row.times)) / 1e6,
            "top1": row.correct.mean(1).tolist(),
        }
        for row in rows
    ]
    where = _measure.origin("onnxruntime", "torch", "torch-pruning")
    _measure.write("pruning", text, stored, where, quick=quick)
