"""compress.recover: every option of a training run, with its bounds."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from edgewright.recipe.training import Recover, Training
from edgewright.training.schedule import TrainingOptions
from pydantic import ValidationError


def test_a_recipe_says_all_that_a_run_can_be_told_with_the_same_defaults() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(TrainingOptions)}
    given = Training().model_dump()
    assert given.keys() == defaults.keys()
    assert {**given, "epochs": None} == {**defaults, "epochs": None}
    assert TrainingOptions(**Recover().model_dump()) == TrainingOptions(2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0), ("optimizer", "adam"), ("learning_rate", 0.0), ("weight_decay", -1.0), ("batch_size", 0),
        ("warmup", 1.0), ("patience", 0), ("schedule", "step"), ("average", 1.0), ("parts", 0), ("minutes", 0.0),
        ("precision", "float64"), ("processes", 0),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=key):
        Recover(**{key: value})
