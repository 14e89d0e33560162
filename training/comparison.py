"""Networks side by side on the samples that are held out of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.metrics import f1_macro
from .losses import loss_for
from .objective import moved
from .seeds import seed_everything

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..recipe.datasets import Split

_AT_ONCE = 256


@dataclass(frozen=True)
class Standing:
    """How good a network is on held-out samples, and how large. None where labels or classes do not say.

    `f1` is the mean over classes; `macs` are the multiply-accumulates of one sample, where somebody counted them.
    """

    parameters: int
    loss: float | None
    top1: float | None
    f1: float | None = None
    macs: int | None = None

    def __str__(self) -> str:
        loss = [] if self.loss is None else [f"held-out loss {self.loss:.4f}"]
        top1 = [] if self.top1 is None else [f"top-1 {self.top1:.2%}"]
        f1 = [] if self.f1 is None else [f"F1 {self.f1:.2%}"]
        macs = [] if self.macs is None else [f"{self.macs:,} MACs"]
        return ", ".join([*loss, *top1, *f1, f"{self.parameters:,} parameters", *macs])


def standing(
    network: nn.Module, held_out: Split, task: str, seed: int, device: Any, *, output: int = 0, has_labels: bool = True
) -> Standing:
    """How the network, in eval mode, does on the held-out samples by its output of that number, on the device."""
    import numpy
    import torch
    from torch.utils._pytree import tree_leaves

    parameters = sum(parameter.numel() for parameter in network.parameters())
    home = next((parameter.device for parameter in network.parameters()), device)
    if not has_labels:
        return Standing(parameters, None, None)
    loss_of, total = loss_for(task), 0.0
    answers, labels = [], []
    network.to(device)
    seed_everything(seed, -1)
    with torch.no_grad():
        for batch in held_out.batches(_AT_ONCE):
            here = moved(batch, device)
            outputs = tree_leaves(network(*here.inputs))[output]
            total += float(loss_of(outputs, here.labels)) * len(here.labels)
            answers.append(_answer(outputs, task).cpu().numpy())
            labels.append(batch.labels.numpy())
    network.to(home)
    loss, answered, right = total / len(held_out), numpy.concatenate(answers), numpy.concatenate(labels)
    if task not in _CLASSES:
        return Standing(parameters, loss, None)
    is_one = task == "classification"
    f1 = f1_macro(*(values.reshape(-1) if is_one else values for values in (answered, right)))
    return Standing(parameters, loss, float((answered == right).mean()) if is_one else None, f1)


_CLASSES = ("classification", "multilabel")


def _answer(outputs: Tensor, task: str) -> Tensor:
    """What the outputs say of each sample, no larger than the labels are."""
    return outputs.argmax(1) if task == "classification" else outputs > 0
