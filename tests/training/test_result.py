"""What the history says of a run."""

from __future__ import annotations

from edgewright.training.result import TrainingResult


def test_a_run_that_ended_as_planned_is_one_line() -> None:
    lines = TrainingResult(1.25, 0.5, 3, 3, False).lines()
    assert lines == ("3 epochs; loss on held-out training samples 1.2500 before, 0.5000 after",)


def test_every_other_end_is_said() -> None:
    lines = TrainingResult(1.25, 0.5, 2.5, 1, True, True).lines()
    assert lines[1:] == (
        "kept the weights after epoch 1: later ones did no better on them",
        "stopped early: patience ran out",
        "stopped when its minutes were over",
    )
