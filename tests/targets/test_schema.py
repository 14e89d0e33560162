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
    assert target.isa.flags or target.micro is not None or target.gpu is not None
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


@pytest.mark.parametrize("target", [each for each in EVERY if each.runtime == "tensorrt"], ids=lambda each: each.name)
def test_tensorrt_targets_are_symmetric_and_keep_their_biases_float(target: Target) -> None:
    """https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html"""
    int8, gpu = target.quantization.int8_static, target.gpu
    assert int8 is not None
    assert gpu is not None
    assert (int8.activations, int8.symmetric_activations, int8.bias) == ("int8", True, "float32")
    assert (int8.weight_bits, int8.weight_granularity) == (8, "per-channel")
    assert set(int8.float_outputs) == set(int8.kernels)
    assert {"fp32", "fp16", "int8"} <= set(gpu.precisions) <= {"fp32", "tf32", "fp16", "bf16", "int8", "fp8"}


def test_tensor_cores_have_what_their_generation_brought() -> None:
    """TF32, BF16 and 2:4 sparsity came with Ampere (8.0), FP8 with Ada (8.9)."""
    gpus = [target.gpu for target in EVERY if target.gpu is not None]
    assert len(gpus) == len({gpu.compute_capability for gpu in gpus}) == 6
    for gpu in gpus:
        capability = float(gpu.compute_capability)
        assert gpu.sparsity_2_4 == ("bf16" in gpu.precisions) == ("tf32" in gpu.precisions) == (capability >= 8.0)
        assert ("fp8" in gpu.precisions) == (capability >= 8.9)


def test_the_runtime_of_a_gpu_is_tensorrt_and_of_tensorrt_a_gpu() -> None:
    assert all((target.gpu is not None) == (target.runtime == "tensorrt") for target in EVERY)


def test_what_a_profile_says_of_itself_hangs_together() -> None:
    for target in EVERY:
        int8 = target.quantization.int8_static
        assert int8 is not None
        assert {*int8.shared_scale, *int8.fixed_outputs} <= set(int8.kernels)
        assert not set(int8.kernels) & set(int8.same_scale)
        assert not set(int8.kernels) & set(int8.fused_residuals)
