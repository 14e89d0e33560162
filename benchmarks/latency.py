"""How long one inference takes: raw samples of several artifacts, taken in turns on one device."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..ir.progress import Progress, Silent

if TYPE_CHECKING:
    from ..runtimes.contract import Runner, WarmUp

BEYOND = 10
"""How many samples must lie beyond a percentile for it to be given: p95 needs 200 samples, p99 needs 1000."""
ROUNDS, FEWEST_ROUNDS = 30, 8
MOST_RUNS = 100
SECONDS = 20.0
"""About how long one artifact is timed for, at most; what is fast needs much less."""
SETTLE_SECONDS = 0.1
"""How long an artifact may run before each of its turns, so that its weights are back in the caches."""
Block = tuple[tuple[int, ...], tuple[int, ...]]
"""Nanoseconds of the inferences of one round, and of the engine alone in them where that was taken."""


@dataclass(frozen=True)
class LatencyReport:
    """Raw nanoseconds of single inferences, round by round, and what ran them.

    Reports with the same `session` were taken in turns, so that what disturbed one disturbed the other. `meaning`
    says what one sample spans. `engine_rounds_ns` are the same inferences without the copies, by the device's own
    clock; empty where nobody asked.
    """

    rounds_ns: tuple[tuple[int, ...], ...]
    warm_up_runs: int
    is_steady: bool
    meaning: str
    device: str
    identity: Mapping[str, Any]
    session: str
    load_ns: int
    first_inference_ns: int
    peak_rss_bytes: int | None
    rss_before_load_bytes: int | None
    engine_rounds_ns: tuple[tuple[int, ...], ...] = ()

    @property
    def samples_ns(self) -> tuple[int, ...]:
        """All samples, in the order in which they were taken."""
        return tuple(sample for block in self.rounds_ns for sample in block)

    @property
    def p50_ns(self) -> int:
        """The median."""
        return _quantile(sorted(self.samples_ns), 0.5)

    @property
    def engine_p50_ns(self) -> int | None:
        """The median of the engine alone; None where that was not taken."""
        samples = sorted(sample for block in self.engine_rounds_ns for sample in block)
        return _quantile(samples, 0.5) if samples else None

    def percentile_ns(self, percent: float) -> int | None:
        """The latency that `percent` of the samples don't exceed; None where too few lie beyond it."""
        ordered = sorted(self.samples_ns)
        if len(ordered) * (1 - percent / 100) < BEYOND * (1 - 1e-9):
            return None
        return _quantile(ordered, percent / 100)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LatencyReport:
        """The report that `to_json` wrote."""
        keys = ("rounds_ns", "engine_rounds_ns")
        rounds = {key: tuple(tuple(block) for block in document.get(key, ())) for key in keys}
        return cls(**{**document, **rounds})


@dataclass(frozen=True)
class Schedule:
    """How many rounds there are, and how many runs each artifact has in each."""

    rounds: int
    runs: int


def schedule(slowest_ns: float, seconds: float = SECONDS) -> Schedule:
    """Enough samples for p99 where `seconds` allow it, fewer for what is slow, and never less than one a round."""
    affordable = seconds * 1e9 / max(slowest_ns, 1.0)
    if affordable < ROUNDS:
        return Schedule(max(FEWEST_ROUNDS, math.floor(affordable)), 1)
    return Schedule(ROUNDS, min(MOST_RUNS, math.ceil(affordable / ROUNDS)))


def measure(
    runners: Mapping[str, Runner],
    device: str,
    rounds: int | None = None,
    runs_per_round: int | None = None,
    progress: Progress | None = None,
    has_events: bool = False,
) -> dict[str, LatencyReport]:
    """A report for each runner, all taken in turns (A B, B A, A B, ...) after each had become steady.

    `has_events`: the runners were loaded with the option events, and their engines alone are timed too.

    Where rounds and runs are not given they follow from the slowest runner, so that the whole stays within about
    `SECONDS` for each.
    """
    warm = {name: runner.warm_up() for name, runner in runners.items()}
    planned = schedule(max(state.median_ns for state in warm.values()))
    rounds = planned.rounds if rounds is None else rounds
    runs = planned.runs if runs_per_round is None else runs_per_round
    samples: dict[str, list[Block]] = {name: [] for name in runners}
    with (progress or Silent()).task("latency", rounds) as advance:
        for number in range(rounds):
            for name in _turn(tuple(runners), number):
                if len(runners) > 1:
                    runners[name].warm_up(SETTLE_SECONDS)
                samples[name].append(_block(runners[name], runs, has_events))
            advance(1, "")
    session = uuid.uuid4().hex
    return {name: _report(runner, samples[name], warm[name], device, session) for name, runner in runners.items()}


def _turn(names: Sequence[str], number: int) -> Sequence[str]:
    """Every second round goes backwards, so that nobody always comes first."""
    return names if number % 2 == 0 else names[::-1]


def _block(runner: Runner, runs: int, has_events: bool) -> Block:
    if not has_events:
        return tuple(runner.time(runs)), ()
    found = runner.profile(runs)
    return found.samples_ns, found.operators[0].samples_ns


def _report(runner: Runner, blocks: Sequence[Block], warm: WarmUp, device: str, session: str) -> LatencyReport:
    return LatencyReport(
        rounds_ns=tuple(block for block, _ in blocks),
        warm_up_runs=warm.runs,
        is_steady=warm.steady,
        meaning=runner.timed,
        device=device,
        identity=runner.identity(),
        session=session,
        load_ns=runner.load_ns,
        first_inference_ns=runner.first_inference_ns,
        peak_rss_bytes=runner.peak_rss_bytes,
        rss_before_load_bytes=runner.rss_before_load_bytes,
        engine_rounds_ns=tuple(engine for _, engine in blocks if engine),
    )


def _quantile(ordered: Sequence[int], share: float) -> int:
    """The smallest sample that at least `share` of all samples don't exceed (the nearest-rank definition)."""
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]
