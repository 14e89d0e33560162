"""Soft labels, beside what was computed by hand and by torch."""

from __future__ import annotations

import math

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.training.soft_labels import SoftLabels
from torch import Tensor
from torch.nn import functional

T = 4.0


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_divergence_of_two_classes_by_hand() -> None:
    """The teacher says 3 to 1, the student 1 to 1, at temperature 2: 4 (3/4 ln 3/2 + 1/4 ln 1/2)."""
    soft = SoftLabels("classification", 2.0)
    teacher, student = torch.tensor([[2 * math.log(3.0), 0.0]]), torch.tensor([[5.0, 5.0]])
    targets = soft.targets([teacher], [1.0])
    assert targets.tolist() == [pytest.approx([0.75, 0.25])]
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert float(soft.loss(student, targets)) == pytest.approx(expected, rel=1e-6)  # float32


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3, 2)])
def test_the_divergence_is_torchs(shape: tuple[int, ...]) -> None:
    soft, student, teacher = SoftLabels("classification", T), random(*shape), random(*shape, seed=1)
    rows = [values.movedim(1, -1).reshape(-1, 5) for values in (student, teacher)]
    logs = [functional.log_softmax(values / T, 1) for values in rows]
    expected = T * T * functional.kl_div(logs[0], logs[1], reduction="batchmean", log_target=True)
    torch.testing.assert_close(soft.loss(student, soft.targets([teacher], [1.0])), expected)


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression", "metrics.py:own"])
def test_a_student_that_says_the_same_has_nothing_to_learn(task: str) -> None:
    soft, teacher = SoftLabels(task, T), random(6, 5)
    student = teacher.clone().requires_grad_()
    loss = soft.loss(student, soft.targets([teacher], [1.0]))
    loss.backward()
    zero = torch.zeros(())
    assert torch.isclose(loss.detach().float(), zero)
    assert student.grad is not None
    assert torch.allclose(student.grad.float(), torch.zeros(6, 5))


def test_many_labels_are_many_pairs_of_classes() -> None:
    """A label is a choice between two classes with the scores s and 0."""
    student, teacher = random(6, 5), random(6, 5, seed=1)
    soft, pairs = SoftLabels("multilabel", T), SoftLabels("classification", T)

    def paired(scores: Tensor) -> Tensor:
        return torch.stack([scores.flatten(), torch.zeros(30, dtype=torch.float64)], 1)

    expected = pairs.loss(paired(student), pairs.targets([paired(teacher)], [1.0]))
    torch.testing.assert_close(soft.loss(student, soft.targets([teacher], [1.0])), expected)


def test_certain_labels_are_no_trouble() -> None:
    soft = SoftLabels("multilabel", 1.0)
    targets = soft.targets([torch.tensor([[200.0, -200.0]])], [1.0])
    assert float(soft.loss(torch.tensor([[0.0, 0.0]]), targets)) == pytest.approx(math.log(2))


def test_gradients_are_as_large_at_every_temperature() -> None:
    """For high temperatures they tend to those of half the squared difference over the classes (section 2.1)."""
    teacher, found = random(6, 5, seed=1), []
    for temperature in (50.0, 200.0):
        student = random(6, 5).requires_grad_()
        soft = SoftLabels("classification", temperature)
        soft.loss(student, soft.targets([teacher], [1.0])).backward()
        assert student.grad is not None
        found.append(student.grad)
    scores = [values - values.mean(1, keepdim=True) for values in (random(6, 5), teacher)]
    limit = (scores[0] - scores[1]) / 5 / 6
    errors = [float((gradient - limit).abs().max() / limit.abs().max()) for gradient in found]
    assert errors[1] < errors[0] < 0.1  # of the order of score / temperature
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.1)


def test_several_teachers_say_the_mean_of_what_they_say() -> None:
    first, second = random(6, 5), random(6, 5, seed=1)
    soft = SoftLabels("classification", T)
    expected = 0.75 * (first / T).softmax(1) + 0.25 * (second / T).softmax(1)
    torch.testing.assert_close(soft.targets([first, second], [3.0, 1.0]), expected)
    torch.testing.assert_close(SoftLabels("regression", T).targets([first, second], [1, 1]), (first + second) / 2)


def test_outputs_that_do_not_fit_are_refused() -> None:
    soft = SoftLabels("classification", T)
    message = r"distill\.teacher: expected the student's outputs, \(6, 4\), got \(6, 5\)"
    with pytest.raises(InputError, match=message):
        soft.loss(random(6, 4), soft.targets([random(6, 5)], [1.0]))
    with pytest.raises(InputError, match=r"distill\.teachers: expected outputs \(6, 5\), as the first"):
        soft.targets([random(6, 5), random(6, 4)], [1.0, 1.0])
    with pytest.raises(InputError, match=r"distill\.teacher: expected a score for each class.*got \(6,\)"):
        soft.targets([random(6)], [1.0])
