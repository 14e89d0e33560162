"""What an artifact says of itself to whoever gets it: names, labels, how inputs are normalized."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from .parts import Names, Part, as_tuple, existing


def _labels(value: Any, info: ValidationInfo) -> Any:
    """A list as it is; for the name of a file its lines, where a file is being read."""
    if not isinstance(value, str):
        return as_tuple(value)
    if info.context is None:
        raise ValueError("a list of labels")
    text = (info.context / existing(value, info)).read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


Numbers = Annotated[tuple[float, ...], BeforeValidator(as_tuple)]


class InputNotes(Part):
    """One input: what it is, and by which numbers, one or one for each channel, (x - mean) / std was normalized."""

    description: str = ""
    mean: Numbers = ()
    std: Numbers = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError("as many numbers in std as in mean")
        if 0 in self.std:
            raise ValueError("numbers other than 0 in std")
        return self


class About(Part):
    """What artifacts say of the network. `labels` are the classes' names in order, or a file with one on each line."""

    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    labels: Annotated[Names, BeforeValidator(_labels)] = ()
    inputs: dict[str, InputNotes] = Field(default={})
