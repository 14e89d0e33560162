"""Profiles read from YAML: found by name or path, laid over what they extend, and refused with all their problems."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..ir import documents
from ..ir.errors import InputError, Problem
from .schema import Target

HOST = "host"
"""The name that stands for the profile of the machine at work; `devices.machine` finds which one it is."""
OWN_KEYS = ("name", "summary")
"""What a profile never inherits."""
OWN_FOLDER = "targets"
"""Where a user's own profiles lie, seen from the folder that they work in."""


def load_target(name_or_path: str, folder: Path | None = None) -> Target:
    """The profile of that name, or in that `.yaml` file, with everything that it extends.

    A name is a built-in profile's or that of a file `targets/NAME.yaml` in `folder` (default: the working folder);
    relative paths start there too. InputError with every problem of the profile: file, key, expected, found.
    """
    file = _find(name_or_path, folder or Path.cwd(), folder or Path.cwd(), "target")
    target = _builtin(name_or_path) if file.is_builtin else _validated(file, _merged(file, ()))
    if not _is_path(name_or_path) and target.name != name_or_path:
        raise InputError(Problem(file.where, "name", f"'{name_or_path}', as the file is called", f"'{target.name}'"))
    return target


@functools.cache
def _builtin(name: str) -> Target:
    """The built-in profile of that name: `targets` and `host` ask for each of them more than once."""
    file = _find(name, Path("/"), Path("/"), "target")
    return _validated(file, _merged(file, ()))


def builtin_names() -> tuple[str, ...]:
    """The names of the profiles that come with edgewright, sorted."""
    return _names_in(resources.files(__package__))


def own_names(folder: Path | None = None) -> tuple[str, ...]:
    """The names of the user's own profiles: the files `targets/*.yaml` in `folder` that are not built-in, sorted."""
    own = (folder or Path.cwd()) / OWN_FOLDER
    return tuple(name for name in _names_in(own) if name not in builtin_names()) if own.is_dir() else ()


def matching(architecture: str, flags: frozenset[str]) -> Target:
    """The built-in profile whose instruction set is all there; of several, the one that asks for most.

    A processor's, never a GPU's: those are asked for by name. InputError, with what each profile would need, where
    none fits.
    """
    every = [load_target(name, Path("/")) for name in builtin_names()]
    every = [target for target in every if target.gpu is None]
    targets = [target for target in every if target.isa.architecture == architecture]
    if not targets:
        known = " or ".join(sorted({target.isa.architecture for target in every}))
        found = f"{architecture}; ask for a profile by its name or path"
        raise InputError(Problem(HOST, "isa.architecture", known, found))
    fitting = [target for target in targets if flags.issuperset(target.isa.flags)]
    if fitting:
        return max(fitting, key=lambda target: (len(target.isa.flags), target.name))
    lacks = {target.name: " ".join(sorted(set(target.isa.flags) - flags)) for target in targets}
    found = "a CPU without any: " + "; ".join(f"{name} needs {missing}" for name, missing in lacks.items())
    raise InputError(Problem(HOST, "isa.flags", "the instruction set of one of the profiles", found))


def to_yaml(target: Target) -> str:
    """The resolved profile as a YAML file that `load_target` reads back as the same target."""
    return documents.to_text(target.model_dump(mode="json", exclude_none=True))


@dataclass(frozen=True)
class _File:
    """One profile's file: how messages call it, its text, and where the path or the name that it extends is looked up.

    Paths start in `folder`; names are built-in ones, or of files in the folder `targets` in `home`.
    """

    where: str
    path: Path | Traversable
    folder: Path
    home: Path
    is_builtin: bool = False

    def read(self) -> tuple[dict[str, Any], tuple[Problem, ...]]:
        """The file's mapping and the keys that it repeats; InputError where it cannot be read."""
        if isinstance(self.path, Path):
            return documents.read(self.path)
        return documents.parse(self.path.read_text(encoding="utf-8"), self.where)


Origins = Mapping[str, str]
"""Which file each dotted key of a merged profile comes from."""


@dataclass(frozen=True)
class _Merged:
    """A profile laid over what it extends, and what was wrong so far."""

    document: dict[str, Any]
    origins: Origins
    problems: tuple[Problem, ...]


def _is_path(name_or_path: str) -> bool:
    return name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path


