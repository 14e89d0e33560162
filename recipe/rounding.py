"""What a recipe may say about how weights are rounded: compress.quantize.rounding."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from .parts import Part


class Rounding(Part):
    """Which of the two nearest integers a weight becomes: the nearer one, or the one that was learned (AdaRound)."""

    method: Literal["nearest", "adaround"] = "adaround"
    samples: int = Field(default=512, ge=1)
    """Calibration samples whose activations the layers' outputs are compared on."""
    iterations: int = Field(default=1000, ge=1)
    """Steps of the optimizer for each layer."""
    batch_size: int = Field(default=32, ge=1)
    """Samples that one step looks at."""
    learning_rate: float = Field(default=1e-2, gt=0)
    regularization: float = Field(default=10.0, gt=0)
    """What weights between two integers cost, beside the error of the layer's output."""
    warm_start: float = Field(default=0.2, ge=0, lt=1)
    """The part of the iterations before weights are drawn to integers."""

    @model_validator(mode="after")
    def _has_use(self) -> Self:
        fields = type(self).model_fields.items()
        named = [name for name, field in fields if name != "method" and getattr(self, name) != field.default]
        if self.method == "nearest" and named:
            raise ValueError(f"method adaround where there is {', '.join(named)}: nearest learns nothing")
        return self


def _named(value: Any) -> Any:
    """A text alone names the method."""
    return {"method": value} if isinstance(value, str) else value


Rounds = Annotated[Rounding, BeforeValidator(_named)]
NEAREST = Rounding(method="nearest")
