"""What a Python file stands on, read from its text: the files beside it that it imports, the files that it names.

Nothing is imported or run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def code_files(entry: Path) -> tuple[Path, ...]:
    """The file and every file of its folder that it imports, directly or through others, sorted.

    Imports inside functions count. A file that is no valid Python counts but is not looked into.
    """
    found: set[Path] = set()
    waiting = [entry]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting.extend(_imported(file, entry.parent))
    return tuple(sorted(found))


def named_files(files: tuple[Path, ...], folder: Path) -> tuple[Path, ...]:
    """The files that exist under a name which a string in one of the files gives, sorted."""
    names = {text for file in files for text in _strings(file) if 2 < len(text) < 256 and text.isprintable()}
    return tuple(sorted(path for path in (folder / name for name in names) if _is_file(path)))


def _strings(file: Path) -> Iterator[str]:
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _imported(file: Path, folder: Path) -> Iterator[Path]:
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(folder, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[min(node.level, len(file.parents)) - 1] if node.level else folder
            yield from _files_of(base, node.module or "")
            for alias in node.names:
                yield from _files_of(base, f"{node.module}.{alias.name}" if node.module else alias.name)


def _files_of(folder: Path, name: str) -> Iterator[Path]:
    """The files that run when `name` is imported from `folder`, as far as they lie there."""
    path = folder
    for part in name.split("."):
        candidates = [path / part / "__init__.py", path / f"{part}.py"]
        yield from (file for file in candidates if part and file.is_file())
        path = path / part


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return ast.Module([], [])
