"""Terms of a distillation's loss that compare features, each with its weight and what learns beside the student."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..ir.errors import InputError, Problem
from .feature_losses import angle_loss, attention_loss, contrast_loss, distance_loss, hint_loss, pooled, same_places
from .features import Place, checked, embedding_of, recorded

if TYPE_CHECKING:
    from torch import Tensor, nn

Comparison = Callable[["Tensor", "Tensor"], "Tensor"]
_CONTRASTED = 128
"""Axes in which features are contrasted. Source: arXiv:1910.10699, whose released code has it (feat_dim)."""
_RIDGE = 1e-3
"""Beside the mean square of a feature: enough to solve for features that are always zero."""
_ANGLES = 2.0
"""The weight of angles beside distances: 50 beside 25. Source: arXiv:1904.05068, section 4.3."""


@dataclass(frozen=True)
class FeatureOptions:
    """Which features are compared, and by what weight each kind counts beside the labels' loss.

    A layer is `name`, or `name=other` where the teacher's has another name. The default weights are for students that
    know much already, as pruned ones do: those of the comparison whose code was released with arXiv:1910.10699 (hints
    100, attention 1000, relations 25, contrast 0.8) or, where these cost accuracy in a short training of ResNet20
    pruned to half its work, the largest power of ten that did not.
    """

    hints: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()
    relational: bool = False
    contrast: bool = False
    hint_weight: float = 1.0
    attention_weight: float = 100.0
    relational_weight: float = 25.0
    contrast_weight: float = 0.8

    def of_one_network(self) -> FeatureOptions:
        """The same where the teacher is a network of the student's kind, whose layers have the student's names."""
        hints, attention = (tuple(layer.partition("=")[0] for layer in kind) for kind in (self.hints, self.attention))
        return replace(self, hints=hints, attention=attention)


@dataclass(frozen=True)
class Term:
    """One comparison between a place of the student and one of the teacher; `helpers` learn with the student."""

    weight: float
    student: Place
    teacher: Place
    compare: Comparison
    helpers: tuple[nn.Module, ...] = ()

    def loss(self, student: Mapping[Place, Tensor], teacher: Mapping[Place, Tensor]) -> Tensor:
        """The weighed comparison of what was seen at the two places."""
        return self.weight * self.compare(student[self.student], teacher[self.teacher])


def terms_for(
    options: FeatureOptions, student: nn.Module, teacher: nn.Module, example: Sequence[Tensor]
) -> tuple[Term, ...]:
    """The terms, helpers in the widths that the features of the example batch have.

    Adapters of hints are fitted to the example, other helpers drawn from torch's global generator. InputError where a
    layer is none of the network's, with the nearest names, or where features can't be compared; all at once.
    """
    pairs = [(key, layer) for key in ("hints", "attention") for layer in getattr(options, key)]
    problems: list[Problem | str] = []
    places: list[tuple[str, Place, Place]] = []
    for key, layer in pairs:
        own, _, other = layer.partition("=")
        try:
            places.append((key, checked(own, student, key, "student"), checked(other or own, teacher, key, "teacher")))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    ends = embedding_of(student), embedding_of(teacher)
    seen, taught = (
        _seen(student, [own for _, own, _ in places] + [ends[0]], example),
        _seen(teacher, [other for _, _, other in places] + [ends[1]], example),
    )
    terms = [_layer_term(options, key, own, other, seen[own], taught[other]) for key, own, other in places]
    if options.relational:
        terms += [Term(options.relational_weight, *ends, distance_loss)]
        terms += [Term(_ANGLES * options.relational_weight, *ends, angle_loss)]
    if options.contrast:
        terms.append(_contrast(options.contrast_weight, *ends, pooled(seen[ends[0]]), pooled(taught[ends[1]])))
    return tuple(terms)


def _seen(module: nn.Module, places: Sequence[Place], example: Sequence[Tensor]) -> Mapping[Place, Tensor]:
    import torch

    with torch.no_grad(), recorded(module, places) as seen:
        module(*example)
    return seen


def _layer_term(options: FeatureOptions, key: str, own: Place, other: Place, student: Tensor, teacher: Tensor) -> Term:
    is_comparable = student.ndim == teacher.ndim and (student.ndim == 4 or student.shape[1:-1] == teacher.shape[1:-1])
    if not is_comparable or (key == "attention" and student.ndim < 3):
        expected = "features with places, (N, C, H, W) or (N, T, C), " if key == "attention" else "features "
        found = f"{own.layer}: {tuple(student.shape)} and {tuple(teacher.shape)}"
        raise InputError(Problem("recipe", f"compress.distill.{key}", f"{expected}of one kind in both networks", found))
    if key == "attention":
        return Term(options.attention_weight, own, other, attention_loss)
    adapter = _adapter(student, teacher)
    _fit(adapter, *same_places(student, teacher))
    return Term(options.hint_weight, own, other, lambda one, two: hint_loss(adapter(one), two), (adapter,))


def _adapter(student: Tensor, teacher: Tensor) -> nn.Module:
    """From the student's width to the teacher's: a 1x1 convolution, or a linear layer over the last axis."""
    from torch import nn

    if student.ndim == 4:
        return nn.Conv2d(student.shape[1], teacher.shape[1], 1)
    return nn.Linear(student.shape[-1], teacher.shape[-1])


def _fit(adapter: nn.Module, student: Tensor, teacher: Tensor) -> None:
    """The adapter brings the example's features nearest to the teacher's, by least squares with a small ridge.

    A student that was trained already would lose by hints through an adapter that knows nothing; FitNets train theirs
    in a stage of its own (arXiv:1412.6550, section 2.3).
    """
    import torch

    rows, wanted = (values.movedim(1, -1) if values.ndim == 4 else values for values in (student, teacher))
    rows, wanted = (values.reshape(-1, values.shape[-1]).double() for values in (rows, wanted))
    rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
    products = rows.T @ rows
    ridge = _RIDGE * products.diagonal().mean() * torch.eye(len(products), dtype=torch.float64)
    found = torch.linalg.solve(products + ridge, rows.T @ wanted).T.float()
    parameters = dict(adapter.named_parameters())
    with torch.no_grad():
        parameters["weight"].copy_(found[:, :-1].reshape(parameters["weight"].shape))
        parameters["bias"].copy_(found[:, -1])


def _contrast(weight: float, own: Place, other: Place, student: Tensor, teacher: Tensor) -> Term:
    from torch import nn

    mine, its = nn.Linear(student.shape[1], _CONTRASTED), nn.Linear(teacher.shape[1], _CONTRASTED)
    return Term(weight, own, other, lambda one, two: contrast_loss(mine(pooled(one)), its(pooled(two))), (mine, its))
