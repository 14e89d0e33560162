"""Errors carry every problem and their exit code."""

from __future__ import annotations

from edgewright.ir.errors import EdgewrightError, InputError, PlanError, Problem, StepError


def test_a_problem_names_thing_key_expected_and_found() -> None:
    problem = Problem("board.yaml", "int8.bits", "a number from 2 to 8", "9")
    assert str(problem) == "board.yaml: int8.bits: expected a number from 2 to 8, got 9"
    assert str(Problem("board.yaml", "", "a file", "nothing")) == "board.yaml: expected a file, got nothing"


def test_all_problems_are_in_the_message() -> None:
    error = InputError([Problem("a", "b", "c", "d"), "plain words"])
    assert str(error) == "a: b: expected c, got d\nplain words"
    assert len(error.problems) == 2


def test_exit_codes() -> None:
    assert (EdgewrightError.exit_code, StepError.exit_code, InputError.exit_code, PlanError.exit_code) == (1, 1, 2, 2)
