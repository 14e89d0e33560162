"""Distillation as an objective of the training loop: what its loss is made of, and that students learn from it."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.recipe.datasets import Batch
from edgewright.training.distillation import Distillation, Teacher
from edgewright.training.feature_terms import FeatureOptions, terms_for
from edgewright.training.held_out import parts_of
from edgewright.training.kept_targets import KeptTargets, keep
from edgewright.training.loop import TrainingOptions, TrainingResult, train
from edgewright.training.soft_labels import SoftLabels
from torch import Tensor, nn
from torch.nn import functional

T = 4.0
SOFT = SoftLabels("classification", T)
IMAGES = torch.randn(100, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 10, (100,), generator=torch.Generator().manual_seed(1))
BATCH = Batch((IMAGES[:6],), LABELS[:6])
OPTIONS = TrainingOptions(3, batch_size=16, learning_rate=0.003)


@pytest.fixture
def pair(networks: ModuleType) -> tuple[nn.Module, nn.Module]:
    """A student and a teacher."""
    return networks.random(networks.Plain), networks.random(networks.Residual, 1)


def objective(pair: Any, alpha: float = 0.7, **fields: Any) -> Distillation:
    return Distillation(pair[0], [Teacher(pair[1])], SOFT, alpha, **fields)


def test_the_loss_is_that_of_the_labels_and_of_the_teacher_by_their_shares(pair: Any) -> None:
    student, teacher = pair
    outputs, said = student(IMAGES[:6]), teacher(IMAGES[:6])
    soft = functional.kl_div(
        functional.log_softmax(outputs / T, 1), (said / T).softmax(1), reduction="batchmean"
    )  # Hinton et al. 2015, section 2
    expected = 0.3 * functional.cross_entropy(outputs, LABELS[:6]) + 0.7 * T * T * soft
    torch.testing.assert_close(objective(pair).loss(student, BATCH, range(6)), expected)


def test_samples_without_labels_have_the_teachers_part_alone(pair: Any) -> None:
    """Of six samples the places below 10 have labels: two do, none does, or all do."""
    student, teacher = pair
    outputs = student(IMAGES[:6])
    soft = 0.7 * SOFT.loss(outputs, SOFT.targets([teacher(IMAGES[:6])], [1.0]))
    hard = functional.cross_entropy(outputs, LABELS[:6], reduction="none")
    some = objective(pair, labelled=10)
    for places, own in (([3, 12, 11, 9, 40, 30], [0, 3]), ([10, 11, 12, 13, 14, 15], []), (range(6), range(6))):
        expected = soft + 0.3 * hard[list(own)].sum() / 6
        torch.testing.assert_close(some.loss(student, BATCH, places), expected)
    assert some.identity != objective(pair).identity


def test_weights_are_judged_by_the_labels_or_where_these_do_not_count_by_the_teacher(pair: Any) -> None:
    student, teacher = pair
    outputs = student(IMAGES[:6])
    assert torch.equal(objective(pair).judge(student, BATCH), functional.cross_entropy(outputs, LABELS[:6]))
    soft = SOFT.loss(outputs, SOFT.targets([teacher(IMAGES[:6])], [1.0]))
    assert torch.equal(objective(pair, 1.0).judge(student, BATCH), soft)


def test_features_add_their_terms_and_bring_what_learns(pair: Any) -> None:
    student, _ = pair
    options = FeatureOptions(hints=("third=second",), relational=True)
    terms = terms_for(options, *pair, (IMAGES[:2],))
    full = objective(pair, terms=terms, options=options)
    plain = objective(pair).loss(student, BATCH, range(6))
    assert [type(helper) for helper in full.helpers] == [nn.Conv2d]
    loss = full.loss(student, BATCH, range(6))
    assert loss > plain
    loss.backward()
    assert full.helpers[0].weight.grad is not None
    assert all(parameter.grad is None for parameter in pair[1].parameters())


def test_one_head_of_a_teacher_of_several_teaches(pair: Any) -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.other, self.wanted = nn.Flatten(), pair[1]

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"other": self.other(x), "wanted": self.wanted(x)}

    found = Distillation(pair[0], [Teacher(Several(), output=1)], SOFT, 0.7).loss(pair[0], BATCH, range(6))
    assert torch.equal(found, objective(pair).loss(pair[0], BATCH, range(6)))


def test_an_exported_program_teaches_as_its_network_does(pair: Any) -> None:
    batch = torch.export.Dim("batch", min=2, max=256)
    program = torch.export.export(pair[1], (IMAGES[:4],), dynamic_shapes=({0: batch},))
    exported = Distillation(pair[0], [Teacher(program.module())], SOFT, 0.7)
    torch.testing.assert_close(exported.loss(pair[0], BATCH, range(6)), objective(pair).loss(pair[0], BATCH, range(6)))


def test_several_teachers_are_weighed(pair: Any, networks: ModuleType) -> None:
    other = networks.random(networks.Residual, 2)
    both = Distillation(pair[0], [Teacher(pair[1], 3.0), Teacher(other)], SOFT, 1.0)
    said = [(network(IMAGES[:6]) / T).softmax(1) for network in (pair[1], other)]
    torch.testing.assert_close(both.targets(BATCH), 0.75 * said[0] + 0.25 * said[1])


def test_what_would_lead_to_other_weights_has_another_identity(pair: Any, networks: ModuleType) -> None:
    def identity(alpha: float = 0.7, **fields: Any) -> str:
        return replace(objective(pair), alpha=alpha, **fields).identity

    same = identity()
    others = {
        identity(0.5),
        identity(soft=SoftLabels("classification", 2.0)),
        identity(teachers=[Teacher(networks.random(networks.Residual, 2))]),
        identity(options=FeatureOptions(relational=True)),
        identity(kept=KeptTargets(Path("kept"))),
    }
    assert len(others - {same}) == 5
    assert identity() == same


def test_labels_are_never_looked_at_where_they_do_not_count(pair: Any) -> None:
    """Not even a task that can't be trained by labels is in the way."""
    batch = Batch(BATCH.inputs, torch.full((6,), -7))
    for task in ("classification", "metrics.py:own"):
        taught = Distillation(pair[0], [Teacher(pair[1])], SoftLabels(task, T), 1.0)
        assert taught.loss(pair[0], batch, range(6)) > 0
        assert taught.judge(pair[0], batch) > 0
    with pytest.raises(InputError, match="task"):
        Distillation(pair[0], [Teacher(pair[1])], SoftLabels("metrics.py:own", T), 0.9)


