"""compress.share_weights: how many values, and which keys go together."""

from __future__ import annotations

import pytest
from edgewright.recipe.schema import Compress
from edgewright.recipe.sharing import ShareWeights, Train
from edgewright.recipe.training import Training
from pydantic import ValidationError


def test_nothing_has_to_be_said() -> None:
    asked = Compress.model_validate({"share_weights": {}}).share_weights
    assert asked == ShareWeights(clusters=256, method="k-means", start="linear", train=None)


def test_it_trains_as_recover_does() -> None:
    assert Train().model_dump(include=set(Training.model_fields)) == Training().model_dump()
    assert Train().distill is None


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"clusters": 1}, "greater than or equal to 2"),
        ({"clusters": 65537}, "less than or equal to 65536"),
        ({"clusters": 8.0}, "valid integer"),
        ({"clusters": True}, "valid integer"),
        ({"clusters_linear": 0}, "greater than or equal to 2"),
        ({"method": "kmeans"}, "'k-means', 'logarithmic', 'hash' or 'piecewise-linear'"),
        ({"method": "logarithmic", "clusters": 2}, "clusters of 3 and more with method logarithmic, not 2"),
        (
            {"method": "piecewise-linear", "clusters": 16, "clusters_linear": 7},
            "clusters_linear of 8 and more with method piecewise-linear, not 7",
        ),
        ({"method": "hash", "train": {}, "start": "random"}, "no start with method hash: k-means alone has one"),
        ({"method": "hash"}, "train with method hash"),
        ({"train": {"epochs": 0}}, "greater than or equal to 1"),
        ({"bits": 4}, "Extra inputs are not permitted"),
    ],
)
def test_what_does_not_go_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ShareWeights.model_validate(keys)
