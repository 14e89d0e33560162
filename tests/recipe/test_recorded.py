"""A recorded recipe is the recipe that was built, whatever becomes of its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edgewright.ir.errors import InputError
from edgewright.recipe.recorded import from_record, to_record
from edgewright.recipe.schema import load_recipe

TEXT = """
model: {source: model.py:build, inputs: {image: {shape: [batch, 1, 8, 8]}, mask: {shape: [batch, 8], dtype: int64}}}
data: data.py:splits
compress:
  prune: {flops: 0.5, keep: [head]}
  distill: {teachers: [original, {source: model.py:build, share: 2.0}], hints: [body=trunk], minutes: 3.0}
  quantize: {mode: qat, train: {distill: {alpha: 1.0}}}
budget: {accuracy_drop_points: -1.0}
about: {name: small, labels: labels.txt, inputs: {image: {mean: [2], std: [4]}}}
targets: [x86-avx2, ./board.yaml]
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    for name in ("model.py", "data.py"):
        (tmp_path / name).touch()
    (tmp_path / "labels.txt").write_text("north\nsouth\n")
    (tmp_path / "recipe.yaml").write_text(TEXT)
    return tmp_path / "recipe.yaml"


def test_what_was_recorded_comes_back_with_its_overrides(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["compress.prune.flops=0.25", "seed=7"])
    record = json.loads(json.dumps(to_record(recipe)))
    recipe_file.write_text("nothing: of this")
    assert from_record(record) == recipe


def test_files_that_are_gone_are_named(recipe_file: Path) -> None:
    record = to_record(load_recipe(recipe_file))
    (recipe_file.parent / "model.py").unlink()
    with pytest.raises(InputError, match=r"model\.source: expected a file that exists"):
        from_record(record)
