"""Numbers as a person reads them: with a unit, and with no digit that was not measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .compare import Comparison


def percent(share: float, samples: int) -> str:
    """A share of samples, with no more decimals than one sample moves."""
    return f"{100 * share:.{_decimals(samples)}f} %"


def points(difference: float, samples: int) -> str:
    """A difference of two shares of samples in percentage points, with its sign."""
    return f"{round(100 * difference, _decimals(samples)) + 0.0:+.{_decimals(samples)}f} points"


def milliseconds(latency_ns: float) -> str:
    """A latency to three significant digits."""
    return f"{significant(latency_ns / 1e6)} ms"


def size(total_bytes: float) -> str:
    """Bytes in the unit that keeps them readable, to three significant digits."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if total_bytes >= factor:
            return f"{significant(total_bytes / factor)} {unit}"
    return f"{total_bytes:.0f} B"


def quantity(count: float) -> str:
    """A count to three significant digits: 40.6 M."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= factor:
            return f"{significant(count / factor)} {unit}"
    return f"{count:.0f}"


def speed_up(comparison: Comparison) -> str:
    """A speed-up with its interval; how much slower where it is slower."""
    if comparison.verdict == "slower":
        return f"{comparison.ratio:.2f}x slower ({comparison.low:.2f} to {comparison.high:.2f})"
    bounds = f"({1 / comparison.high:.2f} to {1 / comparison.low:.2f})"
    if comparison.verdict == "faster":
        return f"{1 / comparison.ratio:.2f}x faster {bounds}"
    return f"cannot tell {bounds}"


def significant(value: float, digits: int = 3) -> str:
    """Digits that are not significant before the point are kept: 1234, 123, 12.3, 1.23, 0.123."""
    if value == 0:
        return "0"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def _decimals(samples: int) -> int:
    return min(2, max(0, math.ceil(math.log10(max(samples, 1))) - 2))
