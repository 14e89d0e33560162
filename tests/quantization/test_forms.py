"""What a recipe may want of a target's integers, and what the target's kernels have to say to it."""

from __future__ import annotations

from typing import Any

import pytest
from edgewright.quantization.forms import narrowed, remark, why_not
from edgewright.recipe.quantization import Quantize
from edgewright.targets import load_target
from edgewright.targets.schema import Int8


def int8_of(name: str) -> Int8:
    found = load_target(name).quantization.int8_static
    assert found is not None
    return found


def asked(**keys: Any) -> Quantize:
    return Quantize.model_validate(keys)


def test_a_recipe_that_wants_nothing_gets_what_the_target_has() -> None:
    int8 = int8_of("x86-avx2")
    assert narrowed(int8, asked()) == int8
    assert why_not(int8, asked()) == ""


def test_a_recipe_narrows_the_target_s_integers() -> None:
    wanted = asked(
        weights={"bits": 4, "granularity": "per-tensor"}, activations={"symmetric": True}, scales="power-of-two"
    )
    int8 = int8_of("x86-avx2")
    found = narrowed(int8, wanted)
    assert (found.weight_bits, found.weight_granularity) == (4, "per-tensor")
    assert (found.symmetric_activations, found.power_of_two) == (True, True)
    assert found.kernels == int8.kernels
    assert why_not(int8, wanted) == ""


@pytest.mark.parametrize(
    ("target", "keys", "reason"),
    [
        ("x86-avx2", {"weights": {"bits": 8}}, "weights of at most 7 bits without overflowing, not 8"),
        ("nvidia-t4", {"activations": {"symmetric": False}}, "zero point is fixed"),
        ("x86-avx512-vnni", {"activations": {"bits": 16}}, "no kernels for activations of 16 bits"),
        ("arm-cortex-m", {"activations": {"bits": 16}}, "no kernels for activations of 16 bits"),
    ],
)
def test_what_the_kernels_can_t_do_has_a_reason(target: str, keys: dict[str, Any], reason: str) -> None:
    assert reason in why_not(int8_of(target), asked(**keys))


def test_one_scale_is_all_that_some_kernels_take() -> None:
    int8 = int8_of("x86-avx2").model_copy(update={"weight_granularity": "per-tensor"})
    assert "one scale for each weight tensor" in why_not(int8, asked(weights={"granularity": "per-channel"}))


def test_activations_of_16_bits_have_kernels_of_their_own() -> None:
    int8 = int8_of("arm64-cortex-a72")
    wanted = asked(activations={"bits": 16})
    found = narrowed(int8, wanted)
    assert (found.activations, found.symmetric_activations, found.weight_bits) == ("int16", True, 8)
    assert found.kernels == int8.int16_kernels
    assert set(found.kernels) < set(int8.kernels)
    assert found.fixed_outputs == dict.fromkeys(("sigmoid", "softmax", "tanh"), (2.0**-15, 0))
    assert why_not(int8, wanted) == ""


def test_few_bits_are_said_to_gain_nothing_but_compression() -> None:
    int8 = int8_of("x86-avx2")
    assert remark(int8, 7, "uint8") == ""
    assert remark(int8, 4, "uint8").startswith("weights of 4 bits lie in int8")
    assert remark(int8, 2, "uint8").startswith("an experiment: ")
    assert remark(int8, 7, "int16").startswith("activations are int16: ")
