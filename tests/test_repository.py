"""What lies in the repository: every profile's key is read and sourced, every recipe loads, nothing names a machine."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from edgewright.recipe.schema import load_recipe
from edgewright.targets import builtin_names, load_target, schema, to_yaml
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[1]
FOR_PEOPLE = "source"
"""The key that no code reads: it says where its neighbours come from, and `edgewright targets show` prints it."""
PLACEHOLDER = re.compile(
    r"to be (filled|done|measured)|\b(todo|tbd|fixme|xxx|unknown|placeholder)\b|\?\?", re.IGNORECASE
)
MACHINES_PATH = re.compile(r"(?<![\w.)}\]/-])/(home|root|tmp|Users|var/tmp|private/var)/\w")
REGISTRY = re.compile(r"(pypi|pythonhosted|conda)\.\w|https?://\S+/simple\b|--(extra-)?index-url|https?://\S+/whl/")


def tracked() -> list[Path]:
    """The files that git keeps, and those that it would keep if they were added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in sorted(set(listed.split("\0"))) if name and (path := ROOT / name).is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    """Each tracked file that is text (weights and images hold zero bytes)."""
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            yield path.relative_to(ROOT), content.decode("utf-8")


@pytest.fixture(scope="module")
def models() -> list[type[BaseModel]]:
    """The parts of a profile: every pydantic model that targets/schema.py defines."""
    defined = [kind for kind in vars(schema).values() if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [kind for kind in defined if kind.__module__ == schema.__name__]


def _attributes_read_where_targets_are_known() -> set[str]:
    """The attributes that modules read which import something from targets/; targets/ itself does not count."""
    read: set[str] = set()
    for path in sorted([*ROOT.glob("*/*.py"), *ROOT.glob("runtimes/*/*.py")]):
        if path.parent.name in ("targets", "tests", "examples"):
            continue
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        if any(isinstance(node, ast.ImportFrom) and (node.module or "").startswith("targets") for node in nodes):
            read.update(node.attr for node in nodes if isinstance(node, ast.Attribute))
    return read


def test_every_key_of_a_profile_is_read_by_some_code(models: list[type[BaseModel]]) -> None:
    assert schema.Target in models
    read = _attributes_read_where_targets_are_known()
    fields = {(kind.__name__, name) for kind in models for name in kind.model_fields if name != FOR_PEOPLE}
    assert {f"{kind}.{name}" for kind, name in fields if name not in read} == set()


def test_a_part_of_a_profile_that_holds_numbers_holds_their_source(models: list[type[BaseModel]]) -> None:
    for kind in models:
        holds_numbers = any(field.annotation in (int, float, int | None) for field in kind.model_fields.values())
        if holds_numbers and kind is not schema.Target:
            assert FOR_PEOPLE in kind.model_fields, f"{kind.__name__} holds numbers that come from nowhere"


def _mappings(document: dict[str, Any], key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield key, document
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _mappings(value, f"{key}.{name}".lstrip("."))


@pytest.mark.parametrize("name", builtin_names())
def test_every_number_of_a_shipped_profile_has_a_source_that_says_something(name: str) -> None:
    target = load_target(name)
    for key, part in _mappings(target.model_dump()):
        if FOR_PEOPLE in part:
            assert not PLACEHOLDER.search(part[FOR_PEOPLE]), f"{name}: {key}.source: {part[FOR_PEOPLE]}"
        elif key:
            assert not any(type(value) in (int, float) for value in part.values()), f"{name}: {key} has no source"


@pytest.mark.parametrize("name", builtin_names())
def test_what_is_shown_of_a_profile_tells_every_source(name: str) -> None:
    shown, target = " ".join(to_yaml(load_target(name)).split()), load_target(name)
    sources = [part[FOR_PEOPLE] for _, part in _mappings(target.model_dump()) if FOR_PEOPLE in part]
    assert sources
    assert shown.count(f"{FOR_PEOPLE}: ") == len(sources)


def test_every_recipe_among_the_examples_loads() -> None:
    found = [path for path in tracked() if path.is_relative_to(ROOT / "examples") and path.match("recipe*.yaml")]
    assert found
    for path in found:
        assert load_recipe(path).folder == path.parent


@pytest.mark.parametrize(("pattern", "text", "is_found"), [
    (MACHINES_PATH, "see " + "/home" + "/someone/recipe.yaml", True),
    (MACHINES_PATH, "'" + "/tmp" + "/out'", True),
    (MACHINES_PATH, "benchmarks/tmp/out", False),
    (REGISTRY, "pip install --index" + "-url x", True),
    (REGISTRY, "https://mirror.example" + "/simple", True),
    (REGISTRY, "it is simple, and on PyPI", False),
])  # fmt: skip
def test_what_is_looked_for_in_texts_is_found(pattern: re.Pattern[str], text: str, is_found: bool) -> None:
    assert bool(pattern.search(text)) is is_found


def test_no_text_names_a_folder_of_this_machine_or_the_host_of_a_registry() -> None:
    folders = [re.escape(f"{folder}/") for folder in (Path.home(), Path(tempfile.gettempdir()), ROOT.parent)]
    here = re.compile(rf"(?<![\w.-])({'|'.join(folder for folder in folders if folder != '//')})")
    wrong = []
    for path, text in texts():
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINES_PATH.search(line) or REGISTRY.search(line) or here.search(line):
                wrong.append(f"{path}:{number}: {line.strip()[:100]}")
    assert not wrong, "\n".join(wrong)


def test_the_suite_asks_the_package_for_what_it_has() -> None:
    """The scripts run for minutes and in no test, and import where they need: a name that moved would be missed."""
    asked = {path.name: list(_asked(path)) for path in sorted((ROOT / "benchmarks" / "suite").glob("*.py"))}
    assert sum(map(len, asked.values())) > 100
    everything = {f"{file}: {module.__name__}.{name}" for file, found in asked.items() for module, name in found}
    assert {entry for entry in everything if not _is_there(entry.partition(": ")[2])} == set()


def _asked(path: Path) -> Iterator[tuple[ModuleType, str]]:
    """Each name that the script takes from a module of the package, by an import or by a dot behind the module."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    modules: dict[str, ModuleType] = {}
    for node in nodes:
        if not isinstance(node, ast.ImportFrom) or (node.module or "").partition(".")[0] != "edgewright":
            continue
        module = importlib.import_module(str(node.module))
        for alias in node.names:
            yield module, alias.name
            if isinstance(found := getattr(module, alias.name, None), ModuleType):
                modules[alias.asname or alias.name] = found
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


def _is_there(path: str) -> bool:
    """Whether the dotted path leads to a module, or to a name in one."""
    module, _, name = path.rpartition(".")
    if hasattr(importlib.import_module(module), name):
        return True
    try:
        importlib.import_module(path)
    except ModuleNotFoundError:
        return False
    return True
