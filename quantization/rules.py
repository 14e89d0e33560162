"""What a target's int8 kernels take, as the placement reads it: the part of a profile that decides where int8 goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..targets import Int8


@dataclass(frozen=True)
class FixedGrid:
    """The scale and the zero point that an operator's int8 kernel always gives its output."""

    operator: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Rules:
    """What a target's int8 kernels take; names are torch's ATen operators, without overload."""

    kernels: tuple[str, ...]
    """Operators that the runtime computes in int8."""
    float_outputs: tuple[str, ...]
    """Kernels that can hand out float32 themselves, so that their output is in int8 only where int8 is wanted."""
    same_scale: tuple[str, ...]
    """Operators that only move or select values, so that output and input share one scale."""
    fused_activations: tuple[str, ...]
    """Activations that the runtime fuses into the kernel before: the quantize node goes after them."""
    fused_into: tuple[str, ...] = ()
    """The kernels that take a fused activation; where empty, all."""
    shared_scale: tuple[str, ...] = ()
    """Kernels whose inputs and output all have one scale."""
    fixed_outputs: tuple[FixedGrid, ...] = ()
    """Kernels whose output has the same scale always."""
    integer_only: bool = False
    """Whatever has a kernel is computed in int8, at the model's inputs and outputs too."""
    fused_residuals: tuple[str, ...] = ()
    """Sums that the kernel before takes in: its own value stays as it is, the other operand is read in int8."""
    least_features: int = 1
    """Linear layers with fewer inputs or outputs stay in float."""
    least_point_inputs: int = 1
    """Convolutions of a single position by a kernel of one, not grouped, with fewer input channels stay in float."""

    @classmethod
    def of(cls, int8: Int8, allow_float: bool = False) -> Rules:
        """The rules that a profile gives; kernels slower than float are none where operators may stay in float."""
        fixed = tuple(FixedGrid(name, *grid) for name, grid in int8.fixed_outputs.items())
        return cls(
            kernels=tuple(name for name in int8.kernels if not (allow_float and name in int8.slower)),
            float_outputs=int8.float_outputs,
            same_scale=int8.same_scale,
            fused_activations=int8.fused_activations,
            fused_into=int8.fused_into,
            shared_scale=int8.shared_scale,
            fixed_outputs=fixed,
            integer_only=int8.integer_only,
            fused_residuals=int8.fused_residuals,
            least_features=int8.least_features,
            least_point_inputs=int8.least_point_inputs,
        )

    def fixed(self, name: str) -> FixedGrid | None:
        """The grid that the operator of that name always has at its output."""
        return next((grid for grid in self.fixed_outputs if grid.operator == name), None)
