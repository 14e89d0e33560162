"""Plans of real recipes for every shipped profile, compared with tests/golden/RECIPE.PROFILE.txt.

Where a plan changed on purpose, write the files anew and read the difference before it is committed:

    UPDATE_GOLDEN=1 python -m pytest tests/pipeline/test_planning.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from edgewright.devices.machine import host_target
from edgewright.ir.errors import InputError
from edgewright.passes import ALL, manager
from edgewright.passes.contract import Skip
from edgewright.passes.text import from_text, to_text
from edgewright.pipeline.planning import baseline_plan, plan, resolve, targets_of
from edgewright.recipe.schema import Recipe, load_recipe
from edgewright.runtimes import emitter
from edgewright.targets import Quantization, builtin_names, load_target, to_yaml

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
UPDATE = "UPDATE_GOLDEN"

RECIPES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "quantize": {"quantize": {}},
    "everything": {
        "prune": {"flops": 0.5},
        "recover": {"epochs": 2},
        "quantize": {"calibration": {"method": "entropy", "samples": 512}, "keep_float": ["head", "stem.0"]},
    },
    "iterative": {
        "prune": {"parameters": 0.4, "criterion": "taylor", "steps": 4, "recover_epochs": 0.5, "keep": ["stem"]},
        "recover": {"optimizer": "sgd", "learning_rate": 0.01, "patience": 3},
    },
    "trained": {"recover": {}, "quantize": {"mode": "qat", "train": {"epochs": 3, "distill": {"temperature": 2.0}}}},
    "sparse": {"prune": {"flops": 0.25}, "sparsify": "2:4", "recover": {"epochs": 2}, "quantize": {}},
    "distilled": {
        "prune": {"flops": 0.5, "steps": 2, "recover_epochs": 1.0},
        "distill": {
            "epochs": 4,
            "average": 0.999,
            "teachers": ["original", {"source": "teacher.py:build", "weights": "teacher.pt", "share": 2.0}],
            "attention": ["layer1", "layer2=stage2"],
        },
        "quantize": {},
    },
    "blocks": {"prune": {"blocks": 2, "granularity": "block"}, "recover": {}, "quantize": {}},
    "factorized": {
        "prune": {"flops": 0.25},
        "factorize": {"rank": "measured", "keep": ["stem"]},
        "sparsify": "2:4",
        "recover": {"epochs": 2},
        "quantize": {},
    },
    "elements": {
        "prune": {"weights": 0.8, "granularity": "element", "steps": 3, "schedule": "cubic", "recover_epochs": 1.0},
        "recover": {},
        "quantize": {},
    },
}
"""What is compressed, by the name of the recipe; what else stands in a recipe changes no plan."""


def recipe(compress: dict[str, Any], folder: Path = Path("nowhere"), **others: Any) -> Recipe:
    """A recipe that was made in code: no file of it is looked at, because none is needed to plan."""
    inputs = {"image": {"shape": (1, 3, 32, 32)}}
    document = {"model": {"source": "model.py:build", "inputs": inputs}, "data": "data.py:splits", **others}
    return Recipe.model_validate({**document, "compress": compress, "path": folder / "recipe.yaml"})


@pytest.mark.parametrize("profile", builtin_names())
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_plans_are_those_that_were_read_and_found_right(name: str, profile: str) -> None:
    text = plan(recipe(RECIPES[name]), load_target(profile)).to_text()
    file = GOLDEN / f"{name}.{profile}.txt"
    if os.environ.get(UPDATE):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert file.is_file(), f"{file.name} is not written yet: see {Path(__file__).name} for how"
    assert text == file.read_text(encoding="utf-8")


def test_no_golden_plan_is_left_over() -> None:
    expected = {f"{name}.{profile}.txt" for name in RECIPES for profile in builtin_names()}
    assert {file.name for file in GOLDEN.glob("*.txt")} == expected


@pytest.mark.parametrize("profile", builtin_names())
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_plan_replays_and_its_steps_read_back_from_their_text(name: str, profile: str) -> None:
    found = plan(recipe(RECIPES[name]), load_target(profile))
    steps = [step.step for step in found.steps]
    manager.replay(steps, found.goal)
    assert [from_text(to_text(step), ALL) for step in steps] == steps
    assert all(step.because for step in found.steps)


def test_the_same_recipe_is_planned_otherwise_for_another_target() -> None:
    """Weights have seven bits where the kernels saturate, and eight where they do not."""
    asked = recipe(RECIPES["quantize"])
    steps = {name: plan(asked, load_target(name)).steps[-1].text for name in ("x86-avx2", "x86-avx512-vnni")}
    assert "weight_bits=7" in steps["x86-avx2"]
    assert steps["x86-avx512-vnni"] == steps["x86-avx2"].replace("weight_bits=7", "weight_bits=8")


def test_what_the_hardware_uses_is_in_the_plan_and_where_it_goes_has_its_reasons() -> None:
    """2:4 sparsity: after channels are pruned, before recovery and calibration; elsewhere it is skipped, with why."""
    asked = recipe(RECIPES["sparse"])
    here, there = (plan(asked, load_target(name)) for name in ("nvidia-rtx-ada", "x86-avx512-vnni"))
    names = [step.step.name for step in here.steps]
    assert names[:4] == ["prune-channels", "sparsify-2-4", "recover", "export"]
    assert [name for name in names if name != "sparsify-2-4"] == [step.step.name for step in there.steps]
    reasons = {step.step.name: step.because for step in here.steps}
    assert "before sparsify-2-4: it would end '2:4 sparse'" in reasons["prune-channels"]
    assert {
        "before recover: it would end 'recovered'",
        "before calibrate: it would end 'ranges calibrated'",
        "before export: it would end 'exported'",
    } <= set(reasons["sparsify-2-4"])
    assert here.skips == ()
    assert [skip.what for skip in there.skips] == ["2:4 sparsity"]
    int8 = [plans.steps[-1].text for plans in (here, there)]
    assert "activations=int8 symmetric=true" in int8[0]
    assert "bias=float32" in int8[0]
    assert "activations=uint8 symmetric=false" in int8[1]
    assert "bias=int32" in int8[1]


def test_single_weights_are_pruned_everywhere_and_the_plan_says_what_comes_of_it() -> None:
    """2:4 sparsity comes before: the zeros that follow leave it whole."""
    asked = recipe({**RECIPES["elements"], "sparsify": "2:4"})
    found = plan(asked, load_target("nvidia-rtx-ada"))
    steps = {step.step.name: step for step in found.steps}
    assert list(steps)[:3] == ["sparsify-2-4", "prune-elements", "recover"]
    remark = "tensorrt's kernels compute with zeros as with any number: the artifact is smaller when compressed, not"
    assert steps["prune-elements"].remark.startswith(remark)
    assert f"     note: {remark}" in found.to_text()
    assert found.remarks == (f"prune-elements: {steps['prune-elements'].remark}",)
    document = {step["pass"].partition("{")[0]: step for step in found.to_json()["steps"]}
    assert document["prune-elements"]["remark"] == steps["prune-elements"].remark
    assert "remark" not in document["recover"]


def test_a_target_without_int8_skips_it_and_prunes_all_the_same() -> None:
    bare = load_target("x86-avx2").model_copy(update={"name": "bare", "quantization": Quantization()})
    found = plan(recipe(RECIPES["everything"]), bare)
    assert [step.step.name for step in found.steps] == ["prune-channels", "recover", "export"]
    assert [skip.what for skip in found.skips] == ["static int8 quantization"]
    assert "bare has no static int8 kernels" in found.skips[0].why


def test_a_target_that_names_no_widths_skips_pruning_unless_the_recipe_names_one() -> None:
    bare = load_target("x86-avx2").model_copy(update={"name": "bare", "pruning": None})
    (skip,) = plan(recipe({"prune": {"flops": 0.5}}), bare).skips
    assert isinstance(skip, Skip)
    assert "compress.prune.multiple" in skip.why
    assert plan(recipe({"prune": {"flops": 0.5, "multiple": 8}}), bare).skips == ()


def test_an_unknown_runtime_is_refused() -> None:
    foreign = load_target("x86-avx2").model_copy(update={"runtime": "abacus"})
    with pytest.raises(InputError, match="abacus"):
        plan(recipe({}), foreign)


def test_the_baseline_is_the_same_recipe_uncompressed() -> None:
    target = load_target("x86-avx2")
    assert baseline_plan(recipe(RECIPES["everything"]), target) == plan(recipe({}), target)
    assert baseline_plan(recipe({}), target).goal == emitter("onnxruntime").needs


def test_host_is_the_profile_that_fits_this_machine() -> None:
    assert resolve("host") == host_target()
    assert resolve("host").name in builtin_names()


def _own_profile(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text(to_yaml(load_target("x86-avx2").model_copy(update={"name": name})))
    return file


def test_a_path_in_a_recipe_starts_at_the_recipe(tmp_path: Path) -> None:
    _own_profile(tmp_path, "board")
    asked = recipe({}, folder=tmp_path, targets=("./board.yaml",))
    assert [target.name for target in targets_of(asked)] == ["board"]


def test_a_path_that_was_typed_starts_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _own_profile(tmp_path / "here", "board")
    monkeypatch.chdir(tmp_path / "here")
    asked = recipe({}, folder=tmp_path / "recipe")
    assert [target.name for target in targets_of(asked, ["./board.yaml"])] == ["board"]


def test_a_name_that_was_typed_is_looked_for_where_one_stands_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = _own_profile(tmp_path / "here" / "targets", "board")
    here.write_text(here.read_text().replace("threads: 1", "threads: 2"))
    _own_profile(tmp_path / "recipe" / "targets", "board")
    monkeypatch.chdir(tmp_path / "here")
    asked = recipe({}, folder=tmp_path / "recipe", targets=("board",))
    assert [target.threads for target in targets_of(asked)] == [1]
    assert resolve("board", recipe({}, folder=tmp_path / "recipe")).threads == 2


def test_a_name_is_looked_for_in_the_targets_folder_beside_the_recipe(tmp_path: Path) -> None:
    _own_profile(tmp_path / "targets", "board")
    assert resolve("board", recipe({}, folder=tmp_path)).name == "board"
    with pytest.raises(InputError, match="did you mean 'board'"):
        resolve("bord", recipe({}, folder=tmp_path))


def test_targets_are_those_named_else_the_recipes_and_each_once(tmp_path: Path) -> None:
    asked = recipe({}, folder=tmp_path, targets=("x86-avx2", "x86-avx-vnni", "x86-avx2"))
    assert [target.name for target in targets_of(asked)] == ["x86-avx2", "x86-avx-vnni"]
    assert [target.name for target in targets_of(asked, ["x86-avx512-vnni"])] == ["x86-avx512-vnni"]
    host = host_target().name
    assert [target.name for target in targets_of(asked, ["host", host])] == [host]


def test_planning_imports_no_torch(tmp_path: Path) -> None:
    """A recipe is read and planned in a process of its own, which then says what it has imported."""
    (tmp_path / "model.py").write_text("raise SystemExit('planning runs none of the code that the recipe names')")
    (tmp_path / "data.py").write_text("raise SystemExit('planning runs none of the code that the recipe names')")
    asked = recipe(RECIPES["everything"])
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(asked.model_dump(mode="json", exclude_none=True)))
    code = """
import sys
import edgewright
recipe = edgewright.load_recipe("recipe.yaml")
print(edgewright.plan(recipe, edgewright.load_target("x86-avx2")).to_text(), end="")
heavy = {"torch", "onnx", "onnxruntime", "accelerate", "torch_pruning", "safetensors"}
sys.exit(" ".join(heavy & set(sys.modules)) or 0)
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == plan(load_recipe(tmp_path / "recipe.yaml"), load_target("x86-avx2")).to_text()
    assert found.stdout == plan(asked, load_target("x86-avx2")).to_text()
