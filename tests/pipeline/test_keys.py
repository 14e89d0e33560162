"""Keys: what can change a result changes its key, and nothing else does."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edgewright.passes.calibrate import Calibrate
from edgewright.pipeline import keys
from edgewright.recipe.schema import Recipe
from edgewright.runtimes import ModelNotes, emitter
from edgewright.runtimes.contract import NO_NOTES
from edgewright.targets import Target

DATA = {"calibration": "a" * 64, "train": "b" * 64}


@pytest.fixture
def step(target: Target, make_recipe: Callable[..., Recipe]) -> Calibrate:
    found = Calibrate.for_target(target, make_recipe(compress={"quantize": {}}))
    assert found is not None
    return found


def test_a_digest_is_of_values_and_not_of_their_order() -> None:
    assert keys.digest({"a": 1, "b": 2}) == keys.digest({"b": 2, "a": 1})
    assert keys.digest("a", "b") != keys.digest("b", "a")
    assert keys.digest("ab") != keys.digest("a", "b")
    assert len(keys.digest()) == 64


@pytest.mark.parametrize(
    "change",
    [{"before": "other"}, {"data": {**DATA, "train": "c"}}, {"task": "regression"}, {"seed": 1}],
    ids=["state", "data", "task", "seed"],
)
def test_everything_that_a_step_is_given_is_in_its_key(change: dict[str, Any], step: Calibrate) -> None:
    given = {"before": "state", "data": DATA, "task": "classification", "seed": 0}
    key = keys.step_key(step, **given)
    assert keys.step_key(step, **given) == key
    assert keys.step_key(step, **{**given, "data": dict(reversed(DATA.items()))}) == key
    assert keys.step_key(step, **{**given, **change}) != key


@pytest.mark.parametrize("change", [{"method": "entropy"}, {"samples": 512}, {"keep_float": ("head",)}])
def test_every_option_of_a_step_is_in_its_key(change: dict[str, Any], step: Calibrate) -> None:
    other = replace(step, **change)
    assert keys.step_key(other, "state", DATA, "classification", 0) != keys.step_key(
        step, "state", DATA, "classification", 0
    )


def test_an_artifact_rests_on_the_profiles_numbers_and_not_on_its_prose(target: Target) -> None:
    onnx = emitter("onnxruntime")
    key = keys.emit_key(onnx, target, "state", NO_NOTES)
    assert keys.emit_key(onnx, target.model_copy(update={"summary": "other words"}), "state", NO_NOTES) == key
    assert keys.emit_key(onnx, target.model_copy(update={"threads": 2}), "state", NO_NOTES) != key
    assert keys.emit_key(onnx, target, "other state", NO_NOTES) != key
    assert keys.emit_key(onnx, target, "state", ModelNotes("digits")) != key


def test_libraries_are_known_by_their_versions() -> None:
    versions = keys.library_versions()
    assert versions["torch"] == importlib.metadata.version("torch")
    assert "absent" not in versions.values()
    assert keys.runtime_version("onnxruntime") == importlib.metadata.version("onnxruntime")
    assert keys.runtime_version("no-such-runtime") == "absent"


@pytest.fixture
def source_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """source_hash(**texts): `own_source` of a house with these files, given as room__file."""

    def compute(**texts: str) -> str:
        root = tmp_path / f"house{len(list(tmp_path.iterdir()))}"
        for name, text in {"passes__prune": "1", "commands__build": "1", "tests__test": "1", **texts}.items():
            room, file = name.split("__")
            (root / room).mkdir(parents=True, exist_ok=True)
            (root / room / f"{file}.py").write_text(text)
            if room != "tests":
                (root / room / "__init__.py").touch()
        (root / "pipeline").mkdir()
        monkeypatch.setattr(keys, "__file__", str(root / "pipeline" / "keys.py"))
        return keys.own_source.__wrapped__()

    return compute


def test_a_changed_pass_changes_every_key_and_a_changed_command_none(source_hash: Callable[..., str]) -> None:
    assert source_hash() == source_hash(commands__build="2") == source_hash(tests__test="2")
    assert source_hash() != source_hash(passes__prune="2")
    assert source_hash() != source_hash(passes__new="2")
