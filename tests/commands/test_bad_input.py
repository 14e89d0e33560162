"""Everything that a person can get wrong, and what a machine can do to a build: a clear message, the right exit code,
no traceback, and what was there before is there still. All through the real command line."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Program = Callable[..., Any]
PROGRAM = (sys.executable, "-P", "-c", "from edgewright.deploy import main; main()")
STEPS = ["prune-channels", "recover", "export", "fold-batchnorm", "calibrate", "insert-quantization"]


def contents(folder: Path) -> dict[str, str]:
    """Every file below the folder, and what it holds."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def copy(built: Any, tmp_path: Path) -> Any:
    """A build whose steps are all in the cache and whose artifact lies in its folder."""
    return built.copied(tmp_path)


@pytest.fixture
def refused(copy: Any, program: Program) -> Callable[..., str]:
    """refused(...): what a build that must fail said; it printed no traceback and lost nothing."""

    def run(*arguments: str, code: int = 2, command: str = "build", **options: Any) -> str:
        before = contents(copy.out)
        ran = program(command, *(copy.arguments() if command == "build" else [copy.recipe]), *arguments, **options)
        assert (ran.code, ran.out) == (code, "")
        assert "Traceback" not in ran.err
        assert "error: " in ran.err
        assert contents(copy.out) == before
        message: str = ran.err
        return message

    return run


def edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def test_a_missing_recipe(copy: Any, refused: Callable[..., str]) -> None:
    copy.recipe.unlink()
    for command in ("plan", "build"):
        assert f"error: {copy.recipe}: expected a readable file, got no such file" in refused(command=command)


def test_a_recipe_that_cannot_be_parsed(copy: Any, refused: Callable[..., str]) -> None:
    edit(copy.recipe, ("targets: [x86-avx2]", "targets: [x86-avx2"))
    for command in ("plan", "build"):
        message = refused(command=command)
        assert f"error: {copy.recipe}: line 13, column 1: expected YAML, got something else" in message
        assert "while parsing a flow sequence from line 12" in message


def test_unknown_keys_and_wrong_types_are_all_said_at_once(copy: Any, refused: Callable[..., str]) -> None:
    edit(copy.recipe, ("epochs: 1", "epocs: 1"), ("flops: 0.4", "flops: much"), ("data:", "dota:"))
    edit(copy.recipe, ("budget:", "seed: 1\nseed: 2\nbudget:"))
    for command in ("plan", "build"):
        lines = refused(command=command).splitlines()
        for message in (
            "seed: expected each key once, got it again in line 11",
            "data: expected a value, got nothing: the key is missing",
            "compress.prune.flops: expected a valid number, got 'much'",
            "(did you mean 'epochs'?)",
            "(did you mean 'data'?)",
        ):
            assert sum(message in line for line in lines) == 1
        assert all(line.startswith(f"error: {copy.recipe}: ") for line in lines)


def test_an_unknown_target(refused: Callable[..., str]) -> None:
    for command in ("plan", "build"):
        message = refused("--target", "x86-avx3", command=command)
        assert "error: target: expected one of " in message
        assert "or the path of a .yaml profile, got 'x86-avx3' (did you mean 'x86-avx2'?)" in message


def test_a_network_that_cannot_be_imported(copy: Any, refused: Callable[..., str]) -> None:
    edit(copy.recipe.parent / "model.py", ("from torch import nn", "from torch import nn\nimport a_module_of_nobodys"))
    message = _failed(refused)
    assert "model.source: expected a file that can be imported (model.py)" in message
    assert "No module named 'a_module_of_nobodys' (model.py, line 4)" in message


def test_a_network_that_cannot_be_built(copy: Any, refused: Callable[..., str]) -> None:
    edit(copy.recipe.parent / "model.py", ("return Net()", "return Net(width=3)"))
    message = _failed(refused)
    assert "model.source: expected model.py:build to run through, got TypeError: " in message
    assert "unexpected keyword argument 'width' (model.py, line 19)" in message


