"""Proof that an artifact computes what was simulated, and the golden vectors that come of it; on the real runtime."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgewright.benchmarks.accuracy import Parity
from edgewright.devices.local import LocalDevice
from edgewright.ir.errors import StepError
from edgewright.pipeline.parity import (
    AGREEMENT,
    FLOAT_STEPS,
    GOLDEN_SAMPLES,
    REPEATABLE_STEPS,
    SIMULATED_STEPS,
    Golden,
    doubt,
    prove,
)
from edgewright.pipeline.planning import baseline_plan, plan
from edgewright.pipeline.simulated import Simulated
from edgewright.pipeline.store import Store
from edgewright.pipeline.workshop import Made, Workshop
from edgewright.quantization.integer_graph import Kernels
from edgewright.recipe.schema import load_recipe
from edgewright.runtimes import emitter
from edgewright.targets import Target

X86 = {"runtime": "tflite-runtime", "architecture": "x86_64", "flags": ["avx2"]}
"""What a runner says of itself with kernels of which is known how they round."""
UNLIKE = ("the flag avx512_vnni is not there",)


Open = Callable[..., Workshop]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one test made the next finds."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def workshop(trained_recipe: Path, cache: Path, listener: Any) -> Open:
    """workshop(*overrides, recipe=...): a workshop of the small recipe, quantized and nothing else."""

    def make(*overrides: str, recipe: Path = trained_recipe / "recipe.yaml") -> Workshop:
        read = load_recipe(recipe, ("compress.prune=null", "compress.recover=null", *overrides))
        return Workshop(read, Store(cache, listener), listener)

    return make


def quantized(workshop: Workshop, target: Target) -> Made:
    return workshop.make(plan(workshop.recipe, target), target)


def uncompressed(workshop: Workshop, target: Target) -> Made:
    return workshop.make(baseline_plan(workshop.recipe, target), target)


def test_golden_vectors_are_read_as_they_were_written(tmp_path: Path) -> None:
    golden = Golden(
        {"image": np.random.default_rng(0).random((3, 4), np.float32), "ids": np.arange(3)},
        {"output": np.ones((3, 2), np.float32)},
        {"output": 0.25},
        1.0,
    )
    golden.write(tmp_path / "golden")
    found = Golden.read(tmp_path / "golden")
    assert (found.steps, found.allowed_steps) == (golden.steps, golden.allowed_steps)
    for given, read in ((golden.inputs, found.inputs), (golden.outputs, found.outputs)):
        assert {name: values.dtype for name, values in read.items()} == {
            name: values.dtype for name, values in given.items()
        }
        assert all(np.array_equal(read[name], given[name]) for name in given)


def test_golden_vectors_of_other_kernels_are_taken_where_these_ran(tmp_path: Path) -> None:
    one, other = np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32)
    by_kernels = {Kernels.OLD_X86.value: {"output": other}, Kernels.OLD_ARM.value: {"output": one}}
    Golden({"image": one}, {"output": one}, {"output": 0.25}, SIMULATED_STEPS, by_kernels=by_kernels).write(tmp_path)
    golden = Golden.read(tmp_path)
    found, kernels = golden.as_run_by(X86)
    assert (kernels, found.allowed_steps) == (Kernels.OLD_X86.value, REPEATABLE_STEPS)
    assert np.array_equal(found.outputs["output"], other)
    arm, kernels = golden.as_run_by({**X86, "architecture": "aarch64", "flags": []})
    assert np.array_equal(arm.outputs["output"], one)
    assert kernels == Kernels.OLD_ARM.value
    for unknown in ({"runtime": "ai-edge-litert"}, {"architecture": "armv7l"}, {"flags": []}):
        assert golden.as_run_by({**X86, **unknown}) == (golden, "")


def test_what_the_simulated_model_holds_inside_lies_with_the_golden_vectors(tmp_path: Path) -> None:
    codes = np.arange(6, dtype=np.int8).reshape(2, 3)
    layers = (Simulated("stem", True, 0.5, -3, codes), Simulated("file", False, None, 0, codes.astype(np.float32)))
    golden = Golden({"image": np.ones((3, 2))}, {"output": np.ones(3)}, {"output": 0.25}, 1.0, layers)
    golden.write(tmp_path)
    found = Golden.read(tmp_path).layers
    assert found == layers  # but for the values, which are compared here
    assert [each.values.dtype for each in found] == [np.int8, np.float32]
    assert all(np.array_equal(each.values, given.values) for each, given in zip(found, layers, strict=True))
    assert [len(golden.first(batch)["image"]) for batch in (None, 1, 2, 4)] == [1, 1, 2, 3]


def test_golden_vectors_hold_no_code(tmp_path: Path) -> None:
    Golden({"image": np.ones(3)}, {"output": np.ones(3)}, {"output": 0.25}, 1.0).write(tmp_path)
    np.savez(tmp_path / "inputs.npz", image=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        Golden.read(tmp_path)


@pytest.mark.slow
def test_an_int8_artifact_agrees_with_the_simulated_model_to_the_step(workshop: Open, target: Target) -> None:
    made = quantized(workshop(), target)
    parity, folder, _ = prove(workshop(), made, LocalDevice(), (), "artifact")
    assert parity.argmax_agreement is not None
    assert parity.argmax_agreement >= AGREEMENT
    assert parity.largest_steps <= SIMULATED_STEPS
    golden = Golden.read(folder)
    assert golden.allowed_steps == REPEATABLE_STEPS
    assert golden.steps == {"output": made.output_steps[0]}
    assert {name: len(values) for name, values in golden.inputs.items()} == {"image": GOLDEN_SAMPLES}


def test_a_float_artifact_is_right_to_a_part_of_a_step(workshop: Open, target: Target) -> None:
    parity, folder, _ = prove(workshop(), uncompressed(workshop(), target), LocalDevice(), (), "artifact")
    assert parity.largest_steps <= FLOAT_STEPS
    golden = Golden.read(folder)
    assert golden.allowed_steps == FLOAT_STEPS
    (step,) = golden.steps.values()
    assert step >= np.abs(golden.outputs["output"]).max() / 255


def test_on_another_machine_golden_vectors_are_the_simulated_ones(workshop: Open, target: Target) -> None:
    made = quantized(workshop(), target)
    _, folder, _ = prove(workshop(), made, LocalDevice(), UNLIKE, "artifact")
    golden = Golden.read(folder)
    assert golden.allowed_steps == SIMULATED_STEPS
    state, _ = workshop().state(made.plan)
    simulated = _run(state.callable_module(), golden.inputs["image"])
    assert np.array_equal(golden.outputs["output"], simulated)


def _run(module: Any, images: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        outputs: np.ndarray = module(torch.from_numpy(images)).numpy()
    return outputs


@pytest.fixture
def wrong(workshop: Open, target: Target) -> Made:
    """The simulated model of the recipe's weights, and an artifact of others."""
    return replace(
        quantized(workshop(), target), key="another", folder=uncompressed(workshop("model.weights=null"), target).folder
    )


