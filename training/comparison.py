"""Networks side by side on the samples that are held out of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .losses import loss_for
from .objective import moved
from .seeds import seed_everything

if TYPE_CHECKING:
    from torch import nn

    from ..recipe.datasets import Split

_AT_ONCE = 256


@dataclass(frozen=True)
class Standing:
    """How good a network is on held-out samples, and how large. None where labels or classes do not say."""

    parameters: int
    loss: float | None
    top1: float | None

    def __str__(self) -> str:
        loss = [] if self.loss is None else [f"held-out loss {self.loss:.4f}"]
        top1 = [] if self.top1 is None else [f"top-1 {self.top1:.2%}"]
        return ", ".join([*loss, *top1, f"{self.parameters:,} parameters"])


def standing(
    network: nn.Module, held_out: Split, task: str, seed: int, device: Any, *, output: int = 0, has_labels: bool = True
) -> Standing:
    """How the network, in eval mode, does on the held-out samples by its output of that number, on the device."""
    import torch
    from torch.utils._pytree import tree_leaves

    parameters = sum(parameter.numel() for parameter in network.parameters())
    home = next((parameter.device for parameter in network.parameters()), device)
    if not has_labels:
        return Standing(parameters, None, None)
    loss_of, total, right = loss_for(task), 0.0, 0.0
    network.to(device)
    seed_everything(seed, -1)
    with torch.no_grad():
        for batch in held_out.batches(_AT_ONCE):
            here = moved(batch, device)
            outputs = tree_leaves(network(*here.inputs))[output]
            total += float(loss_of(outputs, here.labels)) * len(here.labels)
            if task == "classification":
                right += float((outputs.argmax(1) == here.labels).double().mean()) * len(here.labels)
    network.to(home)
    return Standing(parameters, total / len(held_out), right / len(held_out) if task == "classification" else None)
