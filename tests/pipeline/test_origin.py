"""What an artifact was built from is found by its key, is replaced when it moves, and may be unknown."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from edgewright.ir.errors import InputError
from edgewright.pipeline.origin import Origin, recall, remember
from edgewright.pipeline.store import Store
from edgewright.recipe.schema import load_recipe
from edgewright.targets import builtin_names, load_target


@pytest.fixture
def store(tmp_path: Path, listener: Any) -> Store:
    return Store(tmp_path / "cache", listener)


@pytest.mark.parametrize("name", builtin_names())
def test_recipe_overrides_and_profile_come_back(name: str, recipe_file: Path, store: Store) -> None:
    recipe, target = load_recipe(recipe_file, ["compress.prune=null"]), load_target(name)
    remember(store, "key", recipe, target)
    assert recall(store, "key") == Origin(recipe, target)


def test_what_nobody_built_here_is_unknown(store: Store) -> None:
    assert recall(store, "key") is None


def test_a_recipe_that_moved_is_found_where_it_was_built_last(recipe_file: Path, store: Store) -> None:
    target = load_target("x86-avx2")
    remember(store, "key", load_recipe(recipe_file), target)
    moved = recipe_file.parent.with_name("moved")
    shutil.move(recipe_file.parent, moved)
    with pytest.raises(InputError, match=r"recipe\.yaml: model\.source: expected a file that exists"):
        recall(store, "key")
    remember(store, "key", load_recipe(moved / "recipe.yaml"), target)
    found = recall(store, "key")
    assert found is not None
    assert found.recipe.folder == moved