def test_an_artifact_that_computes_something_else_is_an_error(workshop: Open, wrong: Made) -> None:
    with pytest.raises(StepError, match="in onnxruntime is not what was simulated: they agree on") as caught:
        prove(workshop(), wrong, LocalDevice(), (), "artifact")
    assert f"expected {AGREEMENT:.0%}" in str(caught.value)
    assert str(caught.value).endswith(
        "; the first layer that is more than one step off: head"
    )  # the file is float: of its values only the output can be had


def test_on_another_machine_it_is_a_warning_that_says_what_is_not_known(
    workshop: Open, wrong: Made, listener: Any
) -> None:
    prove(workshop(), wrong, LocalDevice(), UNLIKE, "artifact")
    (warning,) = listener.warnings
    assert "This machine is not x86-avx2: the flag avx512_vnni is not there" in warning
    assert "--target host" in warning


def test_outputs_that_are_mostly_off_are_an_error_even_where_the_largest_is_the_same() -> None:
    within_one = emitter("onnxruntime").within_one
    assert doubt(Parity(largest_steps=20.0, within_one_step=0.02, argmax_agreement=1.0), within_one)
    assert doubt(Parity(largest_steps=20.0, within_one_step=0.02, argmax_agreement=None), within_one)
    assert not doubt(Parity(largest_steps=4.0, within_one_step=within_one, argmax_agreement=AGREEMENT), within_one)


def test_what_was_proved_once_is_kept_as_plain_json(workshop: Open, target: Target) -> None:
    made = uncompressed(workshop(), target)
    before = ("a reason of this test's own",)
    parity, folder, is_known = prove(workshop(), made, LocalDevice(), before, "artifact")
    again, same_folder, is_known_again = prove(workshop(), made, LocalDevice(), before, "artifact")
    assert (is_known, is_known_again) == (False, True)
    assert (again, same_folder) == (parity, folder)
    assert json.loads((folder.parent / "parity.json").read_text())["largest_steps"] == parity.largest_steps


FIXED = """
from torch import nn


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head(x.reshape(7, 64))


def build():
    return Fixed()
"""


@pytest.mark.parametrize("evaluation", [5, 30])
def test_a_fixed_batch_that_does_not_divide_the_samples_is_filled_up(
    evaluation: int, workshop: Open, target: Target, recipe_file: Path
) -> None:
    (recipe_file.parent / "model.py").write_text(FIXED)
    data = recipe_file.parent / "data.py"
    data.write_text(data.read_text().replace("samples(300, 2)", f"samples({evaluation}, 2)"))
    fixed = workshop("model.weights=null", "model.inputs.image.shape=[7, 1, 8, 8]", recipe=recipe_file)
    parity, folder, _ = prove(fixed, uncompressed(fixed, target), LocalDevice(), (), "artifact")
    assert parity.largest_steps <= FLOAT_STEPS
    assert len(Golden.read(folder).inputs["image"]) == (7 if evaluation < 7 else GOLDEN_SAMPLES)
