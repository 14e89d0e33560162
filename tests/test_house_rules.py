"""The house rules: who may import whom, how large things get, that tests have twins, that passes are what they say."""

from __future__ import annotations

import ast
import dataclasses
import functools
import graphlib
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgewright.passes import ALL

ROOT = Path(__file__).resolve().parents[1]

LINES = (
    {"__init__", "deploy"},
    {"commands"},
    {"pipeline"},
    {"ship", "benchmarks"},
    {"passes", "runtimes"},
    {"training", "devices", "blocks", "channels", "low_rank", "quantization"},
    {"recipe"},
    {"targets"},
    {"ir"},
)
"""The rooms from top to bottom. Imports go down, or stay within a room; rooms on one line do not know each other."""
ROOMS = frozenset().union(*LINES[1:])
LINE_OF = {room: number for number, line in enumerate(LINES) for room in line}

LONGEST_FILE, LONGEST_FUNCTION = 300, 60
HEAVY = {"torch", "torch_pruning", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "accelerate", "safetensors"}
HEAVY |= {"litert_torch", "ai_edge_litert", "flatbuffers"}
"""Libraries that take long to import: functions import them, modules do not."""
STANDALONE = Path("devices/agent")
"""The folder that is copied to a device, where nothing of the house is."""
WITHOUT_TWIN = {"contract.py": "Protocols and plain data only; the tests of whoever fulfils them are theirs"}
TESTED_ELSEWHERE = {"breaks", "facts_after"}
"""Functions of exempt modules: tests/passes/test_manager.py tests them with the planner that they are for."""
FORBIDDEN_NAMES = {"utils", "util", "common", "core", "helpers", "helper", "misc"}


def modules() -> list[Path]:
    """Every module of the package, seen from the root."""
    inside = [
        path
        for room in sorted(ROOMS)
        for path in sorted((ROOT / room).rglob("*.py"))
        if (path.parent / "__init__.py").is_file()
    ]
    return [path.relative_to(ROOT) for path in [ROOT / "__init__.py", ROOT / "deploy.py", *inside]]


@functools.cache
def tree(module: Path) -> ast.Module:
    """What the module says, without importing it."""
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), str(module))


def room_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


@dataclasses.dataclass(frozen=True)
class Import:
    """One module of the package that another imports. `is_typing`: for annotations only."""

    module: Path
    imported: Path
    line: int
    is_typing: bool


def imports_of(module: Path) -> Iterator[Import]:
    """Every import of the package's own modules that the text holds, wherever in the file it stands."""
    parsed = tree(module)
    typing_only = {node for block in ast.walk(parsed) if _is_type_checking(block) for node in ast.walk(block)}
    for node in ast.walk(parsed):
        for path in _imported_names(node, module):
            yield Import(module, _file_of(path), node.lineno, node in typing_only)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _imported_names(node: ast.AST, module: Path) -> Iterator[tuple[str, ...]]:
    """The path from the package's root of each name that the statement imports from the package."""
    if isinstance(node, ast.Import):
        paths = [tuple(alias.name.split(".")) for alias in node.names]
        yield from (path[1:] for path in paths if path[0] == "edgewright")
    if not isinstance(node, ast.ImportFrom):
        return
    names = tuple(node.module.split(".")) if node.module else ()
    if node.level:
        assert node.level <= len(module.parts), f"{module}:{node.lineno} imports from above the package"
        names = (*module.parts[: len(module.parts) - node.level], *names)
    elif names[0] != "edgewright":
        return
    yield from ((*(names if node.level else names[1:]), alias.name) for alias in node.names)


def _file_of(path: tuple[str, ...]) -> Path:
    """The module that holds what lies at `path`: a module, or a name in one."""
    for parts in (path, path[:-1]):
        for file in (Path(*parts[:-1], f"{parts[-1]}.py") if parts else Path(), Path(*parts, "__init__.py")):
            if (ROOT / file).is_file():
                return file
    raise AssertionError(f"no module holds {'.'.join(path)}")


ALL_IMPORTS = [found for module in modules() for found in imports_of(module)]


def test_imports_are_seen_in_every_form() -> None:
    """The reader of imports is not blind: it sees imports that this package is known to hold."""
    seen = {(str(found.module), str(found.imported), found.is_typing) for found in ALL_IMPORTS}
    assert ("deploy.py", "commands/app.py", False) in seen  # absolute, within a function
    assert ("__init__.py", "pipeline/planning.py", False) in seen  # from .pipeline import planning
    assert ("passes/contract.py", "targets/__init__.py", True) in seen  # under TYPE_CHECKING
    assert ("targets/loading.py", "ir/documents.py", False) in seen  # from ..ir import documents
    assert ("passes/calibrate.py", "passes/contract.py", False) in seen  # within the room


def test_every_folder_of_modules_is_a_room_on_a_line() -> None:
    hidden = {"tests", "docs", "examples", "build", "dist"}
    folders = {path.parent.name for path in ROOT.glob("*/*.py") if not path.parent.name.startswith(".")}
    assert folders - hidden <= ROOMS


def test_imports_go_down_only() -> None:
    wrong = [
        f"{found.module}:{found.line} imports {found.imported}"
        for found in ALL_IMPORTS
        if found.imported != Path("__init__.py")  # what every room may ask the package for: its version
        and room_of(found.module) != room_of(found.imported)
        and LINE_OF[room_of(found.module)] >= LINE_OF[room_of(found.imported)]
    ]
    assert wrong == []


