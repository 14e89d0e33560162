"""Terms: which layers are compared, through adapters of the right widths, and what can't be compared."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.training.feature_losses import attention_loss, hint_loss
from edgewright.training.feature_terms import FeatureOptions, Term, terms_for
from edgewright.training.features import Place, recorded
from torch import Tensor, nn

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def pair(networks: ModuleType) -> tuple[nn.Module, nn.Module]:
    """A student and a teacher of other widths."""
    return networks.random(networks.Plain), networks.random(networks.Residual, 1)


def loss_of(term: Term, student: nn.Module, teacher: nn.Module) -> Tensor:
    with recorded(student, [term.student]) as seen, recorded(teacher, [term.teacher]) as taught:
        student(IMAGES), teacher(IMAGES)
    return term.loss(seen, taught)


def test_hints_are_adapted_to_the_teachers_width(pair: Any) -> None:
    (term,) = terms_for(FeatureOptions(hints=("third=second",), hint_weight=7.0), *pair, (IMAGES,))
    (adapter,) = term.helpers
    assert (adapter.in_channels, adapter.out_channels, adapter.kernel_size) == (24, 32, (1, 1))
    student, teacher = pair
    with recorded(student, [Place("third")]) as seen, recorded(teacher, [Place("second")]) as taught:
        student(IMAGES), teacher(IMAGES)
    expected = 7 * hint_loss(adapter(seen[Place("third")]), taught[Place("second")])
    assert torch.equal(loss_of(term, *pair), expected)


def test_hints_of_features_without_rows_are_adapted_by_a_linear_layer(networks: ModuleType) -> None:
    student, teacher = networks.random(networks.Perceptron), networks.random(networks.Flattened)
    (term,) = terms_for(FeatureOptions(hints=("layers.3=hidden",)), student, teacher, (IMAGES,))
    assert (term.helpers[0].in_features, term.helpers[0].out_features) == (16, 32)


def test_adapters_begin_where_they_bring_features_nearest(networks: ModuleType) -> None:
    """A student that computes the same but for a scale and a bias in each channel has next to nothing to learn."""
    teacher = networks.random(networks.Plain)
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        student.first.weight[5:] *= 2.0
        student.first.bias += 0.5
        student.first.bias[5:] += 1.0
    student.third[0].weight.data.zero_()  # features that are always the same are no trouble
    terms = terms_for(FeatureOptions(hints=("first", "third"), hint_weight=1.0), student, teacher, (IMAGES,))
    with recorded(teacher, [Place("first"), Place("third")]) as taught:
        teacher(IMAGES)
    spread = [taught[place].var(dim=(0, 2, 3), unbiased=False).mean() for place in (Place("first"), Place("third"))]
    first, third = (loss_of(term, student, teacher) for term in terms)
    assert first < 0.01 * spread[0]  # the ridge shrinks a little
    assert third < 1.01 * spread[1]  # the mean is all that can be said then


def test_attention_needs_nothing_that_learns(pair: Any) -> None:
    (term,) = terms_for(FeatureOptions(attention=("second=first",)), *pair, (IMAGES,))
    assert (term.compare, term.helpers, term.weight) == (attention_loss, (), 100.0)
    assert loss_of(term, *pair) > 0


def test_relations_and_contrast_are_those_of_the_last_features(pair: Any) -> None:
    terms = terms_for(FeatureOptions(relational=True, contrast=True), *pair, (IMAGES,))
    assert [(term.student, term.teacher) for term in terms] == [(Place("head", True), Place("head", True))] * 3
    assert [term.weight for term in terms] == [25.0, 50.0, 0.8]
    assert [(helper.in_features, helper.out_features) for helper in terms[2].helpers] == [(24, 128), (32, 128)]
    assert all(loss_of(term, *pair) > 0 for term in terms)


def test_nothing_asked_is_no_term(pair: Any) -> None:
    assert terms_for(FeatureOptions(), *pair, (IMAGES,)) == ()


def test_layers_that_are_not_there_are_all_named_at_once(pair: Any) -> None:
    options = FeatureOptions(hints=("thrid", "second=frist"), attention=("nowhere",))
    with pytest.raises(InputError) as caught:
        terms_for(options, *pair, (IMAGES,))
    found = [str(problem) for problem in caught.value.problems]
    assert len(found) == 3
    assert "compress.distill.hints: expected a layer of the student; did you mean third" in found[0]
    assert "a layer of the teacher; did you mean first" in found[1]
    assert "compress.distill.attention: expected a layer of the student, got 'nowhere'" in found[2]


def test_features_of_two_kinds_cannot_be_compared(pair: Any) -> None:
    with pytest.raises(InputError, match=r"of one kind in both networks, got third: \(4, 24, 16, 16\) and \(4, 10\)"):
        terms_for(FeatureOptions(hints=("third=head",)), *pair, (IMAGES,))
    with pytest.raises(InputError, match=r"features with places.*got head: \(4, 10\) and \(4, 10\)"):
        terms_for(FeatureOptions(attention=("head",)), *pair, (IMAGES,))
