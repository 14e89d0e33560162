"""References: their form, and that the files which they name are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgewright.recipe.parts import Part
from edgewright.recipe.references import Callable, Source
from pydantic import ValidationError


class Both(Part):
    """A part with one of each."""

    code: Callable = "model.py:build"
    source: Source = "model.py:build"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model.py", "net.pt2", "net.onnx", "net.pt"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("source", ["model.py:build", "net.pt2", "net.onnx"])
def test_networks_come_from_code_and_files(source: str, folder: Path) -> None:
    assert Both.model_validate({"source": source}, context=folder).source == source


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("code", "model.py", "a reference of the form file.py:callable"),
        ("code", "nowhere.py:build", "a file that exists"),
        ("source", "net.pt", "file.py:callable, a .pt2 file or an .onnx file"),
        ("source", "nowhere.pt2", "a file that exists"),
        ("source", "nowhere.py:build", "a file that exists"),
    ],
)
def test_what_is_no_reference_or_leads_nowhere_is_refused(key: str, value: Any, message: str, folder: Path) -> None:
    with pytest.raises(ValidationError, match=message):
        Both.model_validate({key: value}, context=folder)


def test_files_are_not_looked_for_where_code_makes_a_recipe() -> None:
    assert Both(source="nowhere.pt2").source == "nowhere.pt2"
