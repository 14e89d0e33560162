"""compress.quantize: which keys go together."""

from __future__ import annotations

import pytest
from edgewright.recipe.quantization import Calibration, Quantize, SoftLabels, Train
from edgewright.recipe.training import Training
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("keys", "is_static"),
    [
        ({}, True),
        ({"mode": "static"}, True),
        ({"mode": "qat"}, True),
        ({"mode": "dynamic"}, False),
        ({"mode": "weight-only"}, False),
        ({"precision": "float16"}, False),
    ],
)
def test_static_is_what_has_calibrated_ranges(keys: dict[str, str], is_static: bool) -> None:
    assert Quantize.model_validate(keys).is_static is is_static


def test_only_mode_qat_trains_and_it_needs_no_options() -> None:
    assert Quantize().training is None
    assert Quantize(mode="qat").training == Train()
    assert Quantize(mode="qat", train=Train(method="moving-average")).training == Train(method="moving-average")
    assert Train(distill=SoftLabels()).distill == SoftLabels(temperature=4.0, alpha=0.7)


def test_it_trains_as_recover_does_but_more_slowly() -> None:
    assert {**Train().model_dump(include=set(Training.model_fields)), "learning_rate": 1e-3} == Training().model_dump()
    assert Train().learning_rate == 1e-4


@pytest.mark.parametrize("mode", [None, "static", "dynamic", "weight-only"])
def test_training_is_refused_where_nothing_trains(mode: str | None) -> None:
    with pytest.raises(ValidationError, match=r"mode qat where there is compress\.quantize\.train"):
        Quantize.model_validate({"mode": mode, "train": {}})


@pytest.mark.parametrize("mode", [None, "static"])
def test_weights_of_one_bit_have_to_be_trained(mode: str | None) -> None:
    with pytest.raises(ValidationError, match=r"mode qat where weights\.bits is 1"):
        Quantize.model_validate({"mode": mode, "weights": {"bits": 1}})
    assert Quantize.model_validate({"mode": "qat", "weights": {"bits": 1}}).weights.bits == 1


@pytest.mark.parametrize("keys", [{"bits": 12}, {"bits": 16, "symmetric": False}])
def test_activations_have_8_bits_or_16_around_zero(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"8 or 16|with 16 bits"):
        Quantize.model_validate({"activations": keys})


@pytest.mark.parametrize("mode", ["static", "qat", "dynamic"])
def test_float16_is_for_stored_weights_only(mode: str) -> None:
    with pytest.raises(ValidationError, match="mode weight-only, or none, with precision float16"):
        Quantize.model_validate({"precision": "float16", "mode": mode})


@pytest.mark.parametrize(
    "keys",
    [
        {"epochs": 0}, {"learning_rate": 0}, {"freeze_after": 1.5}, {"method": "lsq+"}, {"distill": {"alpha": 0}},
        {"precision": "bfloat16"}, {"processes": 0},
    ],
)  # fmt: skip
def test_options_of_training_out_of_range_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Train.model_validate(keys)


@pytest.mark.parametrize("keys", [{"samples": 0}, {"percentile": 50.0}, {"method": "guess"}])
def test_options_of_calibration_out_of_range_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate(keys)
