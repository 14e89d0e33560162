"""Distillation: a student learns from what teachers say and compute, beside the labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..ir.errors import InputError, Problem
from .checkpoint import hash_of
from .feature_terms import FeatureOptions, Term
from .features import recorded
from .kept_targets import KeptTargets
from .losses import loss_for
from .objective import Network
from .soft_labels import SoftLabels

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..recipe.datasets import Batch


@dataclass(frozen=True)
class Teacher:
    """A network in eval mode that teaches by its output of that number; `share`: its weight beside other teachers."""

    network: nn.Module
    share: float = 1.0
    output: int = 0


@dataclass
class Distillation:
    """(1 - alpha) of the labels' loss, alpha of the soft labels', and the terms that compare features.

    With alpha 1 labels are never looked at, so that samples without any will do; the weights are then judged by the
    teachers, otherwise by the labels alone. Features are those of the first teacher. `kept` has the teachers' outputs
    on the training samples, where they were computed before. `student` is the network that is trained,
    into which terms look. So many of the training samples as `labelled` says, the first ones, have labels (None: all).
    """

    student: nn.Module
    teachers: Sequence[Teacher]
    soft: SoftLabels
    alpha: float
    terms: Sequence[Term] = ()
    options: FeatureOptions = field(default_factory=FeatureOptions)
    kept: KeptTargets | None = None
    labelled: int | None = None
    _identity: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        taught = [(hash_of(teacher.network), teacher.share, teacher.output) for teacher in self.teachers]
        facts = repr((taught, self.soft, self.alpha, self.options, self.kept is not None, self.labelled))
        self._identity = hashlib.sha256(facts.encode()).hexdigest()
        self._task_loss = loss_for(self.soft.task) if self.alpha < 1 else None

    @property
    def identity(self) -> str:
        """See Objective."""
        return self._identity

    @property
    def helpers(self) -> Sequence[nn.Module]:
        """What the terms learn beside the student."""
        return [helper for term in self.terms for helper in term.helpers]

    def start(self, device: Any) -> None:
        """See Objective."""
        for module in [*(teacher.network for teacher in self.teachers), *self.helpers]:
            module.to(device)

    def check(self, inputs: Sequence[Tensor]) -> None:
        """The teachers' outputs fit the student's on some inputs; InputError where they don't."""
        import torch
        from torch.utils._pytree import tree_leaves

        with torch.no_grad():
            outputs = tree_leaves(self.student(*inputs))[0]
        self.soft.loss(outputs.float(), self._said(inputs))

    def loss(self, network: Network, batch: Batch, samples: Sequence[int]) -> Tensor:
        """See Objective."""
        targets = self.kept.of(batch, samples) if self.kept and not self.terms else None
        if targets is not None:
            return self._of_outputs(network(*batch.inputs), targets, batch.labels, samples)
        with recorded(self.teachers[0].network, {term.teacher for term in self.terms}) as taught:
            targets = self.targets(batch)
        with recorded(self.student, {term.student for term in self.terms}) as seen:
            total = self._of_outputs(network(*batch.inputs), targets, batch.labels, samples)
        for term in self.terms:
            total = total + term.loss(seen, taught)
        return total

    def judge(self, network: Network, batch: Batch) -> Tensor:
        """See Objective."""
        outputs = network(*batch.inputs)
        if self._task_loss is not None:
            return self._task_loss(outputs, batch.labels)
        return self.soft.loss(outputs, self.targets(batch))

    def targets(self, batch: Batch) -> Tensor:
        """What the teachers say of the batch, whose tensors lie where they do."""
        return self._said(batch.inputs)

    def _said(self, inputs: Sequence[Tensor]) -> Tensor:
        import torch
        from torch.utils._pytree import tree_leaves

        with torch.no_grad():
            said = [_output(tree_leaves(teacher.network(*inputs)), teacher) for teacher in self.teachers]
            return self.soft.targets(said, [teacher.share for teacher in self.teachers])

    def _of_outputs(self, outputs: Tensor, targets: Tensor, labels: Tensor, samples: Sequence[int]) -> Tensor:
        """Each sample has alpha of what the teachers say; those with labels have the rest too."""
        soft = self.soft.loss(outputs, targets)
        if self._task_loss is None:
            return soft
        own = [row for row, place in enumerate(samples) if self.labelled is None or place < self.labelled]
        if not own:
            return self.alpha * soft
        if len(own) == len(samples):
            return self.alpha * soft + (1 - self.alpha) * self._task_loss(outputs, labels)
        share = (1 - self.alpha) * len(own) / len(samples)
        return self.alpha * soft + share * self._task_loss(outputs[own], labels[own])


def _output(outputs: Sequence[Tensor], teacher: Teacher) -> Tensor:
    if teacher.output >= len(outputs):
        expected = f"a number below {len(outputs)}, for so many outputs it has"
        raise InputError(Problem("recipe", "compress.distill.teacher.output", expected, str(teacher.output)))
    return outputs[teacher.output].float()