def test_weights_that_do_not_fit(copy: Any, refused: Callable[..., str]) -> None:
    edit(copy.recipe.parent / "model.py", ("32 * 16", "24 * 16"), ("16, 32, 3", "16, 24, 3"), ("d(32)", "d(24)"))
    edit(copy.recipe.parent / "model.py", ("self.stem", "self.trunk"))
    message = _failed(refused)
    assert "model.weights: expected a weight for every key of the network, got 5 missing: trunk.0.weight, " in message
    assert "model.weights: expected keys of the network alone, got 6 unexpected: " in message
    assert "stem.0.weight" in message
    assert "of another shape: body.0.weight (32, 16, 3, 3) for (24, 16, 3, 3)" in message


class Malicious:
    """A pickle of it makes a file when it is read by who trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["torch.save", "pickle"])
def test_weights_that_are_a_malicious_pickle(copy: Any, tmp_path: Path, kind: str, refused: Callable[..., str]) -> None:
    import torch

    weights, ran = copy.recipe.parent / "weights.pt", tmp_path / "the pickle ran"
    if kind == "pickle":
        weights.write_bytes(pickle.dumps({"head.weight": Malicious(ran)}))
    else:
        torch.save({"head.weight": Malicious(ran)}, weights)
    message = _failed(refused, "--set", "model.weights=weights.pt")
    assert "model.weights: expected a state dict of tensors, got 'weights.pt', refused because" in message
    assert "nothing of it was run" in message
    assert "torch.save(model.state_dict(), 'weights.pt')" in message
    assert not ran.exists()
    with weights.open("rb") as stream:
        torch.load(stream, weights_only=False) if kind == "torch.save" else pickle.load(stream)
    assert ran.exists(), "the file is as malicious as it is meant to be"


def test_data_of_the_wrong_shape(copy: Any, refused: Callable[..., str]) -> None:
    edit(copy.recipe.parent / "data.py", ("(count, 1, 8, 8)", "(count, 3, 8, 8)"))
    message = _failed(refused)
    assert "data.py:splits: train[0]: expected image as float32 (1, 8, 8), without the batch axis" in message
    assert "got float32 (3, 8, 8)" in message


def test_no_train_split_where_recover_wants_one(copy: Any, refused: Callable[..., str]) -> None:
    edit(copy.recipe.parent / "data.py", ('"train": samples(256, 0), ', ""))
    message = _failed(refused)
    assert "data.py:splits: train: expected a split 'train', got only calibration, evaluation" in message


def _failed(refused: Callable[..., str], *arguments: str) -> str:
    """What the build of the one target said, on lines that name the target."""
    message = refused(*arguments)
    errors = [line for line in message.splitlines() if line.startswith("error: ")]
    assert errors[0].startswith("error: x86-avx2: ")
    return "\n".join(errors)


def test_the_same_failure_is_in_the_json_document(copy: Any, program: Program) -> None:
    edit(copy.recipe.parent / "model.py", ("return Net()", "return Net"))
    ran = program("build", *copy.arguments(), "--json")
    (result,) = ran.document()["results"]
    assert (ran.code, result["status"]) == (2, "failed")
    assert "expected a torch.nn.Module, got a type from model.py:build" in result["error"]
    assert result["error"] in ran.err


def test_a_budget_that_cannot_be_met_keeps_the_artifact_marked(copy: Any, program: Program) -> None:
    arguments = [*copy.arguments(), "--set", "budget.artifact_kib=0.5", "--set", "budget.latency_p95_ms=0.000001"]
    shown = program("build", *arguments)
    assert shown.code == 3
    size_kib = (copy.artifact / "model.onnx").stat().st_size / 1024
    assert f"budget.artifact_kib: MISSED: {size_kib:.4g} where 0.5 is allowed, {size_kib - 0.5:.3g} over" in shown.out
    assert "budget.latency_p95_ms: MISSED: " in shown.out
    assert "budget.accuracy_drop_points: met: " in shown.out
    assert f"artifact: {copy.artifact}" in shown.out
    assert json.loads((copy.artifact / "manifest.json").read_text())["results"]["status"] == "over-budget"
    assert program("verify", copy.artifact).code == 0
    as_json = program("build", *arguments, "--json")
    (result,) = as_json.document()["results"]
    assert (as_json.code, result["status"]) == (3, "over-budget")
    assert [each["key"] for each in result["budget"] if not each["met"]] == ["latency_p95_ms", "artifact_kib"]
    assert "error: x86-avx2: budget.artifact_kib: MISSED: " in as_json.err
    assert program("build", *copy.arguments()).code == 0
    assert json.loads((copy.artifact / "manifest.json").read_text())["results"]["status"] == "ok"


def test_an_output_folder_that_cannot_be_made(copy: Any, refused: Callable[..., str]) -> None:
    for place, reason in ((copy.recipe / "out", "not a directory"), (Path("/proc/out"), "no such file or directory")):
        message = refused("--out", str(place))
        assert f"error: {place}: --out: expected a folder that can be written, got {reason}" in message
    message = refused("--cache", str(copy.recipe / "cache"))
    assert f"error: {copy.recipe}/cache: cache: expected a folder that can be written, got not a directory" in message


def mounted(place: Path, *mounts: str) -> list[str]:
    """A command that runs another one with `place` mounted so, for it alone; skips where that is not allowed."""
    script = " && ".join([*(f"mount {mount} {place}" for mount in mounts), 'exec "$@"'])
    under = ["unshare", "--mount", "sh", "-c", script, "sh"]
    if not shutil.which("unshare") or subprocess.run([*under, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    return under


def test_a_read_only_output_folder(copy: Any, refused: Callable[..., str]) -> None:
    under = mounted(copy.out, f"--bind {copy.out}", "-o remount,bind,ro")
    message = refused("--set", "budget.artifact_kib=1000", under=under)
    assert f"error: {copy.out}: --out: expected a folder that can be written, got read-only file system" in message


def test_a_full_output_disk(copy: Any, refused: Callable[..., str], tmp_path: Path, program: Program) -> None:
    """The artifact of 8 KiB fits, its baseline of 28 KiB does not."""
    (tmp_path / "small").mkdir()
    under = mounted(tmp_path / "small", "-t tmpfs -o size=48k tmpfs")
    message = refused("--out", str(tmp_path / "small"), code=1, under=under)
    assert f"{tmp_path}/small/x86-avx2: could not be written: No space left on device" in message
    assert "Finished steps are kept; mend this and run the build again" in message
    assert program("build", copy.recipe, "--out", tmp_path / "small", "--cache", copy.cache).code == 0


def limited(total_bytes: int) -> Callable[[], None]:
    """What a child does before it starts: no file of its may grow beyond so many bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (total_bytes, total_bytes))


