"""From what an artifact was built: kept in the cache of whoever built it, never in the artifact.

So an artifact tells nothing of its builder's folders, and one that came from somewhere else makes no code run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ..ir import documents
from ..ir.errors import InputError
from ..recipe.recorded import from_record, to_record
from ..targets import Target
from .keys import digest

if TYPE_CHECKING:
    from ..recipe.schema import Recipe
    from .store import Store


@dataclass(frozen=True)
class Origin:
    """The recipe, overrides included, and the profile that a build was told."""

    recipe: Recipe
    target: Target


def remember(store: Store, build: str, recipe: Recipe, target: Target) -> None:
    """`recall` of the build's key finds the recipe and the profile; those that were remembered before are gone."""
    document = {"recipe": to_record(recipe), "target": target.model_dump(mode="json", exclude_none=True)}
    key = _key(build)
    with store.lock(key):
        if store.find_json(key) == document:
            return
        store.drop("results", key)
        store.put_json(key, document)


def recall(store: Store, build: str) -> Origin | None:
    """What the artifact with this key in its manifest was built from; None where this cache does not know.

    InputError where files of the recipe are gone.
    """
    document = store.find_json(_key(build))
    if document is None:
        return None
    try:
        target = Target.model_validate_json(json.dumps(document["target"]))
    except ValidationError as error:
        raise InputError(documents.problems_of(error, "the remembered profile", Target)) from None
    return Origin(from_record(document["recipe"]), target)


def _key(build: str) -> str:
    return digest("origin", build)
