"""distill: students that learn what teachers say, what the history says of both, and when it refuses."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError, StepError
from edgewright.ir.facts import RECOVERED, SPARSE_2_4
from edgewright.ir.sparsity import is_sparse
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes.contract import ReadsNetworks
from edgewright.passes.distill import Distill, TeacherNetwork
from edgewright.passes.sparsify_2_4 import SparsifyTwoFour
from edgewright.passes.text import from_text, to_short_text, to_text
from edgewright.recipe.other_networks import OtherNetwork
from edgewright.recipe.schema import Recipe
from edgewright.targets import Target
from edgewright.training.feature_terms import FeatureOptions
from edgewright.training.soft_labels import SoftLabels
from torch import Tensor, nn

SPECS = (InputSpec("image", (None, 3, 16, 16)),)
COUNT = 100
IMAGES = torch.randn(COUNT, 3, 16, 16, generator=torch.Generator().manual_seed(0))
NO_LABELS = torch.zeros(COUNT, dtype=torch.int64)


def distill(**options: Any) -> Distill:
    """A short run; `options` as the pass has them."""
    return Distill(**{
        "epochs": 2.0, "learning_rate": 0.003, "batch_size": 16, "teachers": (TeacherNetwork(),), "temperature": 4.0,
        "alpha": 0.7, "samples": "train", "rounds": 1, "features": FeatureOptions(), **options,
    })  # fmt: skip


@pytest.fixture
def teacher(networks: ModuleType) -> nn.Module:
    found: nn.Module = networks.random(networks.Residual, 1)
    return found


@pytest.fixture
def labels(teacher: nn.Module) -> Tensor:
    """What the teacher says, which therefore is right everywhere."""
    with torch.no_grad():
        return teacher(IMAGES).argmax(1)


@pytest.fixture
def run(networks: ModuleType, carry_out: Any, make_context: Any, teacher: nn.Module, labels: Tensor) -> Any:
    """run(step, train=..., others={...}): the state of a student after the step; `teacher` is the original."""

    def start(step: Distill, train: Any = None, others: Any = None, student: Any = None, **context: Any) -> ModelState:
        given = replace(
            make_context(train=(IMAGES, labels) if train is None else train, **context),
            original=lambda: copy.deepcopy(teacher),
            other=lambda network: (others or {})[network.source],
        )
        state: ModelState = carry_out(student or networks.random(networks.Plain), step, context=given)
        return state

    return start


def distance(module: nn.Module, teacher: nn.Module) -> float:
    """How far the module's soft labels are from the teacher's."""
    soft = SoftLabels("classification", 4.0)
    with torch.no_grad():
        return soft.loss(module(IMAGES), soft.targets([teacher(IMAGES)], [1.0])).item()


def test_the_student_learns_what_the_original_says_and_keeps_its_structure(
    run: Any, networks: ModuleType, teacher: nn.Module, listener: Any
) -> None:
    before = networks.random(networks.Plain)
    state = run(distill(epochs=4.0))
    after = state.torch_module()
    assert RECOVERED in state.facts
    assert not after.training
    assert [tensor.shape for tensor in after.state_dict().values()] == [
        tensor.shape for tensor in before.state_dict().values()
    ]
    assert distance(after, teacher) < distance(before, teacher)
    assert listener.units == {"distill: the teacher's outputs": 90, "distill": 4 * 6}


def test_teacher_and_student_stand_side_by_side_in_the_history(run: Any, networks: ModuleType) -> None:
    notes = run(distill()).history[-1].notes
    sizes = [sum(entry.numel() for entry in kind().parameters()) for kind in (networks.Residual, networks.Plain)]
    assert notes[0].startswith("teacher original: held-out loss ")
    assert re.search(rf"top-1 100.00%, F1 100.00%, {sizes[0]:,} parameters, [\d,]+ MACs$", notes[0])
    assert notes[1].startswith("student before: held-out loss ")
    assert notes[2].startswith("2 epochs; loss on held-out training samples ")
    assert notes[-2].startswith("student after: held-out loss ")
    assert re.search(rf"{sizes[1]:,} parameters, [\d,]+ MACs$", notes[-2])
    assert notes[-1].startswith("in the build's table the float baseline is the teacher")


def test_samples_without_labels_are_enough_where_labels_do_not_count(run: Any, teacher: nn.Module) -> None:
    state = run(distill(alpha=1.0, epochs=4.0), train=(IMAGES, NO_LABELS))
    taught, untaught = state.torch_module(), run(distill(alpha=1e-9), train=(IMAGES, NO_LABELS)).torch_module()
    assert distance(taught, teacher) < distance(untaught, teacher)
    assert "loss" not in state.history[-1].notes[0]


def test_samples_of_a_split_without_labels_teach_instead_of_the_train_split(
    networks: ModuleType, carry_out: Any, make_context: Any, teacher: nn.Module, labels: Tensor
) -> None:
    step = distill(alpha=1.0, epochs=4.0, samples="unlabelled")
    assert step.reads == {"unlabelled"}
    context = replace(make_context(unlabelled=(IMAGES, NO_LABELS)), original=lambda: copy.deepcopy(teacher))
    before = networks.random(networks.Plain)
    after = carry_out(networks.random(networks.Plain), step, context=context).torch_module()
    assert distance(after, teacher) < distance(before, teacher)


def test_samples_without_labels_are_learned_from_beside_the_train_split(
    networks: ModuleType, carry_out: Any, make_context: Any, teacher: nn.Module, labels: Tensor, listener: Any
) -> None:
    """Forty samples with labels are few, and the others bring the student nearer to the teacher."""
    found = []
    for samples in ("train", "both"):
        step = distill(samples=samples)
        given = make_context(train=(IMAGES[:40], labels[:40]), unlabelled=(IMAGES[40:], NO_LABELS[40:]))
        context = replace(given, original=lambda: copy.deepcopy(teacher), scratch=given.scratch / samples)
        found.append(carry_out(networks.random(networks.Plain), step, context=context).torch_module())
    assert step.reads == {"train", "unlabelled"}
    assert listener.units["distill: the teacher's outputs"] == 36 + 60
    assert distance(found[1], teacher) < distance(found[0], teacher)


@pytest.mark.parametrize("samples", ["unlabelled", "both"])
def test_a_split_without_labels_that_is_missing_is_said(samples: str, run: Any) -> None:
    with pytest.raises(InputError, match=r"unlabelled: expected a split 'unlabelled', got only train; return one more"):
        run(distill(alpha=1.0, samples=samples))


def test_another_network_of_the_recipe_teaches(run: Any, networks: ModuleType, teacher: nn.Module) -> None:
    other = networks.random(networks.Residual, 5)
    step = distill(alpha=1.0, epochs=4.0, teachers=(TeacherNetwork("teacher.py:build", "teacher.pt"),))
    module = run(step, others={"teacher.py:build": other}).torch_module()
    assert distance(module, other) < distance(run(distill(epochs=4.0)).torch_module(), other)
    assert isinstance(step, ReadsNetworks)
    assert step.networks == (OtherNetwork("teacher.py:build", "teacher.pt", "compress.distill.teacher"),)
    assert distill().networks == ()


def test_several_teachers_each_have_a_line(run: Any, networks: ModuleType) -> None:
    step = distill(teachers=(TeacherNetwork(share=2.0), TeacherNetwork("teacher.py:build")))
    notes = run(step, others={"teacher.py:build": networks.random(networks.Residual, 5)}).history[-1].notes
    assert [note.partition(":")[0] for note in notes[:3]] == [
        "teacher original",
        "teacher teacher.py",
        "student before",
    ]


def test_features_are_compared_too(run: Any) -> None:
    options = FeatureOptions(
        hints=("third=second",), attention=("second=first",), relational=True, contrast=True, hint_weight=1.0
    )
    first, plain = run(distill(features=options)).torch_module(), run(distill()).torch_module()
    assert not torch.equal(first.head.weight, plain.head.weight)


def test_each_round_is_taught_by_the_last_student_and_the_best_is_kept(run: Any, listener: Any) -> None:
    options = FeatureOptions(hints=("third=second",), hint_weight=0.1)
    state = run(distill(rounds=3, features=options))
    notes = state.history[-1].notes
    losses = [float(note.split()[-2]) for note in notes if note.startswith("round") and "before" in note]
    (kept,) = (note for note in notes if note.startswith("kept the student"))
    assert kept == f"kept the student of round {losses.index(min(losses)) + 1}, whose loss is the least"
    assert {name for name in listener.units if name.startswith("distill")} == {
        f"distill: round {number} of 3" for number in (1, 2, 3)
    }


def test_augmented_samples_are_asked_for_in_every_step(run: Any, labels: Tensor) -> None:
    class Augmented:
        def __len__(self) -> int:
            return COUNT

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            return IMAGES[index] + 0.1 * torch.randn(3, 16, 16), labels[index]

    notes = run(distill(), train=Augmented()).history[-1].notes
    assert "the teacher was asked in every step: samples are drawn anew each time" in notes


def test_adapters_are_fitted_to_the_same_samples_whatever_was_drawn_before(
    run: Any, labels: Tensor, tmp_path: Any
) -> None:
    class Augmented:
        def __len__(self) -> int:
            return COUNT

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            return IMAGES[index] + 0.1 * torch.randn(3, 16, 16), labels[index]

    options = FeatureOptions(hints=("third=second",), contrast=True)
    found = []
    for name in ("first", "second"):
        module = run(distill(features=options, epochs=0.5), Augmented(), scratch=tmp_path / name).torch_module()
        found.append(list(module.state_dict().values()))
        torch.rand(3)
    assert all(map(torch.equal, *found))


def test_a_step_that_was_interrupted_goes_on_to_the_same_bits(run: Any, labels: Tensor, tmp_path: Any) -> None:
    class Faulty:
        def __init__(self, reads: int) -> None:
            self.reads = reads

        def __len__(self) -> int:
            return COUNT

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            self.reads -= 1
            if self.reads < 0:
                raise OSError("the disk is gone")
            return IMAGES[index], labels[index]

    def weights(scratch: str, train: Any) -> list[Tensor]:
        return list(run(distill(rounds=2), train, scratch=tmp_path / scratch).torch_module().state_dict().values())

    counted = Faulty(10**6)
    expected = weights("whole", counted)
    whole = 10**6 - counted.reads
    for cut in (whole // 4, whole // 2, whole * 3 // 4):
        with pytest.raises(InputError, match="the disk is gone"):
            weights(f"{cut}", Faulty(cut))
        rest = Faulty(whole)
        assert all(map(torch.equal, weights(f"{cut}", rest), expected))
        assert rest.reads > 0


def test_weights_that_are_2_4_sparse_stay_so(run: Any, networks: ModuleType, carry_out: Any) -> None:
    sparse = carry_out(networks.random(networks.Plain), SparsifyTwoFour())
    state = run(distill(average=0.9), student=sparse)
    assert SPARSE_2_4 in state.facts
    assert is_sparse(state)


def test_a_teacher_with_other_outputs_is_refused(run: Any, teacher: nn.Module) -> None:
    teacher.head = nn.Linear(32, 7)
    with pytest.raises(InputError, match=r"teacher: expected the student's outputs, \(2, 10\), got \(2, 7\)"):
        run(distill())


def test_layers_that_are_not_there_are_refused(run: Any) -> None:
    with pytest.raises(InputError, match="a layer of the student; did you mean third"):
        run(distill(features=FeatureOptions(hints=("thrid",))))


def test_without_a_train_split_there_is_nothing_to_learn_from(networks: ModuleType, make_context: Any) -> None:
    state = ModelState(SPECS, networks.random(networks.Plain))
    with pytest.raises(InputError, match=r"train: expected a split 'train', got only calibration"):
        distill().run(state, make_context(calibration=(IMAGES, NO_LABELS)))


def test_without_a_recipe_there_is_no_teacher(networks: ModuleType, make_context: Any) -> None:
    state = ModelState(SPECS, networks.random(networks.Plain))
    with pytest.raises(StepError, match="distill: no recipe is at hand"):
        distill().run(state, make_context(train=(IMAGES, NO_LABELS)))


def test_a_run_that_betters_nothing_is_warned_about(run: Any, listener: Any) -> None:
    trained = run(distill(epochs=4.0)).torch_module()
    state = run(distill(optimizer="sgd", learning_rate=30.0, epochs=0.5), student=trained)
    assert all(map(torch.equal, state.torch_module().state_dict().values(), trained.state_dict().values()))
    assert listener.warnings == ["distill: no epoch bettered the weights it began with; a lower learning rate may"]


def test_the_pass_is_what_the_recipe_says(target: Target, make_recipe: Callable[..., Recipe]) -> None:
    asked = {
        "epochs": 3, "optimizer": "sgd", "average": 0.99, "minutes": 5.0, "temperature": 2.0, "alpha": 1.0, "rounds": 2,
        "samples": "both",
        "teachers": ["original", {"source": "t.py:build", "weights": "t.pt", "output": 1, "share": 2.0}],
        "hints": ["a", "b=c"], "relational": True,
    }  # fmt: skip
    step = Distill.for_target(target, make_recipe(compress={"distill": asked}))
    assert step == Distill(
        epochs=3.0,
        optimizer="sgd",
        average=0.99,
        minutes=5.0,
        teachers=(TeacherNetwork(), TeacherNetwork("t.py:build", "t.pt", 1, 2.0)),
        temperature=2.0,
        alpha=1.0,
        samples="both",
        rounds=2,
        features=FeatureOptions(hints=("a", "b=c"), relational=True),
    )
    assert from_text(to_text(step), (Distill,)) == step
    assert "alpha=1.0" in to_short_text(step)
    assert Distill.for_target(target, make_recipe()) is None
