"""`edgewright explain`: two tables or one document, of what the cache remembers or of a recipe that is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Program = Callable[..., Any]


@pytest.fixture
def copy(built: Any, tmp_path: Path) -> Any:
    """A build that was only quantized, made anew where it lies, so that the cache remembers its recipe."""
    return built.copied(tmp_path)


@pytest.fixture
def quantized(copy: Any, edgewright: Program) -> Any:
    """The artifact's folder and the cache, after a build of quantization alone."""
    only = ["--set", "compress.prune=null", "--set", "compress.recover=null"]
    assert edgewright("build", *copy.arguments(), *only).code == 0
    return copy


@pytest.mark.slow
def test_the_recipe_is_remembered_with_its_overrides(quantized: Any, edgewright: Program) -> None:
    shown = edgewright("explain", quantized.artifact, "--cache", quantized.cache)
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0].split() == ["x86-avx2", "top1", "flips", "latency", "p50", "bytes", "minutes"]
    assert [line.split("  ")[0] for line in lines[1:4]] == [
        "float baseline", "artifact", "without insert-quantization",
    ]  # fmt: skip
    assert lines[4:6] == ["", lines[5]]
    assert lines[6].startswith("insert-quantization")
    assert "can't be left out alone: export: " in shown.out
    assert "note: the artifact is not" not in shown.out


@pytest.mark.slow
def test_json_is_one_document_and_the_second_time_everything_is_known(quantized: Any, edgewright: Program) -> None:
    first, second = (edgewright("explain", quantized.artifact, "--cache", quantized.cache, "--json") for _ in range(2))
    assert (first.code, second.code) == (0, 0)
    document = json.loads(first.out)
    assert document["schema"] == 1
    (only,) = document["passes"]
    assert (only["key"], only["passes"]) == ("compress.quantize", ["insert-quantization"])
    assert only["goes_too"] == ["fold-batchnorm", "calibrate"]
    assert json.loads(second.out) == document
    assert second.err == ""


@pytest.mark.slow
def test_the_artifact_stays_as_it_is(quantized: Any, edgewright: Program) -> None:
    before = {path: path.stat().st_mtime_ns for path in quantized.out.rglob("*")}
    assert edgewright("explain", quantized.artifact, "--cache", quantized.cache).code == 0
    assert {path: path.stat().st_mtime_ns for path in quantized.out.rglob("*")} == before


def test_without_its_cache_it_asks_for_the_recipe(built: Any, edgewright: Program, tmp_path: Path) -> None:
    shown = edgewright("explain", built.artifact, "--cache", tmp_path / "empty")
    assert (shown.code, shown.out) == (2, "")
    assert "give it with --recipe" in shown.err


@pytest.mark.parametrize("arguments", [["--target", "x86-avx2"], ["--set", "seed=1"]])
def test_options_of_the_recipe_want_one(arguments: list[str], built: Any, edgewright: Program) -> None:
    shown = edgewright("explain", built.artifact, *arguments)
    assert shown.code == 2
    assert f"error: {arguments[0]}: expected --recipe beside it, got none" in shown.err


def test_a_profile_that_is_not_known_by_its_name_is_asked_for(copy: Any, edgewright: Program) -> None:
    file = copy.artifact / "manifest.json"
    file.write_text(file.read_text().replace('"target": "x86-avx2"', '"target": "my-board"'))
    shown = edgewright("explain", copy.artifact, "--recipe", copy.recipe, "--cache", copy.cache)
    assert shown.code == 2
    assert "my-board" in shown.err


def test_what_is_no_artifact_is_refused(edgewright: Program, tmp_path: Path) -> None:
    shown = edgewright("explain", tmp_path / "nothing", "--cache", tmp_path / "cache")
    assert (shown.code, shown.out) == (2, "")
    assert "expected an artifact's folder, with a manifest.json" in shown.err


def test_files_that_are_gone_are_named(built: Any, edgewright: Program, tmp_path: Path) -> None:
    copy = built.copied(tmp_path)
    assert edgewright("build", *copy.arguments()).code == 0
    shutil.rmtree(copy.recipe.parent)
    shown = edgewright("explain", copy.artifact, "--cache", copy.cache)
    assert shown.code == 2
    assert "recipe.yaml: model.source: expected a file that exists" in shown.err
