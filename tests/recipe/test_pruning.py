"""compress.prune: which keys go together."""

from __future__ import annotations

from typing import Any

import pytest
from edgewright.recipe.pruning import Prune
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "exactly one of flops, parameters and channels"),
        ({"flops": 0.5, "channels": 0.5}, "exactly one of flops, parameters and channels"),
        ({"granularity": "element"}, "exactly one of weights and threshold with granularity element"),
        (
            {"granularity": "element", "flops": 0.5},
            r"exactly one of weights and threshold with granularity element, not flops"
            r" \(that is for granularity channel and block\)",
        ),
        (
            {"weights": 0.5},
            r"exactly one of flops, parameters and channels, not weights \(that is for granularity element\)",
        ),
        ({"granularity": "element", "weights": 0.5, "threshold": 0.1}, "exactly one of weights and threshold"),
    ],
)
def test_exactly_one_amount_and_one_that_fits_what_goes(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Prune.model_validate(keys)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"granularity": "element", "weights": 0.5, "criterion": "l1", "multiple": 8},
            "no criterion and no multiple with granularity element",
        ),
        ({"granularity": "block", "blocks": 2, "scope": "per-layer"}, "no scope with granularity block"),
        ({"granularity": "block", "blocks": 2, "steps": 3}, r"no more steps than blocks \(2\), not 3"),
        ({"granularity": "element", "threshold": 0.1, "steps": 2}, "one step where there is a threshold"),
        ({"flops": 0.5, "regularize": 0.1}, "criterion slimming or group-l2 with regularize, not l2"),
        ({"flops": 0.5, "schedule": "cubic"}, "several steps with schedule cubic"),
        ({"flops": 0.5, "recover_epochs": 1.0}, "several steps, or most_loss, with recover_epochs"),
    ],
)
def test_keys_that_mean_nothing_together_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Prune.model_validate(keys)


@pytest.mark.parametrize(
    "keys",
    [{"flops": 0.5}, {"granularity": "element", "weights": 0.5}, {"granularity": "block", "blocks": 2}],
)
def test_what_was_written_out_with_its_defaults_reads_again(keys: dict[str, Any]) -> None:
    prune = Prune.model_validate(keys)
    assert Prune.model_validate(prune.model_dump()) == prune


def test_the_amount_is_the_one_that_is_given() -> None:
    assert Prune(flops=0.5).amount == (0.5, "flops")
    assert Prune(granularity="block", parameters=0.5).amount == (0.5, "parameters")
    assert Prune(granularity="element", threshold=0.01).amount == (0.01, "threshold")
    assert Prune(flops=0.5, most_loss=1.0, recover_epochs=1.0).most_loss == 1.0


@pytest.mark.parametrize(
    "keys",
    [
        {"flops": 0.0},
        {"flops": 1.0},
        {"parameters": -0.1},
        {"channels": 50},
        {"flops": 0.5, "steps": 0},
        {"flops": 0.5, "criterion": "luck"},
        {"flops": 0.5, "multiple": 0},
        {"flops": 0.5, "recover_epochs": -1.0},
        {"flops": 0.5, "most_loss": -1.0},
        {"granularity": "element", "weights": 1.0},
        {"granularity": "block", "blocks": 0},
        {"granularity": "element", "threshold": 0.0},
    ],
)
def test_values_out_of_range_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Prune.model_validate(keys)
