"""Strict YAML: the traps of PyYAML are closed, and every message names file, key, expected and found."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from edgewright.ir.documents import parse, problems_of, read
from edgewright.ir.errors import InputError
from pydantic import BaseModel, ConfigDict, ValidationError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2:4", "2:4"),
        ("off", "off"),
        ("yes", "yes"),
        ("1e-3", 1e-3),
        ("0.5", 0.5),
        ("012", 12),
        ("2020-01-01", "2020-01-01"),
        ("true", True),
        ("~", None),
        ("x86-avx2", "x86-avx2"),
        (".5", 0.5),
        ("-7", -7),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, value: object) -> None:
    found = parse(f"key: {text}", "file")["key"]
    assert found == value
    assert type(found) is type(value)


def test_duplicate_keys_are_named_with_their_line() -> None:
    with pytest.raises(InputError) as caught:
        parse("a: 1\nb: {c: 1, c: 2}\na: 3\n", "file.yaml")
    assert sorted(map(str, caught.value.problems)) == [
        "file.yaml: a: expected each key once, got the key again in line 3",
        "file.yaml: c: expected each key once, got the key again in line 2",
    ]


@pytest.mark.parametrize("text", ["a: [1", "- 1", "", "a: !!python/object/apply:os.system ['true']", "key: : x"])
def test_what_is_no_plain_mapping_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"file\.yaml"):
        parse(text, "file.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: expected a readable file, got no such file"):
        read(tmp_path / "none.yaml")


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    bits: int
    kind: Literal["per-channel", "per-tensor"] = "per-tensor"


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    inner: Inner
    items: dict[str, Inner] = {}


def test_all_problems_at_once_with_the_nearest_key() -> None:
    document = {"inner": {"bits": "8", "kindd": 1, "kind": "per-chanel"}, "items": {"a": {}}}
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(document)
    found = [str(problem) for problem in problems_of(caught.value, "f.yaml", Outer)]
    assert "f.yaml: inner.kind: expected 'per-channel' or 'per-tensor', got 'per-chanel'" in found
    assert "f.yaml: inner.bits: expected a valid integer, got '8'" in found
    assert (
        "f.yaml: inner.kindd: expected one of the keys bits, kind, got an unknown key (did you mean 'kind'?)" in found
    )
    assert "f.yaml: items.a.bits: expected a value, got nothing: the key is missing" in found
