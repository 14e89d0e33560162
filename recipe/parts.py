"""What the parts of a recipe are made of: strict models, and checks that their keys share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo


class Part(BaseModel):
    """One mapping of a recipe: frozen, without unknown keys, nothing converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


def as_tuple(value: Any) -> Any:
    """A list as a tuple; anything else as it is."""
    return tuple(value) if isinstance(value, list) else value


def some(value: Any) -> Any:
    """The value, which is not empty."""
    if not value:
        raise ValueError("at least one")
    return value


def existing(value: str, info: ValidationInfo) -> str:
    """The path, whose file exists; it is looked for only where a file is being read, not where code makes a recipe."""
    if info.context is not None and not (info.context / value).is_file():
        raise ValueError(f"a file that exists (looked for {info.context / value})")
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
