"""What a recipe may say about number formats: compress.quantize and everything below it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from .parts import Names, Part
from .repair import Mixed, Repairs
from .rounding import NEAREST, Rounds
from .training import Training


class Calibration(Part):
    """Which samples give the ranges, and how a range is chosen from what was seen."""

    method: Literal["min-max", "moving-average", "percentile", "entropy", "mse"] = "mse"
    samples: int = Field(default=256, ge=1)
    percentile: float = Field(default=99.99, gt=50, le=100)


class SoftLabels(Part):
    """How much of the loss compares with what the float network says, and how soft its answers are made."""

    temperature: float = Field(default=4.0, gt=0)
    alpha: float = Field(default=0.7, gt=0, le=1)
    """The part of the loss that the float network's answers have; the labels have the rest."""


class Train(Training):
    """Training with rounded weights and activations (mode qat), which float32 alone can round as the artifact does."""

    method: Literal["lsq", "moving-average"] = "lsq"
    """Whether step sizes are learned, or follow the ranges that are seen."""
    learning_rate: float = Field(default=1e-4, gt=0)
    precision: Literal["float32"] = "float32"
    freeze_after: float = Field(default=0.8, ge=0, le=1)
    """The part of all steps after which step sizes and ranges stay as they are, and only weights learn."""
    distill: SoftLabels | None = None


class Weights(Part):
    """The form of integer weights, where the recipe wants another than the target's own."""

    bits: int | None = Field(default=None, ge=1, le=8)
    granularity: Literal["per-channel", "per-tensor"] | None = None
    group: int | None = Field(default=None, ge=2)
    """Inputs that share a scale, of weights that are stored in four bits (mode weight-only)."""


class Activations(Part):
    """The form of integer activations, where the recipe wants another than the target's own."""

    bits: Literal[8, 16] | None = None
    """16: between layers stand int16 values, whose zero point is 0; weights are int8 all the same."""
    symmetric: bool | None = None
    """Whether the zero point is fixed in the middle of the integers."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.bits == 16 and self.symmetric is False:
            raise ValueError(
                "activations.symmetric true, or none, with 16 bits: every kernel for them has the zero point 0"
            )
        return self


class Quantize(Part):
    """Number format of the artifact.

    `static`: weights and activations are integers. `qat`: so too, after training with them rounded. `dynamic`: the
    weights are, and layers quantize their inputs as they run. `weight-only`: the weights are stored so, and computed
    with as floats. float16 is stored weights only, too.
    """

    precision: Literal["int8", "float16"] = "int8"
    mode: Literal["static", "qat", "dynamic", "weight-only"] | None = None
    """Where absent: static for int8, weight-only for float16."""
    calibration: Calibration = Calibration()
    train: Train | None = None
    weights: Weights = Weights()
    activations: Activations = Activations()
    scales: Literal["any", "power-of-two"] = "any"
    """power-of-two: fixed point, Qm.n, where each tensor has its own n."""
    rounding: Rounds = NEAREST
    repair: Repairs = ()
    """What is tried against the damage of rounding, and kept where it helps; auto: all."""
    mixed: Mixed | None = None
    keep_float: Names = ()
    allow_float: bool = False
    """Whether operators without int8 kernels may stay in float where the target's artifacts are fully integer."""
    float_interface: bool = False
    """Whether inputs and outputs stay float where the target's artifacts take and hand out integers."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.precision == "float16" and self.mode not in (None, "weight-only"):
            raise ValueError(f"mode weight-only, or none, with precision float16 (not {self.mode})")
        named: tuple[str, ...] = ("weights", "activations", "scales", "rounding", "repair", "mixed")
        if self.weights.group is not None and self.mode != "weight-only":
            raise ValueError("mode weight-only where there is weights.group")
        if self.mode == "weight-only" and self.precision == "int8":
            named = tuple(key for key in named if key != "weights")
            self._check_stored()
        if not self.is_static and (
            found := [key for key in named if getattr(self, key) != type(self).model_fields[key].default]
        ):
            raise ValueError(f"precision int8 and mode static or qat where there is {' and '.join(found)}")
        if self.mode == "qat" and self.rounding.method != "nearest":
            raise ValueError("rounding nearest in mode qat, whose training moves weights to where rounding is right")
        if self.mode == "qat" and self.mixed is not None:
            raise ValueError("mode static where there is mixed, which judges layers as calibration leaves them")
        if self.mode == "qat" and "correct-bias" in self.repair:
            raise ValueError("no repair correct-bias in mode qat, whose training moves biases by itself")
        if self.mode == "qat" and self.scales != "any":
            raise ValueError("scales any in mode qat, which learns them")
        if self.is_static and self.weights.bits == 1 and self.mode != "qat":
            raise ValueError("mode qat where weights.bits is 1: without training a network of signs says nothing")
        if self.train is not None and self.mode != "qat":
            raise ValueError("mode qat where there is compress.quantize.train")
        return self

    def _check_stored(self) -> None:
        """Stored weights have eight bits, or four in groups: no runtime here reads others."""
        bits = self.weights.bits or 8
        if bits not in (4, 8):
            raise ValueError(f"weights.bits 8, or 4 in groups, in mode weight-only: no runtime stores {bits}")
        if bits == 8 and self.weights.group is not None:
            raise ValueError("weights.bits 4 where there is weights.group")

    @property
    def is_static(self) -> bool:
        """Whether activations are integers whose ranges a calibration finds."""
        return self.precision == "int8" and self.mode in (None, "static", "qat")

    @property
    def training(self) -> Train | None:
        """How weights and ranges are trained; None where they are not."""
        return (self.train or Train()) if self.mode == "qat" else None
