"""What a person can get wrong on the way to a TFLite file and with one: a clear message, the right exit code, no
traceback. All through the real command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgewright.devices import registry
from edgewright.pipeline.store import devices_folder
from edgewright.runtimes.flatbuffer.file import read, write
from edgewright.ship import manifest

ARM, X86 = "arm64-cortex-a72", "x86-avx2"
UNTRAINED = ("model.weights=null", "compress.prune=null", "compress.recover=null")

Refused = Callable[..., str]


@pytest.fixture
def refused(program: Callable[..., Any]) -> Refused:
    """refused("verify", folder, code=2): the errors of a run that must fail, which printed nothing else."""

    def run(*arguments: object, code: int) -> str:
        ran = program(*arguments)
        assert (ran.code, ran.out) == (code, ""), ran.err
        assert "Traceback" not in ran.err
        errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        return str(errors[0])

    return run


@pytest.fixture
def build(recipe_file: Path, tmp_path: Path, refused: Refused) -> Callable[..., str]:
    """build("key=value", target=..., code=..., model=("old", "new")): why the small network, changed so, is refused."""

    def run(*overrides: str, code: int, target: str = ARM, model: tuple[str, str] = ("", ""), to: str = "build") -> str:
        source = recipe_file.parent / "model.py"
        text = source.read_text()
        assert model[0] in text
        source.write_text(text.replace(*model) if model[0] else text)
        sets = [part for each in (*UNTRAINED, *overrides) for part in ("--set", each)]
        where = ["--out", tmp_path / "out", "--cache", tmp_path / "cache"] if to == "build" else []
        message = refused(to, recipe_file, "--target", target, *sets, *where, code=code)
        assert not (tmp_path / "out" / target).exists()
        return message

    return run


NORM = ("nn.Linear(32 * 16, 4)", "nn.Sequential(nn.LayerNorm(512), nn.Linear(32 * 16, 4))")
"""A layer that has no int8 kernel, as head.0."""
PRODUCT = (
    "self.head = nn.Linear(32 * 16, 4)",
    """self.head = nn.Linear(32 * 16, 4)
        self.head.forward = lambda x, run=self.head.forward: run(x.cumprod(-1))""",
)
"""An operator that TFLite has not, in head."""
CHOSEN = ("self.same = lambda x: x", "self.same = lambda x: x * x[x > 0].numel()")
"""A tensor whose size depends on the image."""


def test_an_operator_without_int8_kernel_is_named_with_its_layer_and_the_way_out(build: Callable[..., str]) -> None:
    message = build(model=NORM, code=2)
    assert message.startswith(f"error: {ARM}: recipe: compress.quantize: expected operators that all have int8 kernels")
    assert "compress.quantize.allow_float: true, got head.0: no int8 kernel for layer_norm" in message


def test_an_operator_that_the_runtime_lacks_is_named_with_its_layer(build: Callable[..., str]) -> None:
    message = build("compress.quantize=null", model=PRODUCT, code=1)
    assert f"{ARM}: tflite: litert-torch could not convert cumprod in head: " in message
    assert "Lowering not found: aten.cumprod.default; replace it in the network" in message


def test_a_shape_that_depends_on_the_data_is_refused(build: Callable[..., str]) -> None:
    message = build("compress.quantize=null", model=CHOSEN, code=1)
    assert "tflite: index: its shape depends on the data, and every shape in a TFLite file is fixed" in message


@pytest.mark.parametrize("to", ["plan", "build"])
def test_an_open_batch_is_refused_before_any_work(to: str, build: Callable[..., str], tmp_path: Path) -> None:
    message = build("model.inputs.image.shape=[batch, 1, 8, 8]", to=to, code=2)
    assert f"{ARM}: model.inputs.image.shape: expected a fixed batch, as [1, ...], for a TFLite file" in message
    assert not list((tmp_path / "cache").glob("steps/*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (ARM, "the metadata: output: labels: expected 4, one for each value, got 3"),
        (X86, "about.labels: expected 4, one for each value of the output, got 3"),
    ],
)
def test_labels_that_do_not_fit_the_output(target: str, expected: str, build: Callable[..., str]) -> None:
    assert expected in build("about.labels=[north, east, south]", target=target, code=2)


def test_a_weight_that_float16_does_not_hold(build: Callable[..., str]) -> None:
    doubled = ("return Net()", "net = Net()\n    nn.init.constant_(net.head.weight, 1e6)\n    return net")
    message = build("compress.quantize={precision: float16}", model=doubled, code=2)
    assert (
        "compress.quantize.precision: expected values up to 65504, which float16 holds, got larger ones in" in message
    )
    assert message.endswith("head.weight")


def test_float16_that_is_static(build: Callable[..., str]) -> None:
    message = build("compress.quantize={precision: float16, mode: static}", to="plan", code=2)
    assert "compress.quantize: expected mode weight-only, or none, with precision float16 (not static)" in message


def test_dynamic_layers_on_a_target_without_are_skipped_and_said(recipe_file: Path, program: Any) -> None:
    ran = program("plan", recipe_file, "--target", "nvidia-rtx-ada", "--set", "compress.quantize.mode=dynamic")
    assert ran.code == 0
    assert "skipped dynamic int8 quantization" in ran.out
    assert "because nvidia-rtx-ada has none that pays; ask for compress.quantize.mode: static" in ran.out


def test_a_profile_whose_delegate_is_not_described(recipe_file: Path, program: Any, tmp_path: Path) -> None:
    board = tmp_path / "board.yaml"
    board.write_text("name: board\nextends: android-arm64\nsummary: a board\ndelegates: {npu: {operaters: [ADD]}}\n")
    ran = program("plan", recipe_file, "--target", board)
    assert ran.code == 2
    for message in (
        "delegates.npu.int8: expected a value, got nothing: the key is missing",
        "delegates.npu.operaters: expected one of the keys int8, operators, source, got an unknown key (did you mean",
    ):
        assert f"error: {board}: {message}" in ran.err


@pytest.fixture
def artifact(built_tflite: Path, tmp_path: Path) -> Path:
    """A whole artifact that a test may spoil."""
    return Path(shutil.copytree(built_tflite, tmp_path / "artifact"))


def reseal(artifact: Path) -> None:
    """The manifest says of every file what it is now, as one who forges an artifact has it say."""
    file = artifact / manifest.FILE
    document = json.loads(file.read_text())
    document["files"] = {name: manifest.entry_of(artifact / name).model_dump() for name in document["files"]}
    file.write_text(json.dumps(document))


@pytest.mark.parametrize("command", ["verify", "bench"])
@pytest.mark.parametrize(
    ("kept_bytes", "found"),
    [(-1000, "it was cut short"), (40, "it was cut short"), (0, "expected a TFLite file ('TFL3' as bytes 4 to 8)")],
)
def test_a_file_cut_short(command: str, kept_bytes: int, found: str, artifact: Path, refused: Refused) -> None:
    file = artifact / "model.tflite"
    file.write_bytes(file.read_bytes()[:kept_bytes])
    assert f"error: {artifact}: files.model.tflite: expected SHA-256" in refused(command, artifact, code=2)
    reseal(artifact)
    message = refused(command, artifact, code=1)
    assert "error: model.tflite in tflite on local: load: " in message
    assert found in message


def ready(device: str) -> str:
    """The device's name; skips where it has to be made first."""
    if not registry.is_ready(device, devices_folder()):
        pytest.skip(f"edgewright devices make {device}")
    return device


@pytest.mark.parametrize("device", ["local", "tflite-runtime"])
def test_a_file_for_a_newer_interpreter(device: str, artifact: Path, refused: Refused) -> None:
    model = read(artifact / "model.tflite")
    for code in model.operatorCodes:
        code.version = 99
    write(model, artifact / "model.tflite")
    reseal(artifact)
    message = refused("verify", artifact, "--on", ready(device), code=1)
    assert f"error: model.tflite in tflite on {device}: load: " in message
    assert "can run, which says: Didn't find op for builtin opcode" in message
    assert "version '99'" in message


@pytest.mark.parametrize("command", ["verify", "bench", "profile", "diff"])
def test_an_artifact_of_a_runtime_that_the_device_has_not(command: str, built: Any, refused: Refused) -> None:
    message = refused(command, built.artifact, "--on", ready("tflite-runtime"), code=2)
    expected = "runtime: expected an artifact for tflite, which is what tflite-runtime runs, got one for onnxruntime"
    assert f"error: {built.artifact}: {expected}; run it with --on local" in message
