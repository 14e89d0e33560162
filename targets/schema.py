"""Target: what a device and its runtime can do, as strict data. Absent means unsupported."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

NAME_FORM = "^[a-z0-9][a-z0-9.-]*$"


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class _Sourced(_Part):
    source: str = Field(min_length=8)
    """Where the numbers beside it come from: a datasheet, a document, or a measurement that can be repeated."""


class Isa(_Sourced):
    """The instruction set that the profile's kernels need, in the names of Linux's /proc/cpuinfo.

    `armv7e-m` are microcontrollers, where no Linux runs: they have no flags.
    """

    architecture: Literal["x86_64", "aarch64", "armv7e-m"]
    flags: Names


class Hardware(_Sourced):
    """One machine's own numbers, as `targets probe` writes them; a profile of a class of devices has none."""

    cpu: str
    cores: int = Field(ge=1)
    l1d_kib: int | None = Field(default=None, ge=1)
    l2_kib: int | None = Field(default=None, ge=1)
    l3_kib: int | None = Field(default=None, ge=1)
    memory_mib: int = Field(ge=1)


def _as_pairs(value: Any) -> Any:
    return {key: _as_tuple(item) for key, item in value.items()} if isinstance(value, dict) else value


FixedOutputs = Annotated[dict[str, tuple[float, int]], BeforeValidator(_as_pairs)]


class Int8(_Sourced):
    """How int8 looks on this target and where it goes: the whole of the quantizer's target-specific data."""

    activations: Literal["uint8", "int8", "int16"]
    symmetric_activations: bool
    """Zero point fixed (0 for int8 and int16, 128 for uint8) instead of fitted to the range."""
    weight_bits: int = Field(ge=2, le=8)
    """Weights lie in [-(2^(bits-1)-1), 2^(bits-1)-1]: 8 gives +-127, 7 gives +-63."""
    weight_granularity: Literal["per-channel", "per-tensor"]
    power_of_two: bool = False
    """Scales are powers of two: fixed point, for kernels that rescale by shifting."""
    bias: Literal["int32", "float32"]
    """int32: stored on the grid input_scale * weight_scale, as integer kernels add it."""
    kernels: Names
    """Operators that the runtime computes in int8 (names of torch's ATen operators, without overload)."""
    slower: Names = ()
    """Kernels that take longer in int8 than in float: they compute in int8 only where nothing may stay in float."""
    float_outputs: Names
    """Kernels that can hand out float32 themselves: their output is in int8 only where int8 is wanted."""
    same_scale: Names
    """Operators that only move or select values, so that output and input share one scale."""
    fused_activations: Names
    """Activations that the runtime fuses into the operator before: the quantize node goes after them."""
    fused_into: Names = ()
    """The kernels that take a fused activation; where absent, all."""
    per_tensor_weights: Names = ()
    """Kernels whose weights have one scale, whatever `weight_granularity` says."""
    shared_scale: Names = ()
    """Kernels whose inputs and output all have one scale."""
    fixed_outputs: FixedOutputs = {}
    """Scale and zero point of kernels whose output always has the same, whatever the range of its values."""
    int16_kernels: Names = ()
    """Those of the kernels that also take activations of 16 bits, with a zero point of 0, beside int8 weights."""
    int16_fixed_outputs: FixedOutputs = {}
    """As `fixed_outputs`, of these kernels with 16 bits."""
    decomposed: Names = ()
    """Operators that are taken apart into kernels: lstm, gru, hardsigmoid, scaled_dot_product_attention."""
    integer_only: bool = False
    """An artifact holds no float operator, and inputs and outputs are int8, unless the recipe says otherwise."""
    fused_residuals: Names = ()
    """Sums that the kernel before takes in: its own value stays as it is, the other operand is read in int8."""
    least_features: int = Field(default=1, ge=1)
    """Matrix products (linear) with fewer inputs or outputs stay in float."""
    least_point_inputs: int = Field(default=1, ge=1)
    """Convolutions of a single position by a kernel of one, not grouped, with fewer input channels stay in float."""
    float_parts: Literal["float32", "float16"] = "float32"
    """What the runtime computes in between the int8 kernels."""