def test_an_artifact_that_cannot_be_written_leaves_the_one_before(copy: Any, refused: Callable[..., str]) -> None:
    """Where another budget is missed the folder is written anew; its baseline is too large."""
    message = refused("--set", "budget.artifact_kib=0.5", code=1, preexec_fn=limited(20_000))
    assert f"error: x86-avx2: {copy.artifact}: could not be written: File too large" in message
    assert sorted(path.name for path in copy.out.iterdir()) == ["x86-avx2"]


def chain(cache: Path) -> Iterator[tuple[int, Path]]:
    """The entries of the artifact's steps in the cache (not the baseline's), each with its number."""
    for state in (cache / "steps").glob("*/state.json"):
        history = [record["step"].partition("{")[0] for record in json.loads(state.read_text())["history"]]
        if history[0] == STEPS[0]:
            yield len(history), state.parent


def emitted(cache: Path) -> Path:
    """The artifact's entry in the cache (not the baseline's)."""
    notes = {path.parent: json.loads(path.read_text())["notes"] for path in (cache / "artifacts").glob("*/made.json")}
    (found,) = (entry for entry, of_steps in notes.items() if len(of_steps) == len(STEPS))
    return found


def forget(copy: Any, first: int) -> None:
    """The cache holds neither the artifact nor its steps from number `first` on (from 1)."""
    shutil.rmtree(emitted(copy.cache))
    for number, entry in list(chain(copy.cache)):
        if number >= first:
            shutil.rmtree(entry)