def _names_in(folder: Path | Traversable) -> tuple[str, ...]:
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def _find(name_or_path: str, folder: Path, home: Path, where: str) -> _File:
    """The file that a name or a path stands for; `where` says in messages who asked."""
    if _is_path(name_or_path):
        path = folder / Path(name_or_path).expanduser()
        beside = path.parent
        return _File(str(path), path, beside, beside.parent if beside.name == OWN_FOLDER else beside)
    own = home / OWN_FOLDER / f"{name_or_path}.yaml"
    builtin = resources.files(__package__) / own.name
    if name_or_path not in builtin_names():
        if own.is_file():
            return _File(str(own), own, own.parent, home)
        raise InputError(_unknown(name_or_path, home, where))
    if own.is_file() and own.read_bytes() != builtin.read_bytes():
        expected = f"one profile called '{name_or_path}'; rename yours or ask for it by its path"
        raise InputError(Problem(where, name_or_path, expected, f"a built-in one and {own}"))
    return _File(f"{OWN_FOLDER}/{own.name}", builtin, folder, home, is_builtin=True)


def _unknown(name: str, home: Path, where: str) -> Problem:
    known = [*builtin_names(), *own_names(home), *([HOST] if where == "target" else [])]
    near = difflib.get_close_matches(name, known, 1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return Problem(where, "", f"one of {', '.join(known)}, or the path of a .yaml profile", f"'{name}'{hint}")


def _merged(file: _File, children: tuple[str, ...]) -> _Merged:
    """The file's mapping laid over that of what it extends. A profile always says its own name and summary."""
    if file.where in children:
        chain = " -> ".join([*children[children.index(file.where) :], file.where])
        raise InputError(Problem(file.where, "extends", "a profile that does not lead back here", chain))
    document, problems = file.read()
    parent = document.pop("extends", None)
    origins = _origins(document, file.where)
    if parent is None:
        return _Merged(_overlaid({}, document), origins, problems)
    if not isinstance(parent, str):
        wrong = Problem(file.where, "extends", "the name or the path of one profile", repr(parent))
        raise InputError([*problems, wrong])
    base_file = _find(parent, file.folder, file.home, f"{file.where}: extends")
    base = _merged(base_file, (*children, file.where))
    inherited = {key: value for key, value in base.document.items() if key not in OWN_KEYS}
    inherited_origins = {key: where for key, where in base.origins.items() if key not in OWN_KEYS}
    found = (*base.problems, *problems, *_unsourced(inherited, document, file.where))
    return _Merged(_overlaid(inherited, document), {**inherited_origins, **origins}, found)


def _overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are merged key by key; lists and scalars are replaced; null takes a key away."""
    result = {key: value for key, value in base.items() if key not in over}
    for key, value in over.items():
        old = base.get(key)
        if isinstance(value, dict):
            result[key] = _overlaid(old if isinstance(old, dict) else {}, value)
        elif value is not None:
            result[key] = value
    return result


def _unsourced(base: Mapping[str, Any], over: Mapping[str, Any], where: str, prefix: str = "") -> Iterator[Problem]:
    """A changed value under an inherited source: the parent's source says nothing about the child's value."""
    changed = [str(key) for key, value in over.items() if value is not None and not isinstance(value, dict)]
    if "source" in base and changed and "source" not in over:
        found = f"only the source of what this extends, which does not speak of {', '.join(changed)}"
        yield Problem(where, f"{prefix}source", "where the changed values come from", found)
    for key, value in over.items():
        old = base.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            yield from _unsourced(old, value, where, f"{prefix}{key}.")


def _origins(document: Mapping[str, Any], where: str, prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in document.items():
        found[f"{prefix}{key}"] = where
        if isinstance(value, dict):
            found |= _origins(value, where, f"{prefix}{key}.")
    return found


def _validated(file: _File, merged: _Merged) -> Target:
    problems = list(merged.problems)
    try:
        target = Target.model_validate(merged.document)
    except ValidationError as error:
        found = documents.problems_of(error, file.where, Target)
        problems += [replace(problem, where=_origin(problem.key, merged.origins, file.where)) for problem in found]
    if problems:
        raise InputError(problems)
    return target


def _origin(key: str, origins: Origins, default: str) -> str:
    """The file that says `key` or, where none does, the mapping around it."""
    while key and key not in origins:
        key = key.rpartition(".")[0]
    return origins.get(key, default)
