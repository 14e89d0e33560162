"""How much memory TensorFlow Lite Micro needs to run a file: an estimate from the lifetimes of its tensors.

The arena holds two things (tensorflow/lite/micro/docs/memory_management.md and micro_allocator.cc of
https://github.com/tensorflow/tflite-micro at 90b983c2). Values and scratch live as long as an operator uses them, and
share memory as GreedyMemoryPlanner places them: the largest first, each into the first gap between those that live at
the same time, in steps of 16 bytes. What describes tensors and operators stays. Before values are there, what kernels
and planner note to prepare takes their place, so the arena must hold the larger of the two.

Checked against the interpreter that the package tflite-micro brings (x86-64, reference kernels): the plan is equal to
the byte, and the smallest arena that it runs in is LEAST_SHARE or more of the estimate, never more than it. On a
Cortex-M pointers are half as large, so that what stays is smaller; scratch of CMSIS-NN's kernels, which run there, is
added by its own formulas (https://github.com/ARM-software/CMSIS-NN, *_get_buffer_sizes_s8.c, for the DSP extension).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...ir.errors import StepError
from .file import read
from .graph import Model, Operator, Tensor, inputs, operators, outputs, tensors

LEAST_SHARE = 0.85
"""Seen: 0.87 for a chain of twenty operators on 16 bytes, 0.90 for a single convolution, and 0.985 to 0.999 for MLPerf
Tiny's image, keyword and anomaly networks, in int8 and in float."""
ALIGNMENT = 16
"""Bytes (micro_arena_constants.h)."""
_TENSOR, _OPERATOR, _BOUNDARY = 24, 64, 96
"""Bytes of TfLiteEvalTensor, of NodeAndRegistration, and of an input's or output's TfLiteTensor, all on x86-64."""
_INTERPRETER, _KERNEL, _LARGE_KERNEL = 544, 64, 112
"""Bytes of the allocators, and of an operator's parameters and its kernel's data: rounded up from what was recorded."""
_CHANNEL = 8
"""Bytes of the multiplier and the shift that kernels with one scale for each output channel keep of it."""
_INFO, _PLANNED, _REQUEST, _HANDLE = 32, 40, 16, 8
"""Bytes of AllocationInfo, of what the planner keeps of a buffer, and of a request for scratch before and after."""
_SEEN, _SEEN_CHANNEL = 96, 4
"""Bytes of a tensor as a kernel sees it while it prepares, and of each of its scales."""
_REQUESTS_AT_ONCE = 12
"""For how many requests of the next operator there must be room (kMaxScratchBuffersPerOp)."""
_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"})
_LARGE = _WEIGHTED | {"ADD", "SUB", "MUL", "BATCH_MATMUL"}
_CONTROL = frozenset({"IF", "WHILE", "CALL_ONCE", "CALL"})

Kernels = Literal["cmsis-nn", "reference"]


@dataclass(frozen=True)
class Buffer:
    """Memory that is needed from one operator to another, both included; 0 is before the first operator."""

    bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Arena:
    """What an arena must hold.

    `values_bytes` is what values and scratch share, `persistent_bytes` what stays; `preparing_bytes` is what stays and
    what kernels and planner note before inputs and outputs are described.
    """

    values_bytes: int
    persistent_bytes: int
    preparing_bytes: int

    @property
    def bytes(self) -> int:
        """The least size of the arena."""
        return max(self.persistent_bytes + self.values_bytes, self.preparing_bytes)


def arena(file: Path, kernels: Kernels = "cmsis-nn") -> Arena:
    """What running the file takes, open axes as large as they stand in it. StepError where an operator runs a graph."""
    model = read(file)
    steps, known = operators(model), tensors(model)
    _refuse(steps)
    scratch = _scratch(steps, kernels)
    buffers = [*_values(model, known, steps), *scratch]
    requests = len(scratch)
    planned = _INFO * (len(known) + requests) + _PLANNED * len(buffers)
    notes = _REQUEST * (requests + _REQUESTS_AT_ONCE) + max(planned, *(_seen(step) for step in steps), 0)
    kept = _persistent(known, steps) + _HANDLE * requests
    boundary = _BOUNDARY * (len(inputs(model)) + len(outputs(model)))
    return Arena(plan_bytes(buffers), persistent_bytes=kept + boundary, preparing_bytes=kept + notes)


def plan_bytes(buffers: Sequence[Buffer]) -> int:
    """How much memory the buffers share; each takes steps of ALIGNMENT, and larger ones are placed first.

    Of equal ones the last goes first, as GreedyMemoryPlanner's sort leaves them.
    """
    placed: list[tuple[int, int, Buffer]] = []  # (start, end, buffer), by start
    order = sorted(enumerate(buffers), key=lambda entry: (_aligned(entry[1].bytes), entry[0]), reverse=True)
    for _, buffer in order:
        size, start = _aligned(buffer.bytes), 0
        for other_start, other_end, other in placed:
            if other.first > buffer.last or buffer.first > other.last:
                continue
            if other_start - start >= size:
                break
            start = max(start, other_end)
        place = next((index for index, entry in enumerate(placed) if entry[0] > start), len(placed))
        placed.insert(place, (start, start + size, buffer))
    return max((end for _, end, _ in placed), default=0)


