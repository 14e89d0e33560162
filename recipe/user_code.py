"""User code, imported by path: what lies beside it can be imported by it, and by nothing else.

A file's folder becomes a package of its own with a name that nobody else uses, and an `import` statement in a file of
that folder looks there first. So two recipes with a `model.py` each, a user's `passes/` beside our own, or a `data.py`
beside an installed package `data` never meet, `sys.path` stays as it is, and imports inside functions work at any time.
Imports by `importlib` and by pickles do not look there.
"""

from __future__ import annotations

import builtins
import difflib
import functools
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..ir.errors import EdgewrightError, InputError, Problem
from .watch import Stamps, is_installed, stamp_of, watching

_PACKAGE_PREFIX = "edgewright_user_"
_ROOT = Path(__file__).resolve().parents[1]
_folders: dict[str, UserFolder] = {}


@dataclass(frozen=True)
class UserFolder:
    """A folder of user code that was imported from, and what that code has read so far in this process.

    `outside` holds the modules' files that it imported from neither its folder nor an installation; `results` holds
    what callers keep for as long as nothing of that changes.
    """

    path: Path
    package: str
    stamps: Stamps = field(default_factory=dict)
    outside: set[Path] = field(default_factory=set)
    owned: dict[str, bool] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)

    def owns(self, name: str) -> bool:
        """Whether `import name` in this folder means a file of this folder."""
        if name not in self.owned:
            self.owned[name] = self._finds(name)
        return self.owned[name]

    def _finds(self, name: str) -> bool:
        spec = importlib.machinery.PathFinder.find_spec(name, [str(self.path)])
        if spec is not None and spec.loader is None:  # a folder without __init__.py comes last, as anywhere in Python
            return importlib.machinery.PathFinder.find_spec(name) is None
        return spec is not None

    def import_statement(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        """What `import` does in the folder's files, in place of `builtins.__import__` and with its signature."""
        first = name.partition(".")[0]
        if level or not self.owns(first):
            return builtins.__import__(name, globals, locals, fromlist, level)
        if fromlist:
            return builtins.__import__(f"{self.package}.{name}", globals, locals, fromlist, 0)
        importlib.import_module(f"{self.package}.{name}")
        return sys.modules[f"{self.package}.{first}"]


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs a user's file with the folder's own import statement; leaves no __pycache__ in the user's folder."""

    def get_code(self, fullname: str) -> types.CodeType:
        _folders[fullname.partition(".")[0]].stamps[self.path] = stamp_of(self.path)
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: types.ModuleType) -> None:
        folder = _folders[module.__name__.partition(".")[0]]
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": folder.import_statement}
        super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the packages that stand for user folders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in _folders:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


@functools.cache
def _install_finder() -> None:
    sys.meta_path.insert(0, _Finder())


def split_reference(reference: str) -> tuple[str, str] | None:
    """`model.py:build` as file and name; None where the text has another form."""
    file, colon, name = reference.rpartition(":")
    return (file, name) if colon and file.endswith(".py") and name.isidentifier() else None


def referenced_file(recipe_folder: Path, reference: str) -> Path:
    """The file of a reference that the schema has checked."""
    return (recipe_folder / reference.rpartition(":")[0]).resolve()


def folder_of(file: Path) -> UserFolder:
    """The user folder in which the file lies. Its modules are forgotten once something that they read has changed."""
    package = _PACKAGE_PREFIX + hashlib.sha256(str(file.parent).encode()).hexdigest()[:12]
    known = _folders.get(package)
    if known is not None and all(stamp_of(path) == stamp for path, stamp in known.stamps.items()):
        return known
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    _install_finder()
    importlib.invalidate_caches()
    _folders[package] = UserFolder(file.parent, package)
    sys.modules[package] = types.ModuleType(package)
    sys.modules[package].__path__ = [str(file.parent)]
    return _folders[package]


def load_callable(recipe_folder: Path, reference: str, where: str, key: str) -> Callable[..., Any]:
    """The callable that `file.py:name` refers to. Whatever it raises, SystemExit too, comes out as an InputError.

    `where` and `key` say in messages who refers to it (the recipe and its key). Raises InputError where the file
    cannot be imported or has no such callable.
    """
    parts = split_reference(reference)
    if parts is None:
        raise InputError(Problem(where, key, "a reference of the form file.py:callable", repr(reference)))
    file = referenced_file(recipe_folder, reference)
    if not file.is_file():
        raise InputError(Problem(where, key, "a file that exists", f"'{reference}': there is no {file}"))
    folder = folder_of(file)
    with running(folder, where, key, f"a file that can be imported ({file.name})"):
        module = importlib.import_module(f"{folder.package}.{file.stem}")
    function = vars(module).get(parts[1])
    if not callable(function):
        raise InputError(Problem(where, key, f"a callable '{parts[1]}' in {file.name}", _found(module, parts[1])))

    def call(*arguments: Any, **options: Any) -> Any:
        with running(folder, where, key, f"{reference} to run through"):
            return function(*arguments, **options)

    return call


@contextmanager
def running(folder: UserFolder, where: str, key: str, expected: str) -> Iterator[None]:
    """User code runs inside: what it reads is noted in the folder's stamps, what it raises becomes an InputError."""
    before = frozenset(sys.modules)
    try:
        with watching(folder.stamps):
            yield
    except EdgewrightError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(Problem(where, key, expected, describe(error, folder))) from error
    finally:
        folder.outside.update(_outside_modules(before))


def describe(error: BaseException, folder: UserFolder) -> str:
    """The exception in one line, with the last line of the user's own files that led to it."""
    text = " ".join(str(error).replace(f"{folder.package}.", "").split())
    text = text if len(text) <= 500 else f"{text[:497]}..."
    if isinstance(error, ModuleNotFoundError) and error.name and folder.owns(error.name.partition(".")[0]):
        text += "; what lies beside a file is found by its import statements, not by importlib or a pickle"
    place = ""
    if isinstance(error, SyntaxError) and error.filename:
        text, place = str(error.msg), f" ({_within(folder, error.filename)}, line {error.lineno})"
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_within(folder, frame.filename)]
        place = f" ({_within(folder, frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


def _is_within(folder: UserFolder, file: str) -> bool:
    return Path(file).is_relative_to(folder.path)


def _within(folder: UserFolder, file: str) -> str:
    return str(Path(file).relative_to(folder.path)) if _is_within(folder, file) else file


def _found(module: types.ModuleType, name: str) -> str:
    if name in vars(module):
        return f"a value of type {type(vars(module)[name]).__name__}"
    own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    near = difflib.get_close_matches(name, own, 1)
    return f"no such name (did you mean '{near[0]}'?)" if near else f"only {', '.join(sorted(own)) or 'other names'}"


def _outside_modules(before: frozenset[str]) -> Iterator[Path]:
    """The files of the modules imported since `before` that are no user folder's, not installed, and not ours."""
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and name.partition(".")[0] not in _folders and not is_installed(file):
            path = Path(file)
            if path.suffix == ".py" and not path.resolve().is_relative_to(_ROOT):
                yield path
