"""The rules that a profile gives."""

from __future__ import annotations

from edgewright.quantization.rules import FixedGrid, Rules
from edgewright.targets import load_target


def test_a_profile_gives_its_rules() -> None:
    int8 = load_target("arm64-cortex-a72").quantization.int8_static
    assert int8 is not None
    rules = Rules.of(int8)
    assert rules.kernels == int8.kernels
    assert rules.shared_scale == ("cat",)
    assert rules.integer_only
    assert rules.fixed("softmax") == FixedGrid("softmax", *int8.fixed_outputs["softmax"])
    assert rules.fixed("conv2d") is None


def test_kernels_slower_than_float_are_none_where_operators_may_stay_float() -> None:
    int8 = load_target("arm64-cortex-a72").quantization.int8_static
    assert int8 is not None
    assert set(int8.slower) == {"matmul", "bmm"}
    assert set(Rules.of(int8).kernels) - set(Rules.of(int8, allow_float=True).kernels) == {"matmul", "bmm"}


def test_what_a_profile_leaves_out_is_no_rule() -> None:
    int8 = load_target("x86-avx2").quantization.int8_static
    assert int8 is not None
    rules = Rules.of(int8)
    assert (rules.shared_scale, rules.fixed_outputs, rules.fused_into, rules.integer_only) == ((), (), (), False)


def test_a_gpu_fuses_residuals_and_leaves_small_products() -> None:
    int8 = load_target("nvidia-t4").quantization.int8_static
    assert int8 is not None
    rules = Rules.of(int8)
    assert (rules.fused_residuals, rules.least_features, rules.least_point_inputs) == (("add",), 16, 5)
