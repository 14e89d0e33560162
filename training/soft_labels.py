"""What a student learns from its teachers' outputs: soft labels.

Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531: scores divided by a
temperature T, so that what the teacher holds for unlikely counts too, and the divergence times T squared, so that its
gradients are as large as those of the labels whatever T is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..ir.errors import InputError, Problem

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SoftLabels:
    """The form that soft labels have for a task.

    classification: probabilities over axis 1 of outputs (N, classes, ...). multilabel: a probability for each output.
    All others (regression, a metric of the user's own): the teacher's values, without a temperature.
    """

    task: str
    temperature: float

    def targets(self, outputs: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
        """The mean of what the teachers say, each weighed by its share. InputError where their shapes differ."""
        shapes = [tuple(output.shape) for output in outputs]
        if len(set(shapes)) > 1:
            raise InputError(
                Problem("recipe", "compress.distill.teachers", f"outputs {shapes[0]}, as the first", f"{shapes}")
            )
        said = [self._said(output) * (share / sum(shares)) for output, share in zip(outputs, shares, strict=True)]
        total = said[0]
        for more in said[1:]:
            total = total + more
        return total

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How far the student is from the targets: 0 where it says the same; a mean over samples.

        InputError where the shapes differ: a student with other outputs can't be taught by this teacher.
        """
        from torch.nn import functional

        if outputs.shape != targets.shape:
            expected = f"the student's outputs, {tuple(outputs.shape)}"
            raise InputError(Problem("recipe", "compress.distill.teacher", expected, f"{tuple(targets.shape)}"))
        if self.task == "classification":
            own = functional.log_softmax(outputs / self.temperature, 1)
            divergence = functional.kl_div(own, targets, reduction="none").sum(1).mean()
            return divergence * self.temperature**2
        if self.task == "multilabel":
            cross = functional.binary_cross_entropy_with_logits(outputs / self.temperature, targets)
            entropy = -(targets.xlogy(targets) + (1 - targets).xlogy(1 - targets)).mean()
            return (cross - entropy) * self.temperature**2
        return functional.mse_loss(outputs, targets)

    def _said(self, output: Tensor) -> Tensor:
        if self.task == "classification" and output.ndim < 2:
            expected = "a score for each class, (N, classes, ...)"
            raise InputError(Problem("recipe", "compress.distill.teacher", expected, f"{tuple(output.shape)}"))
        if self.task == "classification":
            return (output / self.temperature).softmax(1)
        return (output / self.temperature).sigmoid() if self.task == "multilabel" else output
