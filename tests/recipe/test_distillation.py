"""compress.distill: who teaches, what is compared, and what cannot be asked for."""

from __future__ import annotations

from typing import Any

import pytest
from edgewright.ir.errors import InputError
from edgewright.recipe.distillation import Distill, Teacher
from edgewright.recipe.schema import load_recipe
from edgewright.training.feature_terms import FeatureOptions


@pytest.fixture
def distill(write: Any) -> Any:
    """distill(text, **files): what a recipe with `distill: text` holds."""

    def read(text: str, **files: str) -> Distill | None:
        recipe = f"""
            model: {{source: model.py:build, inputs: {{image: {{shape: [1, 3]}}}}}}
            data: data.py:splits
            compress:
              distill: {text}
        """
        return load_recipe(write(**{"recipe.yaml": recipe, **files})).compress.distill

    return read


def test_the_original_teaches_where_nobody_else_is_named(distill: Any) -> None:
    for text in ("{}", "{teacher: original}", "{teacher: {source: original}}"):
        found = distill(text)
        assert found.all_teachers == (Teacher(),)
        assert (found.epochs, found.temperature, found.alpha) == (2, 4.0, 0.7)


def test_teachers_are_other_networks_with_their_weights_and_shares(distill: Any) -> None:
    text = "{teachers: [original, {source: model.py:large, weights: large.safetensors, output: 1, share: 2}, net.pt2]}"
    found = distill(text, **{"large.safetensors": "", "net.pt2": ""})
    other = Teacher(source="model.py:large", weights="large.safetensors", output=1, share=2.0)
    assert found.all_teachers == (Teacher(), other, Teacher(source="net.pt2"))


def test_layers_may_have_two_names(distill: Any) -> None:
    found = distill("{hints: [layer1, layer2.0=stage2], attention: [layer3], relational: true, contrast: true}")
    assert (found.hints, found.attention) == (("layer1", "layer2.0=stage2"), ("layer3",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{teacher: orignal}", "teacher.source: expected original, or file.py:callable, a .pt2 file or an .onnx file"),
        ("{teacher: nowhere.py:build}", "teacher.source: expected original, or a file that exists"),
        ("{teacher: {source: model.py:build, weights: no.pt}}", "teacher.weights: expected a file that exists"),
        ("{teacher: {source: original, weights: data.py}}", "teacher: expected no weights: original has its own"),
        ("{teacher: original, teachers: [original]}", "distill: expected one of teacher and teachers"),
        ("{teachers: [original, {share: 0}]}", "teachers.1.share: expected greater than 0"),
        ("{temperature: 0}", "temperature: expected greater than 0"),
        ("{alpha: 0}", "alpha: expected greater than 0"),
        ("{alpha: 1.1}", "alpha: expected less than or equal to 1"),
        ("{samples: unlabelled}", "distill: expected alpha 1 with samples unlabelled, which leave nothing to labels"),
        ("{samples: all}", "samples: expected 'train', 'unlabelled' or 'both'"),
        ("{rounds: 0}", "rounds: expected greater than or equal to 1"),
        ("{hints: [=a]}", "hints: expected names of layers, or name=other"),
        ("{attention: [a=]}", "attention: expected names of layers, or name=other"),
        ("{relational: true, batch_size: 1}", "distill: expected a batch_size of 2 or more"),
        ("{temprature: 2}", "an unknown key (did you mean 'temperature'?)"),
    ],
)
def test_what_cannot_be_asked_for_is_said(text: str, message: str, distill: Any) -> None:
    with pytest.raises(InputError) as caught:
        distill(text)
    assert message in str(caught.value)


def test_features_count_as_much_as_where_no_recipe_says() -> None:
    defaults = FeatureOptions()
    assert {name: getattr(Distill(), name) for name in FeatureOptions.__dataclass_fields__} == vars(defaults)
    assert defaults.hint_weight <= defaults.attention_weight <= 100  # more holds a pruned student back
