"""What can go wrong, as types: each knows its exit code and names thing, expected, found and who can act."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong in what a person wrote, in a form that says how to mend it."""

    where: str
    key: str
    expected: str
    found: str

    def __str__(self) -> str:
        location = f"{self.where}: {self.key}" if self.key else self.where
        return f"{location}: expected {self.expected}, got {self.found}"


class EdgewrightError(Exception):
    """The root of every error that edgewright raises on purpose; the command line prints it without a traceback."""

    exit_code = 1


class StepError(EdgewrightError):
    """A step of a build failed although its input was right."""


class InputError(EdgewrightError):
    """The input is wrong: a recipe, a profile, a model, its weights or its data. Carries every problem found."""

    exit_code = 2

    def __init__(self, problems: Problem | str | Iterable[Problem | str]) -> None:
        if isinstance(problems, Problem | str):
            problems = (problems,)
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PlanError(InputError):
    """What the recipe asks for cannot be put in an order that this target allows."""
