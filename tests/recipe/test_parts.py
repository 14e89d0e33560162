"""Checks that the parts of a recipe share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from edgewright.recipe.parts import Names, Part, as_tuple, existing, some
from pydantic import AfterValidator, ValidationError


class Sample(Part):
    names: Annotated[Names, AfterValidator(some)]
    file: Annotated[str, AfterValidator(existing)] = "here"


def test_lists_become_tuples_and_nothing_else_is_converted() -> None:
    assert as_tuple([1, 2]) == (1, 2)
    assert as_tuple("ab") == "ab"
    assert Sample.model_validate({"names": ["a"]}).names == ("a",)
    with pytest.raises(ValidationError, match="names"):
        Sample.model_validate({"names": [1]})
    with pytest.raises(ValidationError, match="extra"):
        Sample.model_validate({"names": ["a"], "name": "b"})


def test_at_least_one_is_wanted() -> None:
    with pytest.raises(ValidationError, match="at least one"):
        Sample.model_validate({"names": []})


def test_a_file_is_looked_for_where_one_is_read(tmp_path: Path) -> None:
    assert Sample.model_validate({"names": ["a"], "file": "x"}).file == "x"
    with pytest.raises(ValidationError, match="a file that exists"):
        Sample.model_validate({"names": ["a"], "file": "x"}, context=tmp_path)
    (tmp_path / "x").touch()
    assert Sample.model_validate({"names": ["a"], "file": "x"}, context=tmp_path).file == "x"
