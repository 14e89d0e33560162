"""Which of two artifacts is faster, with an interval that says how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..ir.errors import InputError, Problem

if TYPE_CHECKING:
    import numpy as np

    from .latency import LatencyReport

Verdict = Literal["faster", "slower", "cannot tell"]

MARGIN = 0.02
"""Ratios this close to 1 are not told apart from it: the same file in two processes can differ by as much through
where its memory happens to lie (Mytkowicz et al. 2009, "Producing wrong data without doing anything obviously
wrong!")."""
CONFIDENCE = 0.99
RESAMPLES = 4000
DEVICE_KEYS = ("cpu", "architecture", "logical_cores", "flags", "kernel", "gpu")
"""The parts of an identity that make two devices different ones."""


@dataclass(frozen=True)
class Comparison:
    """The candidate's median latency over the baseline's, its bootstrap interval, and what may be said of it."""

    ratio: float
    low: float
    high: float
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.verdict}: {self.ratio:.3f} of the baseline's latency ({self.low:.3f} to {self.high:.3f})"


def compare(baseline: LatencyReport, candidate: LatencyReport) -> Comparison:
    """The verdict on two reports that were taken in turns on one device.

    Whole rounds are drawn again, the same for both, because neighbouring samples are not independent while a
    disturbance lasts (block bootstrap, Kuensch 1989). InputError where the reports are of different devices, or were
    not taken in turns.
    """
    import numpy as np

    if problems := _obstacles(baseline, candidate):
        raise InputError(problems)
    before, after = np.array(baseline.rounds_ns, np.float64), np.array(candidate.rounds_ns, np.float64)
    logarithms = np.log(np.median(after, axis=1) / np.median(before, axis=1))
    low, high = _interval(logarithms)
    ratio = float(np.exp(np.median(logarithms)))
    return Comparison(ratio, low, high, _verdict(low, high))


def _interval(logarithms: np.ndarray) -> tuple[float, float]:
    """Bounds of the median ratio from the rounds' log ratios (R,), by drawing rounds again under a fixed seed."""
    import numpy as np

    count = len(logarithms)
    drawn = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
    medians = np.median(logarithms[drawn], axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.exp(np.quantile(medians, [tail, 1 - tail]))
    return float(low), float(high)


def _verdict(low: float, high: float) -> Verdict:
    if high < 1 - MARGIN:
        return "faster"
    if low > 1 + MARGIN:
        return "slower"
    return "cannot tell"


def _obstacles(baseline: LatencyReport, candidate: LatencyReport) -> list[Problem]:
    """Why the two can't be compared."""
    pairs: list[tuple[str, Any, Any]] = [("device", baseline.device, candidate.device)]
    pairs += [(key, baseline.identity.get(key), candidate.identity.get(key)) for key in DEVICE_KEYS]
    found = [
        Problem("latency reports", key, f"the same device ({first})", str(second))
        for key, first, second in pairs
        if first != second
    ]
    if not found and baseline.session != candidate.session:
        found.append(Problem("latency reports", "session", "two artifacts timed in turns", "two separate measurements"))
    return found
