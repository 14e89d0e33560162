"""Recipes are read strictly, and all that is wrong with one is said at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from edgewright.ir.errors import InputError
from edgewright.recipe.schema import load_recipe

FULL = """
    model:
      source: model.py:build
      weights: weights.safetensors
      inputs: {image: {shape: [1, 3, 8, 8], dtype: float32}}
    data: data.py:splits
    task: data.py:splits
    compress:
      prune: {flops: 0.5, criterion: taylor, steps: 4, keep: [linear]}
      recover: {epochs: 2, learning_rate: 1e-3}
      quantize: {calibration: {method: entropy, samples: 512}}
    budget: {accuracy_drop_points: 1.0, latency_p95_ms: 2}
    targets: [x86-avx2, host]
"""


def messages(path: Path, *overrides: str) -> list[str]:
    """Each problem of a recipe, without the folder it lies in."""
    with pytest.raises(InputError) as caught:
        load_recipe(path, overrides)
    return [str(problem).replace(f"{path.parent}/", "") for problem in caught.value.problems]


def test_a_full_recipe_is_read(write):
    path = write(**{"recipe.yaml": FULL, "weights.safetensors": ""})
    recipe = load_recipe(path)
    assert recipe.folder == path.parent
    assert recipe.model.inputs["image"].shape == (1, 3, 8, 8)
    assert recipe.compress.prune.flops == 0.5
    assert recipe.compress.prune.keep == ("linear",)
    assert recipe.compress.recover.learning_rate == 1e-3
    assert recipe.compress.quantize.calibration.method == "entropy"
    assert recipe.budget.latency_p95_ms == 2
    assert recipe.targets == ("x86-avx2", "host")


def test_what_is_left_out_has_defaults(write):
    recipe = load_recipe(write())
    assert (recipe.task, recipe.targets, recipe.seed) == ("classification", ("host",), 0)
    assert recipe.compress.prune is None


def test_paths_are_relative_to_the_recipe_wherever_one_stands(write, monkeypatch):
    path = write()
    monkeypatch.chdir(path.parent.parent)
    assert load_recipe(Path("project/recipe.yaml")).folder == path.parent


def test_overrides_are_yaml_values_in_place_of_the_files(write):
    path = write(**{"recipe.yaml": FULL, "weights.safetensors": ""})
    recipe = load_recipe(
        path, ["compress.prune=null", "targets=[host]", "compress.quantize.calibration.samples=64", "threads=2"]
    )
    assert recipe.compress.prune is None
    assert recipe.targets == ("host",)
    assert recipe.compress.quantize.calibration.samples == 64
    assert recipe.compress.quantize.calibration.method == "entropy"
    assert recipe.threads == 2


def test_overrides_make_the_keys_above_them(write):
    recipe = load_recipe(write(), ["compress.prune.channels=0.25"])
    assert recipe.compress.prune.channels == 0.25


def test_a_missing_recipe_is_said(tmp_path):
    assert messages(tmp_path / "none.yaml") == ["none.yaml: expected a readable file, got no such file or directory"]


def test_unparsable_yaml_is_said_with_its_place(write):
    (message,) = messages(write(**{"recipe.yaml": "model: {source: [1\n"}))
    assert message.startswith("recipe.yaml: line 2, column 1: expected YAML")


def test_all_problems_of_a_file_are_said_at_once(write):
    text = """
        model:
          source: modle.py:build
          weights: nowhere.safetensors
          inputs: {image: {shape: [batch, 0, 8], dtype: float16}}
        data: data.py
        task: clasification
        compress: {prune: {flops: 0.5, channels: 0.5}, quantise: {}, recover: {epochs: two}}
        budget: {latency_p95_ms: -1}
        targets: []
        seed: 1.5
        path: elsewhere
    """
    found = "\n".join(messages(write(**{"recipe.yaml": text})))
    for part in [
        "recipe.yaml: model.source: expected a file that exists (looked for modle.py), got 'modle.py:build'",
        "recipe.yaml: model.weights: expected a file that exists (looked for nowhere.safetensors)",
        "recipe.yaml: model.inputs.image.shape: expected a list of sizes above 0",
        "recipe.yaml: model.inputs.image.dtype: expected 'float32', 'int64' or 'int32', got 'float16'",
        "recipe.yaml: data: expected a reference of the form file.py:callable, got 'data.py'",
        "recipe.yaml: task: expected one of classification, multilabel, regression, or file.py:callable",
        "recipe.yaml: compress.prune: expected exactly one of flops, parameters and channels",
        "recipe.yaml: compress.quantise: expected one of the keys ",
        "prune, quantize, recover",
        "got an unknown key (did you mean 'quantize'?)",
        "recipe.yaml: compress.recover.epochs: expected a valid integer, got 'two'",
        "recipe.yaml: budget.latency_p95_ms: expected greater than 0, got -1",
        "recipe.yaml: targets: expected at least one, got []",
        "recipe.yaml: seed: expected a valid integer, got 1.5",
        "recipe.yaml: path: expected one of the keys about, budget",
    ]:
        assert part in found


@pytest.mark.parametrize("shape", ["[]", "3", "[batch, batch]", "[0, 3]", "[1.5]", "[true, 3]", "['two words', 3]"])
def test_a_shape_is_positive_sizes_after_a_batch(write, shape):
    text = f"""
        model: {{source: model.py:build, inputs: {{x: {{shape: {shape}}}}}}}
        data: data.py:splits
    """
    (message,) = messages(write(**{"recipe.yaml": text}))
    assert "model.inputs.x.shape: expected a list of sizes above 0" in message


def test_every_input_has_the_same_batch(write):
    text = """
        model: {source: model.py:build, inputs: {x: {shape: [1, 3]}, y: {shape: [batch, 3]}}}
        data: data.py:splits
    """
    assert "the same batch (the first axis) in every input" in messages(write(**{"recipe.yaml": text}))[0]


def test_a_file_that_holds_its_own_weights_takes_no_others(write):
    text = """
        model: {source: net.pt2, weights: data.py, inputs: {x: {shape: [1, 3]}}}
        data: data.py:splits
    """
    path = write(**{"recipe.yaml": text, "net.pt2": ""})
    assert "model: expected no weights: net.pt2 holds its own" in messages(path)[0]


def test_repeated_keys_are_said_beside_the_schemas_problems(write):
    text = """
        model: {source: model.py:build, inputs: {x: {shape: [1, 3], shape: [1, 3]}}}
        data: data.py:splits
        sead: 1
    """
    found = messages(write(**{"recipe.yaml": text}))
    assert "recipe.yaml: model.inputs.x.shape: expected each key once, got it again in line 2" in found
    assert any("sead: expected one of the keys" in message for message in found)


def test_the_compressed_network_is_trained_in_one_way(write):
    text = FULL.replace("recover: {epochs: 2, learning_rate: 1e-3}", "recover: {epochs: 2}\n      distill: {}")
    (message,) = messages(write(**{"recipe.yaml": text, "weights.safetensors": ""}))
    assert message.startswith(
        "recipe.yaml: compress: expected one of recover and distill: both train the compressed network"
    )


def test_wrong_overrides_are_said_of_the_command_line(write):
    path = write()
    assert messages(path, "compress", "data.x=1", "threads=[") == [
        "--set: expected KEY=VALUE, as compress.prune.flops=0.4, got 'compress'",
        "--set: data.x: expected keys below 'data', got the value 'data.py:splits' there",
        "--set: threads: expected YAML, got something else"
        " (while parsing a flow node from line 2: did not find expected node content)",
    ]
    assert messages(path, "compress.prune.flops=2") == ["--set: compress.prune.flops: expected less than 1, got 2"]


def test_reading_a_recipe_imports_neither_torch_nor_numpy(write):
    code = (
        "import sys; from pathlib import Path; from edgewright.recipe.schema import load_recipe;"
        "load_recipe(Path(sys.argv[1])); sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code, str(write())], check=True)


OPEN = ["model.inputs={image: {shape: [batch, 3, 8, 8]}}"]


def test_an_open_batch_may_have_a_range(write):
    path = write()
    assert load_recipe(path, OPEN).model.batch is None
    batch = load_recipe(path, [*OPEN, "model.batch={best: 8, max: 32}"]).model.batch
    assert (batch.min, batch.best, batch.max) == (1, 8, 32)


@pytest.mark.parametrize(("batch", "expected"), [
    ("{min: 4, best: 2}", "model.batch: expected min <= best <= max, not 4, 2, 16 (where absent: 1, 1, 16), got"),
    ("{best: 32}", "model.batch: expected min <= best <= max, not 1, 32, 16 (where absent: 1, 1, 16), got"),
    ("{min: 8, best: 8, max: 8}", "model.batch: expected min < max; one number, 8, belongs into the inputs' shapes"),
    ("{min: 0}", "model.batch.min: expected greater than or equal to 1, got 0"),
    ("{opt: 8}", "model.batch.opt: expected one of the keys best, max, min, got an unknown key"),
])  # fmt: skip
def test_a_range_that_is_none_is_said(write, batch, expected):
    (message,) = messages(write(), *OPEN, f"model.batch={batch}")
    assert message.startswith(f"--set: {expected}")


def test_a_range_beside_a_fixed_batch_is_said(write):
    fixed = "model.inputs={image: {shape: [1, 3, 8, 8]}}"
    (message,) = messages(write(), fixed, "model.batch={max: 32}")
    expected = "an open batch in the inputs' shapes ([batch, ...]), which fix it at 1, got {'max': 32}"
    assert message == f"--set: model.batch: expected {expected}"
