"""The precision in which layers compute while they train, and what keeps small gradients from vanishing in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..ir.errors import InputError, Problem, StepError
from .schedule import Precision

if TYPE_CHECKING:
    from torch import Tensor


class MixedPrecision:
    """Layers compute in the precision on the device, weights stay as they are.

    In float16, losses are multiplied by a scale before gradients are taken, and a step whose gradients overflow is
    left out and the scale halved (Micikevicius et al. 2018, "Mixed Precision Training", arXiv:1710.03740).
    InputError where the device can't compute so.
    """

    def __init__(self, precision: Precision, device: Any) -> None:
        import torch

        if precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            found = f"float32 or float16 on {torch.cuda.get_device_name()}"
            raise InputError(Problem("recipe", "precision", found, "bfloat16"))
        self.precision, self.device = precision, device
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        self.scaler.scale(torch.zeros((), device=device))  # makes the scale, which a step without own samples needs

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Layers compute in the precision while the context is open; StepError where one of them can't."""
        import torch

        if self.precision == "float32":
            yield
            return
        try:
            with torch.autocast(self.device.type, getattr(torch, self.precision)):
                yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise StepError(
                f"training: the network does not compute in {self.precision} on {self.device.type}, float32 may do:"
                f" {reason}"
            ) from error

    def outputs(self, found: Tensor) -> Tensor:
        """What layers computed, for a loss."""
        return found if self.precision == "float32" else found.float()

    def scaled(self, loss: Tensor) -> Tensor:
        """What gradients are taken of."""
        return self.scaler.scale(loss) if self.scaler.is_enabled() else loss

    def step(self, optimizer: Any) -> None:
        """The optimizer has taken its step by the gradients of the scaled loss, unless they overflowed."""
        if not self.scaler.is_enabled():
            optimizer.step()
            return
        self.scaler.step(optimizer)
        self.scaler.update()

    def state(self) -> dict[str, Any]:
        """What a run that goes on needs; plain values."""
        return self.scaler.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        """The scale is what `state` gave."""
        if state:
            self.scaler.load_state_dict(state)
