"""compress.prune: which keys go together."""

from __future__ import annotations

from typing import Any

import pytest
from edgewright.recipe.pruning import Prune
from pydantic import ValidationError


@pytest.mark.parametrize("keys", [{}, {"flops": 0.5, "channels": 0.5}])
def test_exactly_one_amount(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="exactly one of flops, parameters and channels"):
        Prune.model_validate(keys)


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
    ],
)
def test_values_out_of_range_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Prune.model_validate(keys)
