from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from edgewright.benchmarks.compare import compare
from edgewright.benchmarks.latency import LatencyReport
from edgewright.ir.errors import InputError

Reported = Callable[..., LatencyReport]

ROUNDS, RUNS = 30, 40


def drifting(random: np.random.Generator, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Samples (ROUNDS, RUNS) of two artifacts, the second `ratio` times as slow, on a machine whose clock wanders.

    The clock is a random walk that both share; now and then one of the two is disturbed for a whole round.
    """
    clock = np.exp(np.cumsum(random.normal(0, 0.03, ROUNDS)))[:, None]
    pair = []
    for factor in (1.0, ratio):
        noise = random.lognormal(0, 0.05, (ROUNDS, RUNS))
        disturbed = np.where(random.random((ROUNDS, 1)) < 0.1, 1.5, 1.0)
        pair.append(1e6 * factor * clock * noise * disturbed)
    return pair[0], pair[1]


def verdicts(reported: Reported, ratio: float, trials: int = 60) -> Counter[str]:
    random = np.random.default_rng(0)
    found = (compare(*map(reported, drifting(random, ratio))) for _ in range(trials))
    return Counter(comparison.verdict for comparison in found)


def test_equals_are_never_told_apart_whatever_the_machine_does(reported: Reported) -> None:
    assert verdicts(reported, 1.0) == {"cannot tell": 60}


@pytest.mark.parametrize(("ratio", "verdict"), [(0.9, "faster"), (0.5, "faster"), (1.1, "slower"), (2.0, "slower")])
def test_a_tenth_is_seen(reported: Reported, ratio: float, verdict: str) -> None:
    assert verdicts(reported, ratio)[verdict] >= 57


def test_the_interval_holds_the_truth(reported: Reported) -> None:
    random = np.random.default_rng(1)
    found = [compare(*map(reported, drifting(random, 0.7))) for _ in range(60)]
    assert sum(comparison.low <= 0.7 <= comparison.high for comparison in found) >= 57
    assert all(comparison.low <= comparison.ratio <= comparison.high for comparison in found)


def test_the_same_samples_give_the_same_verdict(reported: Reported) -> None:
    before, after = map(reported, drifting(np.random.default_rng(2), 0.95))
    assert compare(before, after) == compare(before, after)
    assert str(compare(before, before)).startswith("cannot tell: 1.000")


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"device": "a board"}, "device"),
        ({"identity": {"cpu": "another"}}, "cpu"),
        ({"session": "another"}, "session"),
    ],
)
def test_reports_of_different_devices_or_sessions_are_refused(
    reported: Reported, fields: dict[str, object], key: str
) -> None:
    with pytest.raises(InputError, match=rf"latency reports: {key}: expected"):
        compare(reported([[1, 2]]), reported([[1, 2]], **fields))