class StoredWeights(_Sourced):
    """Layers whose weights are stored in fewer bits, under activations that are float outside of the layers."""

    kernels: Names
    """Layers that take such weights (names of torch's ATen operators, without overload)."""
    weight_bits: int = Field(default=8, ge=2, le=8)
    """Weights lie in [-(2^(bits-1)-1), 2^(bits-1)-1]."""
    weight_granularity: Literal["per-channel", "per-tensor"]
    per_tensor_weights: Names = ()
    """Layers whose weights have one scale, whatever `weight_granularity` says."""


class Groups(_Sourced):
    """Matrix products whose weights of four bits have a scale for each group of neighbouring inputs."""

    kernels: Names
    """Layers that take such weights (names of torch's ATen operators, without overload)."""
    sizes: Annotated[tuple[int, ...], BeforeValidator(_as_tuple)]
    """How many inputs a group may have."""


class Float16(_Sourced):
    """Weights are stored in float16."""

    computed_in: Literal["float32", "float16"]
    """What the runtime computes in with them."""


class Quantization(_Part):
    """The quantization modes of the target; a mode that is absent is not supported."""

    int8_static: Int8 | None = None
    int8_dynamic: StoredWeights | None = None
    """Layers with int8 weights quantize their inputs while they run."""
    int8_weight_only: StoredWeights | None = None
    """Int8 weights are computed with as floats."""
    int4_groups: Groups | None = None
    """Weights of four bits, in groups, are computed with as floats."""
    float16: Float16 | None = None


class Pruning(_Sourced):
    """What makes pruned channels pay."""

    channel_multiple: int = Field(ge=1)
    skips_zeros: bool = False
    """Whether the runtime's kernels skip single weights that are zero, in the files that are emitted for it."""


class Micro(_Sourced):
    """A microcontroller's own limits: what its interpreter was built with, and what memory there is for it."""

    operators: Names
    """TensorFlow Lite's operators that the interpreter has, in the names of its schema (CONV_2D)."""
    arena_kib: int = Field(ge=1)
    """Memory for the interpreter's tensors."""
    flash_kib: int = Field(ge=1)
    """Memory for the model's file."""


class Delegate(_Sourced):
    """An accelerator that takes over part of a graph; only what it would not take can be told ahead."""

    int8: bool
    """Whether it computes in int8; otherwise it computes an int8 graph in float."""
    operators: Names
    """TensorFlow Lite's operators that it takes, in the names of its schema (CONV_2D)."""


class Gpu(_Sourced):
    """An NVIDIA GPU, and the line of TensorRT that builds its engines."""

    compute_capability: str = Field(pattern="^[0-9]+[.][0-9]$")
    runtime_line: Literal["tensorrt-10", "tensorrt-rtx"]
    precisions: Names
    """What the runtime computes in there: fp32, tf32, fp16, bf16, int8, fp8."""
    sparsity_2_4: bool
    """Whether tensor cores skip the zeros of weights of which two in four are zero."""
    latest_opset: int = Field(ge=13)
    """The newest ONNX operator set that the runtime's parser knows."""


class Target(_Part):
    """One device profile. See docs/writing-a-target.md for every key."""

    name: str = Field(pattern=NAME_FORM)
    summary: str
    runtime: Literal["onnxruntime", "tflite", "tensorrt"]
    isa: Isa
    threads: int = Field(default=1, ge=1)
    hardware: Hardware | None = None
    quantization: Quantization = Quantization()
    pruning: Pruning | None = None
    micro: Micro | None = None
    gpu: Gpu | None = None
    delegates: dict[str, Delegate] = {}
