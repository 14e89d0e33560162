"""Strict YAML documents: duplicate keys are errors, and scalars mean what they look like.

PyYAML follows YAML 1.1, where `2:4` is 124, `off` is False and `1e-3` is a string, and lets the last of two equal
keys win. Documents here follow YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema) instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from yaml.constructor import ConstructorError
from yaml.error import MarkedYAMLError

from .errors import InputError, Problem

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]
    """YAML 1.2 scalars; each mapping is constructed at once, so that one that holds itself is found."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConstructorError(None, None, "a list or a mapping as a key", key.start_mark)
    mapping: dict[Hashable, Any] = loader.construct_mapping(node, deep=True)
    return mapping


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _repeated(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Every key that stands twice in one mapping, dotted from the top, with the line of the second."""
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _repeated(entry, prefix)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        dotted = f"{prefix}{key.value}"
        if dotted in seen:
            yield dotted, key.start_mark.line + 1
        seen.add(dotted)
        yield from _repeated(value, f"{dotted}.")


def _resolve_scalars(kind: Any) -> None:
    """The loader or dumper `kind` takes plain scalars for what YAML 1.2 says that they are."""
    for tag, pattern, first in _SCALARS:
        kind.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), first)


_SCALARS = [
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.nan", list("-+0123456789.")),
]
_Loader.yaml_implicit_resolvers = {}
_resolve_scalars(_Loader)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


class _Dumper(yaml.SafeDumper):
    """Mappings as blocks, lists on one line; text that YAML 1.1 or 1.2 takes for something else is in quotes."""


_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
)
_resolve_scalars(_Dumper)


def to_text(document: Mapping[str, Any]) -> str:
    """The YAML text that `parse` reads back as the same document."""
    return yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def read(path: Path) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """As `parse`, of the file's text; InputError also where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(Problem(str(path), "", "a text file in UTF-8", "other bytes")) from None
    except OSError as error:
        raise InputError(Problem(str(path), "", "a readable file", str(error.strerror).lower())) from None
    return parse(text, str(path))


def parse(text: str, where: str) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """The mapping that the text holds, and a problem for each key that it repeats; `where` names it in messages.

    The problems are not raised, so that a schema's can be reported beside them. InputError where the text is not YAML
    or no mapping.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        document = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(_not_yaml(error, where)) from None
    if not isinstance(document, dict):
        found = "an empty one" if document is None else _show(document)
        raise InputError(Problem(where, "", "a mapping of keys to values", found))
    repeated = sorted(_repeated(node), key=lambda entry: entry[1])
    return document, tuple(Problem(where, key, "each key once", f"it again in line {line}") for key, line in repeated)


def _not_yaml(error: yaml.YAMLError | ValueError, where: str) -> Problem:
    if not isinstance(error, MarkedYAMLError):
        return Problem(where, "", "YAML", f"something else ({' '.join(str(error).split())})")
    mark = error.problem_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    begun = f"{error.context} from line {error.context_mark.line + 1}" if error.context_mark else error.context
    reason = ": ".join(text for text in (begun, error.problem) if text)
    return Problem(where, place, "YAML", f"something else ({reason})")


_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "invalid_key": "a key that is text",
}
"""What pydantic says in Python's words, in words of YAML."""


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
        case "string_pattern_mismatch":
            return Problem(where, key, f"text of the form {entry['ctx']['pattern']}", _show(entry["input"]))
        case "string_too_short":
            return Problem(
                where, key, f"text of {entry['ctx']['min_length']} characters or more", _show(entry["input"])
            )
        case kind:
            expected = _EXPECTED.get(kind, entry["msg"].removeprefix("Input should be "))
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
