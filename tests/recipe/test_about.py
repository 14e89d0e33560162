"""What a recipe says of the network, read strictly."""

from __future__ import annotations

import pytest
from edgewright.ir.errors import InputError
from edgewright.recipe.schema import load_recipe

from .conftest import RECIPE


def test_labels_may_stand_in_a_file_of_their_own(write):
    said = "    about: {name: animals, labels: labels.txt, inputs: {image: {mean: [0.5, 1], std: [2, 3]}}}\n"
    about = load_recipe(write(**{"recipe.yaml": RECIPE + said, "labels.txt": "cat\n\nmouse and dog \n"})).about
    assert (about.name, about.labels) == ("animals", ("cat", "mouse and dog"))
    assert (about.inputs["image"].mean, about.inputs["image"].std) == ((0.5, 1), (2, 3))


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ("{labels: nowhere.txt}", "a file that exists"),
        ("{labels: [1, 2]}", "about.labels"),
        ("{inputs: {image: {mean: [1]}}}", "as many numbers in std as in mean"),
        ("{inputs: {image: {mean: [1], std: [0]}}}", "numbers other than 0 in std"),
        ("{inputs: {sound: {}}}", "about.inputs.sound: expected one of the model's inputs: image, got 'sound'"),
        ("{licence: MIT}", "about.licence"),
    ],
)
def test_what_does_not_fit_is_told(write, about, message):
    with pytest.raises(InputError, match=message):
        load_recipe(write(**{"recipe.yaml": f"{RECIPE}    about: {about}\n"}))