def test_only_the_version_is_asked_of_the_package_itself() -> None:
    wrong = []
    for module in modules():
        for node in ast.walk(tree(module)):
            is_package = isinstance(node, ast.ImportFrom) and node.level == len(module.parts) and node.module is None
            if is_package and module.name not in ("__init__.py", "deploy.py"):
                names = {alias.name for alias in node.names} - ROOMS
                wrong += [f"{module}:{node.lineno} {name}" for name in names - {"__version__"}]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[Path, set[Path]] = {}
    for found in ALL_IMPORTS:
        if not found.is_typing and found.module != found.imported and found.imported != Path("__init__.py"):
            graph.setdefault(found.module, set()).add(found.imported)
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules


def test_nothing_heavy_is_imported_with_a_module() -> None:
    statements = [(module, statement) for module in modules() for statement in tree(module).body]
    wrong = [f"{module}:{entry.lineno}" for module, entry in statements if HEAVY.intersection(_libraries(entry))]
    assert wrong == []


def _libraries(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name.split(".")[0] for alias in statement.names]
    is_absolute = isinstance(statement, ast.ImportFrom) and statement.level == 0
    return [str(statement.module).split(".")[0]] if is_absolute else []


def test_the_agent_stands_alone() -> None:
    inside = [found for found in ALL_IMPORTS if STANDALONE in found.module.parents]
    assert inside
    assert [found for found in inside if STANDALONE not in found.imported.parents] == []


def test_files_stay_small() -> None:
    lengths = {str(module): len((ROOT / module).read_text(encoding="utf-8").splitlines()) for module in modules()}
    assert {module: length for module, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions_stay_small() -> None:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    functions = [(module, node) for module in modules() for node in ast.walk(tree(module)) if isinstance(node, kinds)]
    lengths = {f"{module}:{node.lineno}": (node.end_lineno or 0) - node.lineno + 1 for module, node in functions}
    assert {place: length for place, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_every_module_has_its_twin_test() -> None:
    twins = {module: Path("tests", module.parent, f"test_{module.name}") for module in modules()}
    named = [module for module in twins if module.name != "__init__.py" and module.name not in WITHOUT_TWIN]
    missing = [str(twins[module]) for module in named if not (ROOT / twins[module]).is_file()]
    assert not missing, "\n".join(["not written:", *missing])


def test_what_needs_no_twin_is_there_and_has_no_function_to_test() -> None:
    """An exemption ends when its module is gone, or when a public function moves in that does something."""
    exempt = [module for module in modules() if module.name in WITHOUT_TWIN]
    assert {module.name for module in exempt} == set(WITHOUT_TWIN)
    for module in exempt:
        public = {node.name for node in tree(module).body if isinstance(node, ast.FunctionDef)}
        assert public <= TESTED_ELSEWHERE


def test_no_file_or_folder_is_a_drawer_for_everything() -> None:
    names = {part.removesuffix(".py") for module in modules() for part in module.parts}
    assert names & FORBIDDEN_NAMES == set()


def test_no_assert_guards_a_user_and_no_failure_is_swallowed() -> None:
    nodes = [(module, node) for module in modules() for node in ast.walk(tree(module))]
    assert [f"{module}:{node.lineno} {reason}" for module, node in nodes if (reason := _reproach(node))] == []


def _reproach(node: ast.AST) -> str:
    if isinstance(node, ast.Assert):
        return "assert is not there under -O; raise an error of ir.errors"
    if isinstance(node, ast.Name) and node.id == "hasattr":
        return "hasattr: say with types what a thing has"
    if isinstance(node, ast.ExceptHandler) and node.type is None:
        return "a bare except"
    is_silent = isinstance(node, ast.ExceptHandler) and all(isinstance(entry, ast.Pass) for entry in node.body)
    return "a failure that is passed over" if is_silent else ""


def passes_in(module: Path) -> list[type]:
    """The pass classes that a module of passes/ defines."""
    loaded = importlib.import_module(f"edgewright.passes.{module.stem}")
    own = [kind for kind in vars(loaded).values() if isinstance(kind, type) and kind.__module__ == loaded.__name__]
    return [kind for kind in own if "for_target" in vars(kind) and kind.__name__ != "Pass"]


def test_all_names_every_pass_and_each_has_a_file_of_its_own() -> None:
    found = {module.stem: passes_in(module) for module in modules() if room_of(module) == "passes"}
    assert sorted((kind for kinds in found.values() for kind in kinds), key=str) == sorted(ALL, key=str)
    assert {stem: [kind.name.replace("-", "_") for kind in kinds] for stem, kinds in found.items() if kinds} == {
        kind.name.replace("-", "_"): [kind.name.replace("-", "_")] for kind in ALL
    }


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_every_pass_is_a_frozen_dataclass_that_declares_itself(kind: type) -> None:
    assert kind.__dataclass_params__.frozen
    declared = {"name", "needs", "makes", "touches", "keeps", "numerics", "asks", "reads", "decides"}
    assert declared <= set(vars(kind))
    assert not declared & {field.name for field in dataclasses.fields(kind)}
    assert kind.makes & kind.keeps == frozenset()
