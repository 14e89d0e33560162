"""From a recipe to a measured artifact, again, changed, damaged, killed and twice at once; all on the real runtime."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from edgewright.ir.progress import Silent
from edgewright.passes.text import to_text
from edgewright.pipeline.build import Result, build, exit_code
from edgewright.pipeline.planning import targets_of
from edgewright.pipeline.store import Store
from edgewright.recipe.schema import load_recipe

PROGRAM = "from edgewright.deploy import main; main()"


def run(recipe_file: Path, root: Path, *overrides: str, listener: Silent | None = None) -> Result:
    recipe = load_recipe(recipe_file, overrides)
    listener = listener or Silent()
    store = Store(root / "cache", listener)
    (result,) = build(recipe, targets_of(recipe), root / "out", store, listener)
    if result.error is not None:
        raise result.error
    return result


def cached(result: Result) -> list[bool]:
    assert result.made is not None
    return [step.cached for step in result.made.steps]


def artifact_hash(root: Path) -> str:
    return hashlib.sha256((root / "out" / "x86-avx2" / "model.onnx").read_bytes()).hexdigest()


@pytest.mark.slow
def test_builds_verifies_measures_and_publishes(recipe_file: Path, tmp_path: Path) -> None:
    result = run(recipe_file, tmp_path)
    document = json.loads(json.dumps(result.to_json()))
    assert document["status"] == "ok"
    assert document["accuracy"]["samples"] == 300
    assert document["accuracy"]["baseline"] > 0.9
    assert document["int8_coverage"] == {"quantized": 3, "eligible": 3}
    assert document["parity_steps"] <= 2
    assert document["bytes"]["artifact"] < document["bytes"]["baseline"]
    assert document["macs"]["artifact"] < 0.7 * document["macs"]["baseline"]
    assert [step["pass"].partition("{")[0] for step in document["steps"]] == [
        "prune-channels",
        "recover",
        "export",
        "fold-batchnorm",
        "calibrate",
        "insert-quantization",
    ]
    folder = Path(document["artifact"])
    for name in ("model.onnx", "manifest.json", "plan.txt", "golden/inputs.npz", "baseline/model.onnx"):
        assert (folder / name).is_file()
    assert "because" in (folder / "plan.txt").read_text()


@pytest.mark.slow
def test_a_second_build_runs_no_step_and_measures_nothing(recipe_file: Path, tmp_path: Path) -> None:
    first = run(recipe_file, tmp_path)
    assert not any(cached(first))
    before = (tmp_path / "out" / "x86-avx2").stat().st_mtime_ns
    second = run(recipe_file, tmp_path)
    assert all(cached(second))
    assert second.judgement is not None
    assert second.judgement.reused == ("parity", "accuracy", "latency")
    assert second.judgement.summary.to_json() == first.judgement.summary.to_json()  # type: ignore[union-attr]
    assert (tmp_path / "out" / "x86-avx2").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_changed_calibration_option_reruns_only_from_there(recipe_file: Path, tmp_path: Path) -> None:
    run(recipe_file, tmp_path)
    changed = run(recipe_file, tmp_path, "compress.quantize.calibration.samples=32")
    assert cached(changed) == [True, True, True, True, False, False]


@pytest.mark.slow
def test_a_damaged_entry_is_rebuilt_to_the_same_artifact(recipe_file: Path, tmp_path: Path, listener: Any) -> None:
    run(recipe_file, tmp_path)
    before = artifact_hash(tmp_path)
    for kind, name in (("steps", "program.pt2"), ("artifacts", "model.onnx")):
        for path in (tmp_path / "cache" / kind).glob(f"*/{name}"):
            path.write_bytes(path.read_bytes()[:-10])
    run(recipe_file, tmp_path, listener=listener)
    assert any("is damaged" in warning for warning in listener.warnings)
    assert artifact_hash(tmp_path) == before


@pytest.mark.slow
def test_a_budget_that_cannot_be_met_keeps_the_artifact(recipe_file: Path, tmp_path: Path) -> None:
    result = run(recipe_file, tmp_path, "budget.artifact_kib=0.1")
    assert result.status == "over-budget"
    assert exit_code([result]) == 3
    assert any("MISSED" in str(verdict) for verdict in result.verdicts)
    manifest = json.loads((tmp_path / "out" / "x86-avx2" / "manifest.json").read_text())
    assert manifest["results"]["status"] == "over-budget"


def command(recipe_file: Path, root: Path, out: str = "out") -> list[str]:
    where = ["--out", str(root / out), "--cache", str(root / "cache")]
    return [sys.executable, "-c", PROGRAM, "build", str(recipe_file), *where, "--json"]


def finished(process: subprocess.Popen[bytes]) -> Any:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    return json.loads(output)["results"][0]


@pytest.mark.slow
@pytest.mark.parametrize("done", [1, 3, 5])
def test_a_killed_build_resumes_and_ends_with_the_same_artifact(recipe_file: Path, tmp_path: Path, done: int) -> None:
    run(recipe_file, tmp_path / "whole")
    process = subprocess.Popen(command(recipe_file, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if len(list((tmp_path / "cache" / "steps").glob("*/seal.json"))) >= done:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out" / "x86-avx2").exists()
    resumed = run(recipe_file, tmp_path)
    assert cached(resumed)[:done] == [True] * done
    assert artifact_hash(tmp_path) == artifact_hash(tmp_path / "whole")


@pytest.mark.slow
def test_two_builds_at_once_do_not_harm_each_other(recipe_file: Path, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(command(recipe_file, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    first, second = (finished(process) for process in processes)
    assert first["accuracy"] == second["accuracy"]
    texts = [step["pass"] for step in first["steps"]]
    runs = [sum(not each["steps"][at]["cached"] for each in (first, second)) for at in range(len(texts))]
    assert runs == [1] * len(texts), "each step ran in exactly one of the two builds"


def test_an_output_folder_that_cannot_be_written_is_refused_before_work(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file, where a folder is wanted")
    process = subprocess.run(command(recipe_file, tmp_path), capture_output=True, text=True, timeout=60)
    assert process.returncode == 2
    assert "--out: expected a folder that can be written" in process.stderr
    assert "Traceback" not in process.stderr
    assert process.stdout == ""
    assert not list((tmp_path / "cache" / "steps").iterdir())


@pytest.mark.slow
def test_a_target_that_fails_says_so_and_the_others_go_on(recipe_file: Path, tmp_path: Path) -> None:
    data = (recipe_file.parent / "data.py").read_text()
    (recipe_file.parent / "data.py").write_text(data.replace("samples(128, 1)", "samples(0, 1)"))
    recipe = load_recipe(recipe_file)
    results = build(recipe, targets_of(recipe), tmp_path / "out", Store(tmp_path / "cache", Silent()), Silent())
    assert [result.status for result in results] == ["failed"]
    assert "calibration" in str(results[0].error)
    assert exit_code(results) == 2
    assert results[0].to_json()["error"]


def test_plan_texts_name_every_field(recipe_file: Path) -> None:
    from edgewright.pipeline.planning import plan

    recipe = load_recipe(recipe_file)
    planned = plan(recipe, targets_of(recipe)[0])
    assert all(to_text(step.step) == step.text for step in planned.steps)
    assert "method=percentile" in planned.to_text()
