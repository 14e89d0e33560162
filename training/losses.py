"""What training minimises, for each of the recipe's built-in tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..ir.errors import InputError, Problem

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""From the outputs (N, ...) and the labels (N, ...) of a batch to one number, the mean over its samples."""


def loss_for(task: str) -> Loss:
    """The task's loss. InputError where the task has none: a metric of the user's own says nothing about training."""
    if task not in _LOSSES:
        raise InputError(
            Problem("recipe", "task", f"one that can be trained: {', '.join(sorted(_LOSSES))}", repr(task))
        )
    return _LOSSES[task]


def has_loss(task: str) -> bool:
    """Whether the task has a loss of its own: one of the built-in tasks."""
    return task in _LOSSES


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Labels (N, ...) are class indices, outputs (N, classes, ...) logits."""
    from torch.nn import functional

    if outputs.ndim < 2:
        raise InputError(Problem("model", "outputs", "a score for each class, (N, classes, ...)", _show(outputs)))
    classes, wanted = outputs.shape[1], (outputs.shape[0], *outputs.shape[2:])
    if labels.is_floating_point() or tuple(labels.shape) != wanted:
        raise _misfit(
            f"class indices of shape {wanted} for outputs {_show(outputs)}", f"{labels.dtype} {_show(labels)}"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise _misfit(f"class indices from 0 to {classes - 1}", f"{int(labels.min())} to {int(labels.max())}")
    return functional.cross_entropy(outputs, labels.long())


def _binary_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Labels are 0 or 1 for each class, outputs logits, both (N, classes)."""
    from torch.nn import functional

    if labels.shape != outputs.shape:
        raise _misfit(f"a 0 or 1 for each output {_show(outputs)}", _show(labels))
    return functional.binary_cross_entropy_with_logits(outputs, labels.to(outputs.dtype))


def _squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """Labels and outputs hold the same number of values; (N,) beside (N, 1) is accepted."""
    from torch.nn import functional

    if labels.numel() != outputs.numel() or labels.shape[:1] != outputs.shape[:1]:
        raise _misfit(f"values of shape {_show(outputs)}, as the outputs", _show(labels))
    return functional.mse_loss(outputs, labels.to(outputs.dtype).reshape(outputs.shape))


def _show(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _misfit(expected: str, found: str) -> InputError:
    return InputError(Problem("data: split 'train'", "labels", expected, found))


_LOSSES: dict[str, Loss] = {
    "classification": _cross_entropy,
    "multilabel": _binary_cross_entropy,
    "regression": _squared_error,
}
