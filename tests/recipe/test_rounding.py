"""compress.quantize.rounding: a word or options, and what does not go together."""

from __future__ import annotations

from typing import Any

import pytest
from edgewright.recipe.quantization import Quantize
from edgewright.recipe.schema import Compress
from pydantic import ValidationError


def test_nearest_is_what_happens_where_nothing_is_said() -> None:
    assert Quantize().rounding.method == "nearest"


def test_a_word_alone_names_the_method() -> None:
    assert Quantize.model_validate({"rounding": "adaround"}) == Quantize.model_validate({"rounding": {}})


@pytest.mark.parametrize(
    ("quantize", "expected"),
    [
        ({"rounding": {"method": "nearest", "iterations": 5}}, "method adaround where there is iterations"),
        ({"rounding": "adaround", "mode": "qat"}, "rounding nearest in mode qat"),
        ({"rounding": "adaround", "mode": "dynamic"}, "mode static or qat where there is rounding"),
        ({"rounding": {"iterations": 0}}, "greater than or equal to 1"),
        ({"rounding": "up"}, "'nearest' or 'adaround'"),
        ({"weights": {"bits": 1}}, "mode qat where weights.bits is 1"),
        ({"weights": {"bits": 9}}, "less than or equal to 8"),
        ({"scales": "power-of-two", "mode": "qat"}, "scales any in mode qat"),
        ({"weights": {"bits": 4}, "precision": "float16"}, "precision int8"),
    ],
)
def test_what_does_not_go_together_is_refused(quantize: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        Quantize.model_validate(quantize)


def test_shared_weights_are_not_taken_apart() -> None:
    with pytest.raises(ValidationError, match=r"one of share_weights and quantize\.rounding"):
        Compress.model_validate({"share_weights": {}, "quantize": {"rounding": "adaround"}})