def test_a_disk_that_is_full_in_the_middle_of_a_step(copy: Any, refused: Callable[..., str]) -> None:
    """torch would end the process where its own archive cannot be written."""
    forget(copy, first=3)
    message = refused(code=1, preexec_fn=limited(30_000))
    assert f"error: x86-avx2: {copy.cache}: could not be written: File too large. Finished steps are kept" in message
    assert sorted(number for number, _ in chain(copy.cache)) == [1, 2]
    assert list((copy.cache / "unfinished").iterdir()) == []


def interruptible() -> None:
    """What a child does before it starts: it heeds SIGINT, which what a shell started in the background does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_an_interrupted_build_says_so_and_goes_on_from_there(copy: Any, built: Any, program: Program) -> None:
    forget(copy, first=5)
    command = [*PROGRAM, "build", *copy.arguments(), "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible
    )
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline and 5 not in dict(chain(copy.cache)):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.endswith("error: interrupted; finished steps are kept, the same command goes on from there\n")
    assert "Traceback" not in err
    assert contents(copy.out) == contents(built.out)
    assert list((copy.cache / "unfinished").iterdir()) == []
    resumed = program("build", *copy.arguments(), "--json")
    (result,) = resumed.document()["results"]
    assert [step["cached"] for step in result["steps"]][:5] == [True] * 5
    assert contents(copy.out) == contents(built.out)


@pytest.mark.slow
def test_a_dynamic_batch(built: Any, tmp_path: Path, program: Program) -> None:
    import onnxruntime

    copy = built.copied(tmp_path)
    edit(copy.recipe, ("[1, 1, 8, 8]", "[batch, 1, 8, 8]"))
    smaller = ["--set", "compress.prune=null", "--set", "compress.recover=null"]
    ran = program("build", *copy.arguments(), *smaller, "--json")
    assert ran.code == 0, ran.err
    assert json.loads((copy.artifact / "manifest.json").read_text())["inputs"][0]["shape"] == [None, 1, 8, 8]
    step = json.loads((copy.artifact / "golden" / "golden.json").read_text())["steps"]["output"]
    session = onnxruntime.InferenceSession(copy.artifact / "model.onnx")
    images = np.load(copy.artifact / "golden" / "inputs.npz")["image"][:5]
    (together,) = session.run(None, {"image": images})
    alone = np.concatenate([session.run(None, {"image": images[at : at + 1]})[0] for at in range(5)])
    assert together.shape == (5, 4)
    assert np.abs(together - alone).max() <= step


def test_a_corrupt_cache_entry_is_said_and_made_again(copy: Any, built: Any, program: Program) -> None:
    model = emitted(copy.cache) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-10])
    ran = program("build", *copy.arguments())
    assert ran.code == 0
    message = f"warning: cache entry artifacts/{model.parent.name[:12]} is damaged (model.onnx is not what was written)"
    assert f"{message}; it is made again\n" in ran.err
    assert ran.out.startswith(message)
    assert contents(copy.out) == contents(built.out)


def test_nothing_is_left_in_the_folders_above(copy: Any, refused: Callable[..., str]) -> None:
    before = set(os.listdir(copy.out.parent))
    refused("--target", "none")
    assert set(os.listdir(copy.out.parent)) == before
