"""Strict YAML documents: duplicate keys are errors, and scalars mean what they look like.

PyYAML follows YAML 1.1, where `2:4` is 124, `off` is False and `1e-3` is a string, and lets the last of two equal
keys win. Documents here follow YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema) instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .errors import InputError, Problem

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]
    """YAML 1.2 scalars, and a list of the duplicate keys that were met."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.duplicates: list[tuple[str, int]] = []


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            loader.duplicates.append((str(key.value), key.start_mark.line + 1))
        seen.add(str(key.value))
    mapping: dict[Hashable, Any] = loader.construct_mapping(node, deep=True)
    return mapping


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in [
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.nan", list("-+0123456789.")),
]:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def read(path: Path) -> dict[str, Any]:
    """The mapping that the file holds. InputError where it is missing, not YAML, not a mapping, or repeats a key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(Problem(str(path), "", "a readable file", str(reason).lower())) from None
    return parse(text, str(path))


def parse(text: str, where: str) -> dict[str, Any]:
    """As `read`, of a text; `where` names it in messages."""
    try:
        loader = _Loader(text)
        document = loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(Problem(where, place, "YAML", str(getattr(error, "problem", None) or error))) from None
    if loader.duplicates:
        raise InputError(
            Problem(where, key, "each key once", f"the key again in line {line}") for key, line in loader.duplicates
        )
    if not isinstance(document, dict):
        raise InputError(Problem(where, "", "a mapping of keys to values", _show(document)))
    return document


def problems_of(error: ValidationError, where: str, model: type[BaseModel]) -> list[Problem]:
    """Every mistake that pydantic found, each with its key as a person wrote it, what was expected and what found."""
    return [_problem(entry, where, model) for entry in error.errors(include_url=False)]


def _problem(entry: Any, where: str, model: type[BaseModel]) -> Problem:
    key = ".".join(str(part) for part in entry["loc"])
    match entry["type"]:
        case "extra_forbidden":
            known = _keys_beside(model, entry["loc"])
            near = difflib.get_close_matches(str(entry["loc"][-1]), known, 1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            return Problem(where, key, f"one of the keys {', '.join(known)}", f"an unknown key{hint}")
        case "missing":
            return Problem(where, key, "a value", "nothing: the key is missing")
        case "literal_error":
            return Problem(where, key, entry["ctx"]["expected"], _show(entry["input"]))
        case "value_error":
            return Problem(where, key, str(entry["ctx"]["error"]), _show(entry["input"]))
        case _:
            expected = entry["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
            return Problem(where, key, expected, _show(entry["input"]))


def _keys_beside(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys that the schema knows where an unknown one was found."""
    from pydantic import BaseModel

    current: type[BaseModel] = model
    for part in location[:-1]:
        field = current.model_fields.get(str(part))
        if field is None:
            continue
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        kinds += [inner for kind in kinds for inner in getattr(kind, "__args__", ())]
        current = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), current)
    return sorted(current.model_fields)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