def run(pair: Any, make_data: Any, scratch: Path, listener: Any, **fields: Any) -> tuple[TrainingResult, nn.Module]:
    """A student trained on labels that are all 0: whatever it learns of the classes it has from its teacher."""
    student = copy.deepcopy(pair[0])
    data = make_data(train=(IMAGES, torch.zeros(100, dtype=torch.int64)))
    taught = Distillation(student, [Teacher(pair[1])], SOFT, 1.0, **fields)
    result = train(
        student, data, "classification", OPTIONS, seed=0, scratch=scratch, progress=listener, objective=taught
    )
    return result, student


def test_a_student_learns_to_say_what_its_teacher_says(
    pair: Any, make_data: Any, tmp_path: Path, listener: Any
) -> None:
    before = copy.deepcopy(pair[1].state_dict())
    result, student = run(pair, make_data, tmp_path, listener)
    assert result.loss_after < result.loss_before
    distances = [
        SOFT.loss(network(IMAGES), SOFT.targets([pair[1](IMAGES)], [1.0])).item() for network in (pair[0], student)
    ]
    assert distances[1] < distances[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in pair[1].state_dict().items())


def test_kept_answers_teach_as_asking_does(pair: Any, make_data: Any, tmp_path: Path, listener: Any) -> None:
    """The answers are those of other batches, so that the last bits may differ; the loss of a batch hardly does."""
    data = make_data(train=(IMAGES, LABELS))
    training, _ = parts_of(data.split("train"), 0)
    asked = objective(pair)
    kept = keep(training, asked.targets, tmp_path / "kept", listener, "distill")
    assert isinstance(kept, KeptTargets)
    places = [3, 50, 89]
    (batch,) = training.subset(places).batches(3)
    torch.testing.assert_close(
        objective(pair, kept=kept).loss(pair[0], batch, places), asked.loss(pair[0], batch, places)
    )
    calls: list[int] = []
    pair[1].register_forward_hook(lambda *_: calls.append(1))
    result, _ = run(pair, make_data, tmp_path / "run", listener, kept=kept)
    judged = 4  # before the first epoch and after each of three; no step asks
    assert (result.epochs_run, len(calls)) == (3, judged)


def test_a_teacher_that_does_not_fit_is_refused(pair: Any) -> None:
    pair[1].head = nn.Linear(32, 7)
    with pytest.raises(InputError, match=r"distill\.teacher: expected the student's outputs, \(6, 10\), got \(6, 7\)"):
        objective(pair).loss(pair[0], BATCH, range(6))


def test_a_teacher_without_so_many_outputs_is_refused(pair: Any) -> None:
    with pytest.raises(InputError, match=r"teacher\.output: expected a number below 1, .* got 1"):
        Distillation(pair[0], [Teacher(pair[1], output=1)], SOFT, 0.7).loss(pair[0], BATCH, range(6))
