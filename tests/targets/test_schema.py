"""The shipped profiles say what is true of their devices; the form of a profile itself: test_loading.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.targets import Target, builtin_names, load_target

EVERY = [load_target(name, Path("/")) for name in builtin_names()]


@pytest.mark.parametrize("name", builtin_names())
def test_every_shipped_profile_loads_and_is_called_like_its_file(name: str) -> None:
    target = load_target(name, Path("/"))
    assert target.name == name
    assert target.isa.flags or target.micro is not None
    assert target.quantization.int8_static is not None


@pytest.mark.parametrize("target", [each for each in EVERY if each.runtime == "onnxruntime"], ids=str)
def test_weights_get_seven_bits_exactly_where_products_saturate(target: Target) -> None:
    """VPMADDUBSW saturates at int16; VPDPBUSD (VNNI) does not."""
    int8 = target.quantization.int8_static
    assert int8 is not None
    has_vnni = any("vnni" in flag for flag in target.isa.flags)
    assert 2 * 255 * (2 ** (int8.weight_bits - 1) - 1) <= 2**15 - 1 or has_vnni
    assert int8.weight_bits == (8 if has_vnni else 7)


@pytest.mark.parametrize("target", [each for each in EVERY if each.runtime == "tflite"], ids=str)
def test_tflite_targets_keep_the_published_quantization_specification(target: Target) -> None:
    """https://ai.google.dev/edge/litert/models/quantization_spec"""
    int8 = target.quantization.int8_static
    assert int8 is not None
    assert (int8.activations, int8.symmetric_activations, int8.bias) == ("int8", False, "int32")
    assert (int8.weight_bits, int8.weight_granularity) == (8, "per-channel")
    fixed = {name: (1 / scale, zero_point) for name, (scale, zero_point) in int8.fixed_outputs.items()}
    assert fixed == {"sigmoid": (256, -128), "softmax": (256, -128), "tanh": (128, 0)}
    assert int8.integer_only


def test_what_a_profile_says_of_itself_hangs_together() -> None:
    for target in EVERY:
        int8 = target.quantization.int8_static
        assert int8 is not None
        assert {*int8.shared_scale, *int8.fixed_outputs} <= set(int8.kernels)
        assert not set(int8.kernels) & set(int8.same_scale)
