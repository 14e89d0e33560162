"""The documents hold: their examples are taken out of them and run, and their tables leave nothing out."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from edgewright.ir import facts
from edgewright.passes import ALL, manager
from edgewright.passes.contract import Pass
from edgewright.passes.text import from_text, to_text
from edgewright.recipe.schema import Recipe, load_recipe
from edgewright.targets import Target, load_target, schema
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[1]
PASS_GUIDE, TARGET_GUIDE, README = (
    ROOT / "docs/writing-a-pass.md",
    ROOT / "docs/writing-a-target.md",
    ROOT / "README.md",
)
LINK = re.compile(r"\[[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of that language, in order."""
    text = document.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def block_of(document: Path, file: str) -> str:
    """The python block that begins with the comment `# file`."""
    (found,) = (block for block in blocks(document, "python") if block.startswith(f"# {file}\n"))
    return found


def documents_in_the_repository() -> list[Path]:
    return [README, *sorted((ROOT / "docs").rglob("*.md"))]


Load = Callable[[str, str], ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a block of the pass guide as the module that it would be; it is gone after the test."""

    def load_block(file: str, name: str) -> ModuleType:
        path = tmp_path / Path(file).name
        path.write_text(block_of(PASS_GUIDE, file))
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load_block


@pytest.fixture
def example(load: Load, monkeypatch: pytest.MonkeyPatch) -> type[Pass]:
    """The pass of the guide, with the fact that it brings."""
    names = dict(vars(facts))
    exec(block_of(PASS_GUIDE, "ir/facts.py"), names)
    monkeypatch.setattr(facts, "EQUALIZED", names["EQUALIZED"], raising=False)
    kind: type[Pass] = load("passes/equalize_ranges.py", "edgewright.passes.equalize_ranges").EqualizeRanges
    return kind


def _recipe() -> Recipe:
    model = {"source": "model.py:build", "inputs": {"image": {"shape": (1, 3, 8, 8)}}}
    compress = {"prune": {"flops": 0.5}, "recover": {}, "quantize": {}}
    document = {"model": model, "data": "data.py:splits", "compress": compress, "path": Path("recipe.yaml")}
    return Recipe.model_validate(document)


def _per_tensor() -> Target:
    """A profile whose weights share one scale."""
    target = load_target("x86-avx2")
    int8 = target.quantization.int8_static
    assert int8 is not None
    changed = int8.model_copy(update={"weight_granularity": "per-tensor"})
    return target.model_copy(update={"quantization": target.quantization.model_copy(update={"int8_static": changed})})


def test_the_pass_of_the_guide_is_planned_where_its_target_wants_it(example: type[Pass]) -> None:
    def planned(target: Target, kinds: tuple[type[Pass], ...]) -> list[str]:
        plan = manager.plan(_recipe(), target, kinds, "emitter", frozenset({facts.EXPORTED}))
        return [step.step.name for step in plan.steps]

    before, behind = ["prune-channels", "recover", "export", "fold-batchnorm"], ["calibrate", "insert-quantization"]
    assert planned(_per_tensor(), (*ALL, example)) == [*before, "equalize-ranges", *behind]
    assert planned(load_target("x86-avx2"), (*ALL, example)) == [*before, *behind]


def test_the_pass_of_the_guide_reads_back_from_its_text(example: type[Pass]) -> None:
    step = example.for_target(_per_tensor(), _recipe())
    assert isinstance(step, example)
    assert from_text(to_text(step), (*ALL, example)) == step


def test_the_twin_test_of_the_guide_passes(example: type[Pass], load: Load) -> None:
    twin = load("tests/passes/test_equalize_ranges.py", "test_equalize_ranges")
    tests = [entry for name, entry in vars(twin).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_the_twin_test_of_the_guide_can_fail(example: type[Pass], load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[example.__module__], "_equalize", lambda *arguments: None)
    twin = load("tests/passes/test_equalize_ranges.py", "test_equalize_ranges")
    with pytest.raises(AssertionError):
        twin.test_the_largest_weights_of_each_channel_are_equal()


def test_the_pass_guide_names_every_aspect_and_every_declaration() -> None:
    text = PASS_GUIDE.read_text(encoding="utf-8")
    declared = {*Pass.__annotations__, "reads"}
    assert "numerics" in declared
    for name in {aspect.name for aspect in facts.Aspect} | declared:
        assert f"| `{name}` |" in text


def test_the_profile_of_the_guide_loads(tmp_path: Path) -> None:
    (example,) = blocks(TARGET_GUIDE, "yaml")
    (tmp_path / "kiosk.yaml").write_text(example)
    target = load_target("kiosk.yaml", tmp_path)
    base = load_target("x86-avx-vnni")
    assert target.name == "kiosk"
    assert target.quantization == base.quantization
    assert target.pruning != base.pruning
    assert target.hardware is not None


def test_the_target_guide_names_every_key() -> None:
    text = TARGET_GUIDE.read_text(encoding="utf-8")
    parts = [kind for kind in vars(schema).values() if isinstance(kind, type) and issubclass(kind, BaseModel)]
    keys = {key for kind in parts if kind.__module__ == schema.__name__ for key in kind.model_fields}
    assert {key for key in keys if f"`{key}`" not in text and f".{key}`" not in text} == set()


def test_the_recipe_of_the_readme_loads(tmp_path: Path) -> None:
    """Beside the files that it names; what is in them is not looked at before a build."""
    (text,) = blocks(README, "yaml")
    for name in ("model.py", "data.py", "weights.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "recipe.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert recipe.compress.prune is not None
    assert recipe.compress.quantize is not None


@pytest.mark.parametrize("document", documents_in_the_repository(), ids=lambda path: path.name)
def test_python_in_documents_is_python_and_links_lead_somewhere(document: Path) -> None:
    for block in blocks(document, "python"):
        ast.parse(block)
    links = LINK.findall(document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []
