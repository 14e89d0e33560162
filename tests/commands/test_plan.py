"""`edgewright plan`: the order with its reasons, for one target or several, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgewright.pipeline.planning import plan, targets_of
from edgewright.recipe.schema import load_recipe


def test_it_prints_every_step_in_order_with_its_reasons(recipe_file: Path, edgewright: Callable[..., Any]) -> None:
    shown = edgewright("plan", recipe_file)
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0] == "plan for x86-avx2"
    steps = [line.split("{")[0] for line in lines if line[:1].isdecimal()]
    assert steps == [
        "1. prune-channels",
        "2. recover",
        "3. export",
        "4. fold-batchnorm",
        "5. calibrate",
        "6. insert-quantization",
    ]
    assert sum("because" in line for line in lines) >= len(steps)


def test_json_is_one_document_with_the_contracts_keys(recipe_file: Path, edgewright: Callable[..., Any]) -> None:
    shown = edgewright("plan", recipe_file, "--json")
    document = json.loads(shown.out)
    assert (shown.code, shown.err) == (0, "")
    assert (document["schema"], document["target"], document["skips"]) == (1, "x86-avx2", [])
    recipe = load_recipe(recipe_file)
    (target,) = targets_of(recipe)
    planned = plan(recipe, target)
    assert [step["pass"] for step in document["steps"]] == [step.text for step in planned.steps]
    assert all(step["because"] for step in document["steps"])


def test_what_is_skipped_is_said_with_its_reason(recipe_file: Path, edgewright: Callable[..., Any]) -> None:
    asked = ["--set", "compress.sparsify='2:4'"]
    assert "skipped" in edgewright("plan", recipe_file, *asked).out
    (skip,) = json.loads(edgewright("plan", recipe_file, *asked, "--json").out)["skips"]
    assert skip["what"]
    assert "onnxruntime" in skip["why"]


def test_several_targets_have_a_plan_each_and_one_twice_has_one(
    recipe_file: Path, edgewright: Callable[..., Any]
) -> None:
    targets = ["--target", "x86-avx512-vnni", "--target", "x86-avx2", "--target", "x86-avx512-vnni"]
    shown = edgewright("plan", recipe_file, *targets)
    assert [line for line in shown.out.splitlines() if line.startswith("plan for")] == [
        "plan for x86-avx512-vnni",
        "plan for x86-avx2",
    ]
    document = json.loads(edgewright("plan", recipe_file, *targets, "--json").out)
    assert document["schema"] == 1
    assert [entry["target"] for entry in document["plans"]] == ["x86-avx512-vnni", "x86-avx2"]


def test_overrides_change_the_plan(recipe_file: Path, edgewright: Callable[..., Any]) -> None:
    shown = edgewright(
        "plan", recipe_file, "--set", "compress.prune=null", "--set", "compress.quantize.calibration.method=entropy"
    )
    assert "prune-channels" not in shown.out
    assert "method=entropy" in shown.out


def test_a_typed_path_of_a_profile_starts_in_the_working_folder(
    recipe_file: Path, edgewright: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recipe_file.parents[1]
    (folder / "board.yaml").write_text("name: board\nsummary: mine\nextends: x86-avx2\n")
    monkeypatch.chdir(folder)
    assert "plan for board" in edgewright("plan", recipe_file, "--target", "./board.yaml").out


def test_two_profiles_of_one_name_are_not_taken_for_one(recipe_file: Path, edgewright: Callable[..., Any]) -> None:
    paths = [recipe_file.with_name(name) for name in ("first.yaml", "second.yaml")]
    for threads, path in enumerate(paths, start=1):
        path.write_text(f"name: board\nsummary: mine\nextends: x86-avx2\nthreads: {threads}\n")
    shown = edgewright("plan", recipe_file, "--target", paths[0], "--target", paths[1])
    assert (shown.code, shown.out) == (2, "")
    assert f"target: {paths[1]}: expected profiles of different names, got another one called 'board'" in shown.err
    paths[1].write_text(paths[0].read_text())
    assert edgewright("plan", recipe_file, "--target", paths[0], "--target", paths[1]).out.count("plan for") == 1


def test_every_target_that_is_wrong_is_named(recipe_file: Path, edgewright: Callable[..., Any]) -> None:
    shown = edgewright("plan", recipe_file, "--target", "one", "--target", "x86-avx2", "--target", "./two.yaml")
    assert (shown.code, shown.out) == (2, "")
    assert "got 'one'" in shown.err
    assert "two.yaml: expected a readable file" in shown.err


def test_an_unknown_target_ends_with_2_and_prints_nothing(recipe_file: Path, edgewright: Callable[..., Any]) -> None:
    shown = edgewright("plan", recipe_file, "--target", "x86-avx3", "--json")
    assert (shown.code, shown.out) == (2, "")
    assert "(did you mean 'x86-avx2'?)" in shown.err
