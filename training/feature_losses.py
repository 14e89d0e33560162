"""Losses between what a student and a teacher compute inside. Features are (N, C, H, W), (N, T, C) or (N, C)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ANGLE_SAMPLES = 64
"""Angles are compared between so many samples of a batch at most: there are as many as the third power of that."""
CONTRAST_TEMPERATURE = 0.07
"""Source: Tian, Krishnan and Isola 2020, arXiv:1910.10699, whose released code has it as the default (nce_t)."""


def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference of adapted features and the teacher's.

    Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550, equation 3, as a mean.
    """
    from torch.nn import functional

    return functional.mse_loss(*same_places(student, teacher))


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference of where both are active: squares, averaged over channels, of length one.

    Zagoruyko and Komodakis 2017, "Paying More Attention to Attention", arXiv:1612.03928, equation 2 with p = 2, as a
    mean over positions (as in the code of arXiv:1910.10699).
    """
    from torch.nn import functional

    maps = []
    for features in same_places(student, teacher):
        channels = 1 if features.ndim == 4 else -1
        maps.append(functional.normalize(features.square().mean(channels).flatten(1)))
    return (maps[0] - maps[1]).square().mean()


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """How the distances between samples differ, each as a part of the mean distance.

    Park et al. 2019, "Relational Knowledge Distillation", arXiv:1904.05068, equations 5 to 8.
    """
    import torch
    from torch.nn import functional

    relative = []
    for features in (pooled(student), pooled(teacher)):
        squares = (features.unsqueeze(0) - features.unsqueeze(1)).square().sum(2)
        others = ~torch.eye(len(features), dtype=torch.bool, device=features.device)
        distances = squares[others].clamp(min=torch.finfo(squares.dtype).tiny).sqrt()
        relative.append(distances / distances.mean())
    return functional.smooth_l1_loss(relative[0], relative[1])


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """How the angles differ that three samples make (their cosines). arXiv:1904.05068, equations 9 to 11."""
    from torch.nn import functional

    cosines = []
    for features in (pooled(student)[:ANGLE_SAMPLES], pooled(teacher)[:ANGLE_SAMPLES]):
        directions = functional.normalize(features.unsqueeze(0) - features.unsqueeze(1), dim=2)
        cosines.append((directions @ directions.transpose(1, 2)).flatten())
    return functional.smooth_l1_loss(cosines[0], cosines[1])


def contrast_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """How badly a sample's features (N, D) are told from other samples' across the two networks, both ways.

    Tian, Krishnan and Isola 2020, "Contrastive Representation Distillation", arXiv:1910.10699; here the negatives are
    the batch's other samples (van den Oord et al. 2018, arXiv:1807.03748), so that no memory of features is kept.
    """
    import torch
    from torch.nn import functional

    likeness = functional.normalize(student) @ functional.normalize(teacher).T / CONTRAST_TEMPERATURE
    own = torch.arange(len(student), device=student.device)
    return (functional.cross_entropy(likeness, own) + functional.cross_entropy(likeness.T, own)) / 2


def pooled(features: Tensor) -> Tensor:
    """(N, C): the mean over places."""
    if features.ndim == 4:
        return features.mean((2, 3))
    return features.flatten(1, -2).mean(1) if features.ndim > 2 else features.reshape(len(features), -1)


def same_places(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both with as many rows and columns as the one that has fewer; as they are where they are no images."""
    from torch.nn import functional

    if student.ndim != 4 or teacher.ndim != 4 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return functional.adaptive_avg_pool2d(student, size), functional.adaptive_avg_pool2d(teacher, size)
