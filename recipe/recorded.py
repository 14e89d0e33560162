"""A recipe as a document that holds all of it, overrides included, and the recipe that was recorded so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..ir import documents
from ..ir.errors import InputError
from .schema import Document, Recipe


def to_record(recipe: Recipe) -> dict[str, Any]:
    """Plain values, with the file's absolute path; `from_record` makes an equal recipe of them."""
    return {"path": str(recipe.path), "document": recipe.model_dump(mode="json", exclude_none=True)}


def from_record(record: Mapping[str, Any]) -> Recipe:
    """The recipe as it was recorded, whatever its file says now. InputError where files that it names are gone."""
    path = Path(record["path"])
    try:
        checked = Document.model_validate_json(json.dumps(record["document"]), context=path.parent)
    except ValidationError as error:
        raise InputError(documents.problems_of(error, str(path), Document)) from None
    return Recipe(path=path, **dict(checked))
