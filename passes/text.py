"""A pass as one line of text that round-trips: `prune-channels{flops=0.5 criterion=taylor multiple=16}`.

The text is what plans print, what golden tests compare and what the step cache's key covers, so every field is in it.
Values are JSON scalars, bare words, `[a b]` for tuples and `{key=value ...}` for nested frozen dataclasses.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from ..ir.errors import InputError, Problem
from .contract import Pass

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]*")
_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[{}\[\]=]|[^\s{}\[\]="]+)')
_KEYWORDS = {"true": True, "false": False, "none": None}


def to_text(step: Pass) -> str:
    """`name{field=value ...}` with every field of the pass."""
    return f"{step.name}{_write(step)}"


def to_short_text(step: Pass) -> str:
    """As `to_text`, for people: what lies in nested braces (a profile's rules) is left out."""
    fields = ((entry.name, getattr(step, entry.name)) for entry in dataclasses.fields(step))  # type: ignore[arg-type]
    shown = (f"{name}={'{...}' if dataclasses.is_dataclass(value) else _write(value)}" for name, value in fields)
    return f"{step.name}{{{' '.join(shown)}}}"


def from_text(text: str, passes: Iterable[type[Pass]]) -> Pass:
    """The pass that `to_text` wrote. InputError where the name, a field or a value is not one of `passes`'."""
    name, brace, _ = text.partition("{")
    classes = {candidate.name: candidate for candidate in passes}
    if name not in classes or not brace:
        raise InputError(
            Problem("pass text", name, f"one of {', '.join(sorted(classes))} and its fields in braces", text)
        )
    tokens = _TOKEN.findall(text[len(name) :])
    value = _read(tokens, classes[name], text)
    if tokens:
        raise InputError(Problem("pass text", name, "the end of the text", "".join(tokens)))
    return typing.cast(Pass, value)


def _write(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        fields = (f"{entry.name}={_write(getattr(value, entry.name))}" for entry in dataclasses.fields(value))
        return "{" + " ".join(fields) + "}"
    if isinstance(value, tuple):
        return "[" + " ".join(_write(item) for item in value) + "]"
    if value is None:
        return "none"
    if isinstance(value, str) and _WORD.fullmatch(value) and value not in _KEYWORDS:
        return value
    return json.dumps(value)


def _read(tokens: list[str], kind: Any, text: str) -> Any:
    token = tokens.pop(0) if tokens else ""
    if token == "{":
        return _read_fields(tokens, _dataclass_in(kind, text), text)
    if token == "[":
        return _read_items(tokens, kind, text)
    if token in _KEYWORDS:
        return _KEYWORDS[token]
    if _WORD.fullmatch(token):
        return token
    try:
        value = json.loads(token)
    except json.JSONDecodeError:
        raise InputError(Problem("pass text", text, "a value", token or "the end")) from None
    return float(value) if _alternatives(kind) & {float} and isinstance(value, int) else value


def _read_fields(tokens: list[str], kind: type, text: str) -> Any:
    hints = typing.get_type_hints(kind)
    known = {entry.name for entry in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    while tokens and tokens[0] != "}":
        key = tokens.pop(0)
        if key not in known or not tokens or tokens.pop(0) != "=":
            raise InputError(Problem("pass text", key, f"one of {', '.join(sorted(known))}, then =", text))
        values[key] = _read(tokens, hints[key], text)
    if not tokens:
        raise InputError(Problem("pass text", text, "a closing brace", "the end"))
    tokens.pop(0)
    return kind(**values)


def _read_items(tokens: list[str], kind: Any, text: str) -> tuple[Any, ...]:
    element = (typing.get_args(kind) or (str,))[0]
    items = []
    while tokens and tokens[0] != "]":
        items.append(_read(tokens, element, text))
    if not tokens:
        raise InputError(Problem("pass text", text, "a closing bracket", "the end"))
    tokens.pop(0)
    return tuple(items)


def _alternatives(kind: Any) -> set[Any]:
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return set(typing.get_args(kind)) if is_union else {kind}


def _dataclass_in(kind: Any, text: str) -> type:
    for alternative in _alternatives(kind):
        if dataclasses.is_dataclass(alternative) and isinstance(alternative, type):
            return alternative
    raise InputError(Problem("pass text", text, "a scalar value", "a brace"))
