"""Other networks of a recipe: loaded with their own weights, told apart by what they are, and blamed by their key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.recipe.other_networks import OtherNetwork
from edgewright.recipe.schema import Recipe, load_recipe
from edgewright.recipe.source import load_model

TEACHER = """
    import torch
    from torch import nn

    def wide():
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))

    def tall():
        return nn.Sequential(nn.Flatten(), nn.Linear(100, 2))
"""


@pytest.fixture
def recipe(write: Any) -> Recipe:
    path = write(**{"teacher.py": TEACHER})
    weights = {"1.weight": torch.full((2, 192), 0.5), "1.bias": torch.zeros(2)}
    torch.save(weights, path.parent / "wide.pt")
    torch.save({"1.bias": torch.zeros(2)}, path.parent / "half.pt")
    return load_recipe(path)


def test_it_is_loaded_with_its_own_weights(recipe: Recipe) -> None:
    network = OtherNetwork("teacher.py:wide", "wide.pt", "key").load(recipe)
    assert not network.training
    assert float(network(torch.ones(1, 3, 8, 8)).sum().detach()) == 2 * 192 * 0.5
    assert type(load_model(recipe)).__name__ == "Net"


def test_what_it_is_decides_its_fingerprint(recipe: Recipe, tmp_path: Path) -> None:
    def fingerprint(weights: str | None) -> str:
        return OtherNetwork("teacher.py:wide", weights, "key").fingerprint(recipe, tmp_path / "memory")

    first = fingerprint("wide.pt")
    assert fingerprint("wide.pt") == first != fingerprint(None)
    torch.save({"1.weight": torch.zeros(2, 192), "1.bias": torch.zeros(2)}, recipe.folder / "wide.pt")
    assert fingerprint("wide.pt") != first


@pytest.mark.parametrize(
    ("source", "weights", "message"),
    [
        ("teacher.py:wied", None, r"compress\.distill\.teacher\.source: .*did you mean 'wide'"),
        ("teacher.py:wide", "half.pt", r"compress\.distill\.teacher\.weights: .* missing: 1\.weight"),
        ("teacher.py:tall", None, r"compress\.distill\.teacher\.inputs: expected inputs that the network takes"),
    ],
)
def test_mistakes_are_said_of_the_key_that_names_it(
    source: str, weights: str | None, message: str, recipe: Recipe, tmp_path: Path
) -> None:
    network = OtherNetwork(source, weights, "compress.distill.teacher")
    with pytest.raises(InputError, match=message):
        network.load(recipe)
    with pytest.raises(InputError, match=message):
        network.fingerprint(recipe, tmp_path / "memory")
