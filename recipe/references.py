"""References to code and to networks, as texts of a recipe that are checked when it is read."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from .parts import existing
from .user_code import split_reference


def callable_reference(value: str, info: ValidationInfo) -> str:
    """`file.py:callable`, whose file exists."""
    parts = split_reference(value)
    if parts is None:
        raise ValueError("a reference of the form file.py:callable")
    existing(parts[0], info)
    return value


def network_source(value: str, info: ValidationInfo) -> str:
    """Code that builds a network, or a file that holds one."""
    if split_reference(value) is not None:
        return callable_reference(value, info)
    if not value.endswith((".pt2", ".onnx")):
        raise ValueError("file.py:callable, a .pt2 file or an .onnx file")
    return existing(value, info)


Callable = Annotated[str, AfterValidator(callable_reference)]
Source = Annotated[str, AfterValidator(network_source)]