def _refuse(steps: Sequence[Operator]) -> None:
    control = sorted({step.name for step in steps if step.name in _CONTROL})
    if control:
        raise StepError(f"tflite: the arena of a model with {', '.join(control)} cannot be estimated")


def _values(model: Model, known: Sequence[Tensor], steps: Sequence[Operator]) -> list[Buffer]:
    """The tensors that are neither constant nor state, with the operators between which they live."""
    first: dict[int, int] = dict.fromkeys((tensor.index for tensor in inputs(model)), 0)
    last = dict(first)
    for time, step in enumerate(steps, start=1):
        for tensor in step.outputs:
            first.setdefault(tensor.index, time)
        last.update((tensor.index, time) for tensor in (*step.present, *step.outputs))
    last.update((tensor.index, len(steps)) for tensor in outputs(model))
    moving = [tensor for tensor in known if not tensor.is_constant and not tensor.is_variable and tensor.bytes]
    return [Buffer(tensor.bytes, first.get(tensor.index, 0), last.get(tensor.index, 0)) for tensor in moving]


def _scratch(steps: Sequence[Operator], kernels: Kernels) -> list[Buffer]:
    return [
        Buffer(size, time, time) for time, step in enumerate(steps, start=1) for size in scratch_bytes(step, kernels)
    ]


def scratch_bytes(step: Operator, kernels: Kernels) -> tuple[int, ...]:
    """What the operator's kernel asks for while it runs (tensorflow/lite/micro/kernels; CMSIS-NN's for int8)."""
    values, out = step.present[0], step.outputs[0]
    match step.name:
        case "MEAN" | "SUM" | "REDUCE_MAX" | "REDUCE_MIN":
            is_summed = step.name in ("MEAN", "SUM") and values.dtype in ("int8", "int16")
            sums = (4 * out.elements,) if is_summed else ()
            return (*sums, 4 * len(values.shape), 4 * step.present[1].elements)
        case "TRANSPOSE_CONV" if out.dtype in ("int8", "int16"):
            return ((4 if out.dtype == "int8" else 8) * out.elements,)
        case "CONV_2D" | "DEPTHWISE_CONV_2D" | "AVERAGE_POOL_2D" if kernels == "cmsis-nn" and values.dtype == "int8":
            return _cmsis_nn_bytes(step)
        case _:
            return ()


def _cmsis_nn_bytes(step: Operator) -> tuple[int, ...]:
    """Two columns of the input as int16, a depthwise kernel as int16, or a sum of each channel as int32."""
    channels = step.present[0].shape[-1]
    if step.name == "AVERAGE_POOL_2D":
        return (4 * channels,)
    weights = step.present[1].shape
    if step.name == "CONV_2D":
        return (4 * _rounded(math.prod(weights[1:]), 4),)
    return () if weights[1:3] == (3, 3) else (2 * channels * math.prod(weights[1:3]),)


def _persistent(known: Sequence[Tensor], steps: Sequence[Operator]) -> int:
    """Bytes of all that describes tensors and operators, and of the state that outlives an inference."""
    state = sum(_aligned(tensor.bytes) for tensor in known if tensor.is_variable)
    kept = sum(2 * _aligned(_CHANNEL // 2 * _channels(step)) for step in steps)
    kernels = sum(_LARGE_KERNEL if step.name in _LARGE else _KERNEL for step in steps)
    return _INTERPRETER + _TENSOR * len(known) + _OPERATOR * len(steps) + kernels + kept + state


def _seen(step: Operator) -> int:
    """Bytes of the operator's tensors as its kernel sees them while it prepares; those with weights look twice."""
    found = (*step.present, *step.outputs)
    once = _SEEN * len(found) + _SEEN_CHANNEL * sum(len(tensor.scales) for tensor in found)
    return 2 * once if step.name in _WEIGHTED else once


def _channels(step: Operator) -> int:
    """For how many output channels the kernel keeps a multiplier and a shift: in float too, but unused."""
    match step.name:
        case "CONV_2D" | "TRANSPOSE_CONV":
            return step.present[1].shape[0]
        case "DEPTHWISE_CONV_2D":
            return step.present[1].shape[-1]
        case "FULLY_CONNECTED" if len(step.present[1].scales) > 1:
            return len(step.present[1].scales)
        case _:
            return 0


def _aligned(size: int) -> int:
    return _rounded(size, ALIGNMENT)


def _rounded(size: int, step: int) -> int:
    return -(-size // step) * step
