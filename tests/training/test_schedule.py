"""Schedules: segments that fill the run and never cross an epoch, rates that rise and fall."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import torch
from edgewright.training.schedule import SEGMENT_STEPS, Schedule, TrainingOptions, options_of, pieces
from hypothesis import given
from hypothesis import strategies as st

schedules = st.builds(
    lambda samples, **options: Schedule(samples, TrainingOptions(**options)),
    samples=st.integers(1, 2000),
    epochs=st.floats(0.01, 4),
    batch_size=st.integers(1, 300),
    warmup=st.floats(0, 0.99),
    learning_rate=st.floats(1e-6, 10),
)


def segments(schedule: Schedule) -> list[tuple[int, int]]:
    """First step and end of each segment."""
    found = [(0, schedule.segment_end(0))]
    while found[-1][1] < schedule.steps:
        found.append((found[-1][1], schedule.segment_end(found[-1][1])))
    return found


@given(schedules)
def test_segments_fill_the_run_and_stay_within_an_epoch(schedule: Schedule) -> None:
    found = segments(schedule)
    assert found[-1][1] == schedule.steps
    for first, end in found:
        assert 0 < end - first <= SEGMENT_STEPS
        assert first // schedule.steps_per_epoch == (end - 1) // schedule.steps_per_epoch


@given(schedules)
def test_weights_are_judged_once_an_epoch_and_at_the_end(schedule: Schedule) -> None:
    judged = [end for _, end in segments(schedule) if schedule.ends_epoch(end)]
    epochs = range(schedule.steps_per_epoch, schedule.steps + 1, schedule.steps_per_epoch)
    assert judged == sorted({*epochs, schedule.steps})


@given(schedules)
def test_no_step_of_an_epoch_has_one_sample_unless_all_have(schedule: Schedule) -> None:
    """Batch norm can't take a variance from one sample."""
    last = min(schedule.samples - (schedule.steps_per_epoch - 1) * schedule.batch_size, schedule.batch_size)
    assert last > 1 or schedule.batch_size == 1
    left_out = schedule.samples - ((schedule.steps_per_epoch - 1) * schedule.batch_size + last)
    assert left_out in (0, 1)


@given(schedules)
def test_the_rate_rises_once_and_falls_once(schedule: Schedule) -> None:
    rates = [schedule.learning_rate(step) for step in range(schedule.steps)]
    highest = rates.index(max(rates))
    assert all(0 < rate <= schedule.options.learning_rate for rate in rates)
    assert all(before < after for before, after in itertools.pairwise(rates[: highest + 1]))
    assert all(before > after for before, after in itertools.pairwise(rates[highest:]))


def test_the_rate_is_a_warm_up_and_half_a_cosine() -> None:
    schedule = Schedule(100, TrainingOptions(epochs=10, batch_size=10, warmup=0.2, learning_rate=1.0))
    assert schedule.steps == 100
    assert schedule.learning_rate(0) == pytest.approx(1 / 21)
    assert schedule.learning_rate(20) == 1.0
    assert schedule.learning_rate(60) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("samples", "batch_size", "epochs", "steps"),
    [(100, 64, 1, 2), (129, 64, 1, 2), (130, 64, 1, 3), (5, 64, 3, 3), (100, 10, 0.5, 5), (100, 10, 0.001, 1)],
)
def test_steps_of_runs_that_do_not_divide(samples: int, batch_size: int, epochs: float, steps: int) -> None:
    assert Schedule(samples, TrainingOptions(epochs, batch_size=batch_size)).steps == steps


def rates(schedule: Schedule) -> list[float]:
    return [schedule.learning_rate(step) for step in range(schedule.steps)]


@pytest.mark.parametrize(("steps", "warmup"), [(40, 0.3), (17, 0.25), (5, 0.5), (100, 0.05)])
def test_one_cycle_is_torchs(steps: int, warmup: float) -> None:
    options = TrainingOptions(1, learning_rate=0.1, batch_size=2, warmup=warmup, schedule="one-cycle")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, steps, pct_start=warmup, cycle_momentum=False)
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step() if len(expected) < steps else None
    assert rates(Schedule(2 * steps, options)) == pytest.approx(expected)


def test_one_cycle_without_a_warm_up_and_of_one_step_has_finite_rates() -> None:
    for epochs in (1.0, 0.001):
        found = rates(Schedule(100, TrainingOptions(epochs, batch_size=10, warmup=0.0, schedule="one-cycle")))
        assert all(0 < rate <= 1e-3 for rate in found)
    assert found == [1e-3]


def test_a_constant_rate_stays_after_its_warm_up() -> None:
    options = TrainingOptions(1, batch_size=10, warmup=0.2, learning_rate=1.0, schedule="constant")
    assert rates(Schedule(100, options)) == pytest.approx([1 / 3, 2 / 3, *[1.0] * 8])


@dataclass(frozen=True)
class Wider(TrainingOptions):
    """Options with a field more, as passes have them."""

    more: int = 0


def test_the_options_of_a_pass_are_its_own_without_the_rest() -> None:
    found = options_of(Wider(3, "sgd", minutes=2.0, more=7))
    assert type(found) is TrainingOptions
    assert found == TrainingOptions(3, "sgd", minutes=2.0)


@pytest.mark.parametrize(
    ("count", "parts", "sizes"), [(9, 2, [4, 5]), (3, 4, [3]), (1, 4, [1]), (8, 4, [2] * 4), (7, 9, [2, 2, 3])]
)
def test_no_part_of_a_step_has_one_sample(count: int, parts: int, sizes: list[int]) -> None:
    assert [piece.stop - piece.start for piece in pieces(count, parts)] == sizes
