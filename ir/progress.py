"""How long work tells a person where it stands, without knowing whether a terminal, a log or a test listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int, str], None]
"""Called with how many units were done and a short text beside the bar (loss, metric); the text may be empty."""


class Progress(Protocol):
    """Where messages for a person go; never standard output."""

    def task(self, description: str, total: int | None) -> AbstractContextManager[Advance]:
        """A bar of `total` units (None: unknown) stands while the context is open."""
        ...

    def note(self, message: str) -> None:
        """A line for information."""
        ...

    def warn(self, message: str) -> None:
        """A line that a person should act on; warnings are repeated at the end of a build."""
        ...


class Silent:
    """A Progress that says nothing: for the Python API's default and for tests."""

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        yield lambda units, text: None

    def note(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        pass
