"""Strict YAML: the traps of PyYAML are closed, and every message names file, key, expected and found."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from edgewright.ir.documents import parse, problems_of, read, to_text
from edgewright.ir.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError


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
    document, repeated = parse(f"key: {text}", "file")
    assert repeated == ()
    assert document == {"key": value}
    assert type(document["key"]) is type(value)


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12) | st.sampled_from(
    ["2:4", "off", "yes", "1e-3", "012", "0x1F", "2020-01-01", "null", "~", "", "- a", "a: b", "# a", "<<", "=", ".inf"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
@settings(deadline=None, max_examples=200)
def test_what_is_written_reads_back_as_it_was(document: dict[str, object]) -> None:
    assert parse(to_text(document), "file") == (document, ())


def test_repeated_keys_are_named_with_their_place_beside_what_was_read() -> None:
    document, repeated = parse("a: 1\nb: {c: 1, c: 2}\na: 3\nd: [{e: 1, e: 2}]\n", "file.yaml")
    assert document["d"] == [{"e": 2}]
    assert list(map(str, repeated)) == [
        "file.yaml: b.c: expected each key once, got it again in line 2",
        "file.yaml: a: expected each key once, got it again in line 3",
        "file.yaml: d.e: expected each key once, got it again in line 4",
    ]


def test_a_key_may_stand_in_several_mappings() -> None:
    assert parse("a: {c: 1}\nb: {c: 1}\nd: [{c: 1}, {c: 1}]\n", "file.yaml")[1] == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: [1\nb: 2\n",
            "line 2, column 2: expected YAML, got something else (while parsing a flow sequence from line 1",
        ),
        ("key: : x", "line 1, column 6: expected YAML, got something else (mapping values are not allowed"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor for the tag"),
        ("? [a, b]\n: c", "line 1, column 3: expected YAML, got something else (a list or a mapping as a key)"),
        ("? {a: 1}\n: c", "a list or a mapping as a key"),
        ("a: &x {b: *x}", "found unconstructable recursive node"),
        ("a: 1\n---\na: 1", "line 2, column 1: expected YAML, got something else (expected a single document"),
        ("a: \0", "control characters are not allowed"),
        ("a: !!int 2:4", "invalid literal for int()"),
        (f"a: {'9' * 5000}", "Exceeds the limit"),
        ("- 1", "file.yaml: expected a mapping of keys to values, got [1]"),
        ("text", "file.yaml: expected a mapping of keys to values, got 'text'"),
        ("", "file.yaml: expected a mapping of keys to values, got an empty one"),
        ("# a comment\n", "file.yaml: expected a mapping of keys to values, got an empty one"),
    ],
)
def test_what_is_no_plain_mapping_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, "file.yaml")
    assert str(caught.value).startswith("file.yaml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: expected a readable file, got no such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"expected a readable file, got is a directory"):
        read(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputError, match=r"bytes\.yaml: expected a text file in UTF-8, got other bytes"):
        read(tmp_path / "bytes.yaml")


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


class Words(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = Field(pattern="^[a-z]+$")
    source: str = Field(min_length=8)
    items: tuple[str, ...] = ()
    inner: Inner | None = None
    named: dict[str, int] = {}


def test_what_is_expected_is_said_in_words_of_yaml() -> None:
    document = {"name": "A", "source": "short", "items": "a", "inner": 3, "named": [], 1: 2}
    with pytest.raises(ValidationError) as caught:
        Words.model_validate(document)
    assert sorted(str(problem) for problem in problems_of(caught.value, "f.yaml", Words)) == [
        "f.yaml: 1: expected a key that is text, got 1",
        "f.yaml: inner: expected a mapping of keys to values, got 3",
        "f.yaml: items: expected a list, got 'a'",
        "f.yaml: name: expected text of the form ^[a-z]+$, got 'A'",
        "f.yaml: named: expected a mapping of keys to values, got []",
        "f.yaml: source: expected text of 8 characters or more, got 'short'",
    ]
