"""The Python API: light to import, and the same as the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgewright
import pytest
from edgewright.devices.machine import host_target
from edgewright.ir.errors import EdgewrightError, InputError

API = {"load_recipe", "load_target", "plan", "build", "bench"}


def test_it_is_what_it_says_it_is() -> None:
    assert set(edgewright.__all__) == API
    for name in API:
        assert getattr(edgewright, name).__doc__


@pytest.mark.parametrize(
    "code",
    [
        "",
        "edgewright.load_target('x86-avx2')",
        "edgewright.load_recipe(sys.argv[1])",
        "edgewright.plan(edgewright.load_recipe(sys.argv[1]), edgewright.load_target('host'))",
    ],
)
def test_importing_and_planning_import_nothing_heavy(code: str, recipe_file: Path) -> None:
    heavy = "{'torch', 'numpy', 'onnx', 'onnxruntime', 'accelerate', 'safetensors'}"
    program = f"import sys, edgewright\n{code}\nprint(sorted({heavy} & set(sys.modules)), 'typer' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program, str(recipe_file)], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "[] False\n"


def test_importing_it_imports_no_room() -> None:
    program = "import sys, edgewright; print([name for name in sys.modules if name.startswith('edgewright.')])"
    ended = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_a_recipe_is_loaded_by_its_path_with_overrides(recipe_file: Path) -> None:
    for path in (recipe_file, str(recipe_file)):
        assert edgewright.load_recipe(path).targets == ("x86-avx2",)
    assert edgewright.load_recipe(recipe_file, ["targets=[host]", "seed=3"]).seed == 3
    with pytest.raises(InputError, match=r"compress\.prune\.flops: expected less than 1, got 2"):
        edgewright.load_recipe(recipe_file, ["compress.prune.flops=2"])


def test_a_target_is_loaded_by_name_by_path_or_as_host(tmp_path: Path) -> None:
    assert edgewright.load_target("x86-avx512-vnni").name == "x86-avx512-vnni"
    assert edgewright.load_target("host") == host_target()
    (tmp_path / "board.yaml").write_text("name: board\nsummary: mine\nextends: x86-avx2\n")
    assert edgewright.load_target(str(tmp_path / "board.yaml")).name == "board"
    with pytest.raises(EdgewrightError, match="did you mean 'x86-avx2'"):
        edgewright.load_target("x86-avx")


def test_a_plan_is_what_the_command_line_shows(recipe_file: Path, program: Callable[..., Any]) -> None:
    planned = edgewright.plan(edgewright.load_recipe(recipe_file), edgewright.load_target("x86-avx2"))
    assert planned.to_text() == program("plan", recipe_file).out


def test_a_build_gives_a_result_for_each_target(built: Any, tmp_path: Path) -> None:
    """The steps are in the cache of the command line's build: the API's is the same build."""
    copy = built.copied(tmp_path)
    (result,) = edgewright.build(edgewright.load_recipe(copy.recipe), out=copy.out, cache=copy.cache)
    assert (result.status, result.folder) == ("ok", copy.artifact)
    (document,) = built.ran.document()["results"]
    found = result.to_json()
    assert all(step["cached"] for step in found["steps"])
    for key in ("accuracy", "latency_ns", "bytes", "parity_steps"):
        assert found[key] == document[key]


def test_a_build_says_nothing_and_uses_the_users_cache(
    built: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = built.copied(tmp_path)
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(copy.cache))
    monkeypatch.chdir(tmp_path)
    targets = [edgewright.load_target("x86-avx2")]
    (result,) = edgewright.build(edgewright.load_recipe(copy.recipe), targets)
    assert result.folder == Path("out/x86-avx2")
    assert capfd.readouterr() == ("", "")


def test_a_target_that_fails_says_so_in_its_result(built: Any, tmp_path: Path) -> None:
    copy = built.copied(tmp_path)
    (copy.recipe.parent / "model.py").write_text("def build():\n    return 3\n")
    (result,) = edgewright.build(edgewright.load_recipe(copy.recipe), out=copy.out, cache=copy.cache)
    assert (result.status, result.folder) == ("failed", None)
    assert isinstance(result.error, InputError)


@pytest.mark.slow
def test_bench_measures_one_artifact_or_two_in_turns(built: Any) -> None:
    alone = edgewright.bench(built.artifact, threads=1)
    assert set(alone.reports) == {"artifact"}
    assert alone.comparison is None
    pair = edgewright.bench(str(built.artifact), str(built.artifact / "baseline"))
    assert set(pair.reports) == {"artifact", "against"}
    assert pair.comparison is not None
    assert pair.comparison.low <= pair.comparison.ratio <= pair.comparison.high
