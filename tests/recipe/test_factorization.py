"""compress.factorize: which keys go together."""

from __future__ import annotations

from typing import Any

import pytest
from edgewright.recipe.factorization import Factorize
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "exactly one of energy, ratio and rank, not none"),
        ({"energy": 0.9, "rank": 8}, "exactly one of energy, ratio and rank, not energy and rank"),
        ({"energy": 0.9, "ratio": 0.5}, "exactly one of energy, ratio and rank, not energy and ratio"),
        ({"energy": 0.9, "least_energy": 0.5}, "rank measured with least_energy"),
        ({"rank": "measured", "only_if_faster": False}, "only_if_faster true with rank measured"),
    ],
)
def test_keys_that_mean_nothing_together_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Factorize.model_validate(keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"energy": 0.0},
        {"energy": 1.0},
        {"ratio": 1.5},
        {"ratio": -0.5},
        {"rank": 0},
        {"rank": -8},
        {"rank": 2.5},
        {"rank": "fastest"},
        {"rank": "measured", "least_energy": 1.0},
        {"energy": 0.9, "method": "qr"},
        {"energy": 0.9, "ranks": 8},
    ],
)
def test_values_out_of_range_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Factorize.model_validate(keys)


@pytest.mark.parametrize(
    ("keys", "amount"),
    [
        ({"energy": 0.95}, (0.95, "energy")),
        ({"ratio": 0.5}, (0.5, "ratio")),
        ({"rank": 8}, (8.0, "rank")),
        ({"rank": "measured"}, (0.9, "measured")),
        ({"rank": "measured", "least_energy": 0.8}, (0.8, "measured")),
    ],
)
def test_the_amount_is_the_one_that_is_given(keys: dict[str, Any], amount: tuple[float, str]) -> None:
    asked = Factorize.model_validate(keys)
    assert asked.amount == amount
    assert Factorize.model_validate(asked.model_dump()) == asked
