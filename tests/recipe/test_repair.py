"""compress.quantize.repair and mixed: what may be said, and what does not fit."""

from __future__ import annotations

import pytest
from edgewright.recipe.quantization import Quantize
from edgewright.recipe.repair import EVERY
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("said", "meant"),
    [("auto", EVERY), ("smooth", ("smooth",)), (["correct-bias", "equalize"], ("correct-bias", "equalize"))],
)
def test_repairs_are_named_alone_or_together(said: object, meant: tuple[str, ...]) -> None:
    assert Quantize.model_validate({"repair": said}).repair == meant


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"repair": "everything"}, "equalize"),
        ({"mode": "dynamic", "repair": "auto"}, "mode static or qat where there is repair"),
        ({"mode": "weight-only", "weights": {"bits": 5}}, "no runtime stores 5"),
        ({"mode": "weight-only", "weights": {"group": 32}}, "weights.bits 4 where there is weights.group"),
        ({"weights": {"bits": 4, "group": 32}}, "mode weight-only where there is weights.group"),
        ({"mode": "dynamic", "weights": {"bits": 4}}, "mode static or qat where there is weights"),
        ({"mode": "qat", "repair": "auto"}, "no repair correct-bias"),
        ({"mode": "qat", "mixed": {"drop_points": 1}}, "mode static where there is mixed"),
        ({"mixed": {}}, "drop_points"),
        ({"mixed": {"drop_points": -1}}, "greater than 0"),
        ({"mixed": {"drop_points": 1, "most_layers": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_fit_is_refused(said: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Quantize.model_validate(said)


@pytest.mark.parametrize(
    "said",
    [
        {"mode": "dynamic"},
        {"mode": "weight-only", "weights": {"bits": 4, "group": 32}},
        {"precision": "float16"},
        {"mode": "qat"},
        {"repair": "auto", "mixed": {"drop_points": 1}, "rounding": "adaround"},
    ],
)
def test_what_a_build_remembers_of_it_can_be_read_again(said: dict[str, object]) -> None:
    """A record names every key, those too that the recipe left as they were."""
    asked = Quantize.model_validate(said)
    assert Quantize.model_validate(asked.model_dump(mode="json", exclude_none=True)) == asked
