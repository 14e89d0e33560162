"""`edgewright build`: the document that programs read, the table that a person reads, and where artifacts lie."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Program = Callable[..., Any]


@pytest.fixture
def copy(built: Any, tmp_path: Path) -> Any:
    """A build whose steps are all in the cache."""
    return built.copied(tmp_path)


def test_json_is_one_document_with_the_contracts_keys(built: Any) -> None:
    document = built.ran.document()
    assert document["schema"] == 1
    (result,) = document["results"]
    assert (result["target"], result["runtime"], result["status"]) == ("x86-avx2", "onnxruntime", "ok")
    assert result["artifact"] == str(built.artifact)
    assert set(result["accuracy"]) == {"metric", "baseline", "artifact", "flips", "samples"}
    assert (result["accuracy"]["metric"], result["accuracy"]["samples"]) == ("top1", 300)
    for which in ("baseline", "artifact"):
        assert result["latency_ns"][which]["p50"] <= result["latency_ns"][which]["p95"]
        for figure in ("bytes", "peak_rss_bytes", "macs", "parameters"):
            assert result[figure][which] > 0
    assert result["bytes"]["artifact"] < result["bytes"]["baseline"]
    assert result["int8_coverage"] == {"quantized": 3, "eligible": 3}
    assert {"parity_steps", "steps", "skips", "budget", "reused", "remarks"} <= set(result)
    for step in result["steps"]:
        assert set(step) == {"pass", "seconds", "cached", "notes"}


@pytest.mark.slow
def test_how_often_two_targets_predict_the_same_is_said_with_the_samples(copy: Any, program: Program) -> None:
    arguments = [*copy.arguments(), "--target", "x86-avx2", "--target", "arm64-cortex-a72"]
    document = program("build", *arguments, "--json").document()
    (pair,) = document["agreement"]
    assert pair["targets"] == ["x86-avx2", "arm64-cortex-a72"]
    assert pair["agree"] == pytest.approx(1 - len(pair["differ"]) / 300)
    shown = program("build", *arguments).out.splitlines()
    share = f"{pair['agree']:.2%} of the samples"
    assert shown[-1].startswith(f"x86-avx2 and arm64-cortex-a72 predict the same on {share}")


def test_one_target_agrees_with_nobody(built: Any) -> None:
    assert built.ran.document()["agreement"] == []


def test_progress_goes_to_standard_error_in_plain_lines(built: Any) -> None:
    lines = built.ran.err.splitlines()
    assert "\x1b" not in built.ran.err
    (result,) = built.ran.document()["results"]
    for step in result["steps"]:
        assert step["cached"] or step["pass"].partition("{")[0] in lines


def test_the_artifacts_folder_is_out_and_the_targets_name(built: Any) -> None:
    assert [path.name for path in built.out.iterdir()] == ["x86-avx2"]
    names = {path.name for path in built.artifact.iterdir()}
    assert names == {"model.onnx", "manifest.json", "plan.txt", "golden", "reports", "baseline"}


def test_a_person_gets_what_was_done_and_a_table_at_the_end(copy: Any, edgewright: Program) -> None:
    shown = edgewright("build", *copy.arguments())
    assert (shown.code, shown.err) == (0, "")
    head, _, table = shown.out.partition(f"artifact: {copy.artifact}\n")
    assert "budget.accuracy_drop_points: met: " in head
    assert "steps: 0 run, 6 from the cache" in head
    assert "not measured again, nothing it rests on has changed: parity, accuracy, latency" in head
    for label in ("top1", "prediction flips", "latency p50", "latency p95", "artifact", "peak memory"):
        assert any(line.startswith(label) for line in table.splitlines())
    assert "x86-avx2" in table
    assert "float baseline" in table


def test_a_build_that_changes_nothing_writes_nothing(copy: Any, edgewright: Program) -> None:
    def stamps() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in copy.out.rglob("*")}

    before = stamps()
    assert edgewright("build", *copy.arguments()).code == 0
    assert stamps() == before


@pytest.mark.parametrize("lost", ["baseline", "baseline/model.onnx", "golden/inputs.npz", "manifest.json"])
def test_what_is_missing_from_the_folder_is_put_back(copy: Any, edgewright: Program, lost: str) -> None:
    path = copy.artifact / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if lost == "manifest.json":  # then it can't be told from somebody's own folder, and is left alone
        shown = edgewright("build", *copy.arguments())
        assert shown.code == 2
        assert "--out: expected an artifact to replace, or nothing" in shown.err
        assert (copy.artifact / "model.onnx").is_file()
        return
    assert edgewright("build", *copy.arguments()).code == 0
    assert path.exists()
    assert edgewright("verify", copy.artifact / "baseline").code == 0


def test_a_folder_of_the_targets_name_that_is_somebodys_own_is_left_alone(copy: Any, edgewright: Program) -> None:
    notes = copy.out / "other" / "x86-avx2" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    shown = edgewright("build", copy.recipe, "--out", notes.parents[1], "--cache", copy.cache, "--json")
    assert shown.code == 2
    assert json.loads(shown.out)["results"][0]["status"] == "failed"
    assert "give another --out, or move what is there away" in shown.err
    assert notes.read_text() == "mine"
    notes.unlink()
    assert edgewright("build", copy.recipe, "--out", notes.parents[1], "--cache", copy.cache).code == 0


def test_what_user_code_prints_never_mixes_with_the_document(copy: Any, program: Program) -> None:
    """Printed at import, while samples are read, and by a child process; the document is read all the same."""
    chatter = "import os, sys\nprint('from print')\nos.system('echo from a child')\nos.write(1, b'from a library')\n"
    (copy.recipe.parent / "data.py").write_text(chatter + (copy.recipe.parent / "data.py").read_text())
    ran = program("build", *copy.arguments(), "--json")
    assert ran.code == 0
    assert ran.document()["results"][0]["status"] == "ok"
    for text in ("from print", "from a child", "from a library"):
        assert text in ran.err


def test_a_runtime_that_is_not_installed_is_said_before_any_work(
    copy: Any, edgewright: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # Python's own way to say that there is none
    shown = edgewright("build", copy.recipe, "--out", copy.out / "none", "--cache", copy.out / "cache")
    assert (shown.code, shown.out) == (1, "")
    assert f"onnxruntime is not installed for {sys.executable}: pip install 'edgewright[onnxruntime]'" in shown.err
    assert not list((copy.out / "cache" / "steps").iterdir())


def test_a_target_named_twice_is_built_once(copy: Any, edgewright: Program) -> None:
    shown = edgewright("build", *copy.arguments(), "--target", "x86-avx2", "--target", "x86-avx2", "--json")
    assert [result["target"] for result in json.loads(shown.out)["results"]] == ["x86-avx2"]


def test_one_target_that_fails_does_not_hide_another(copy: Any, edgewright: Program) -> None:
    """A profile of a machine with one core, for a recipe that wants two threads."""
    small = (
        "name: small\nsummary: s\nextends: x86-avx2\nhardware: {cpu: c, cores: 1, memory_mib: 64, source: measured}\n"
    )
    (copy.recipe.parent / "targets").mkdir()
    (copy.recipe.parent / "targets" / "small.yaml").write_text(small)
    targets = ["--target", "small", "--target", "x86-avx2", "--json"]
    shown = edgewright("build", *copy.arguments(), "--set", "threads=2", *targets)
    failed, done = json.loads(shown.out)["results"]
    assert (failed["target"], failed["status"], done["target"], done["status"]) == ("small", "failed", "x86-avx2", "ok")
    assert done["latency_ns"]["threads"] == 2
    assert shown.code == 2
    assert f"error: small: {failed['error']}" in shown.err
    assert "threads: expected at most the 1 cores of small, got 2" in failed["error"]


def test_the_environment_names_the_cache(copy: Any, edgewright: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(copy.cache))
    shown = edgewright("build", copy.recipe, "--out", copy.out, "--json")
    assert all(step["cached"] for step in json.loads(shown.out)["results"][0]["steps"])


def test_paths_in_messages_and_results_are_as_they_were_given(
    copy: Any, edgewright: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.out.parent)
    shown = edgewright("build", "recipe/recipe.yaml", "--out", "out", "--cache", copy.cache, "--json")
    assert json.loads(shown.out)["results"][0]["artifact"] == "out/x86-avx2"
