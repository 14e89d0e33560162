"""What a person sees while work runs: bars on a terminal, plain lines elsewhere; all on standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from ..ir.progress import Advance

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
"""File descriptors."""
PLAIN_SECONDS = 15.0
"""How often a line tells of work under way where no terminal shows a bar."""


@contextmanager
def results_only() -> Iterator[None]:
    """What user code, libraries and child processes print goes to standard error; standard output is for results."""
    sys.stdout.flush()
    kept = os.dup(STANDARD_OUTPUT)
    os.dup2(STANDARD_ERROR, STANDARD_OUTPUT)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, STANDARD_OUTPUT)
        os.close(kept)


class Terminal:
    """A Progress for the command line. `warnings` keeps what was warned of, each once, to be repeated at the end."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._is_terminal = sys.stderr.isatty()
        self._bars: Bars | None = None

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        """A bar, or a line now and then, while the context is open."""
        with self._bar(description, total) if self._is_terminal else _lines(description, total) as advance:
            yield advance

    def note(self, message: str) -> None:
        """The message is a line of its own."""
        print(message, file=sys.stderr, flush=True)

    def warn(self, message: str) -> None:
        """The message is a line that starts with "warning"."""
        if message not in self.warnings:
            self.warnings.append(message)
            print(f"warning: {message}", file=sys.stderr, flush=True)

    def error(self, message: str) -> None:
        """Each line of the message is a line that starts with "error"."""
        for line in message.splitlines():
            print(f"error: {line}", file=sys.stderr, flush=True)

    @contextmanager
    def _bar(self, description: str, total: int | None) -> Iterator[Advance]:
        with self._display() as bars:
            bar = bars.add_task(description, total=total, text="")
            try:
                yield lambda units, text: bars.update(bar, advance=units, text=text)
            finally:
                bars.remove_task(bar)

    @contextmanager
    def _display(self) -> Iterator[Bars]:
        """Where bars are drawn; work inside other work has its bar below the other's."""
        if self._bars is not None:
            yield self._bars
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        forms = ("{task.description}", "{task.fields[text]}")
        description, text = (TextColumn(form, markup=False) for form in forms)
        columns = (description, BarColumn(), text, TimeRemainingColumn())
        try:
            with Progress(*columns, console=Console(stderr=True), transient=True) as self._bars:
                yield self._bars
        finally:
            self._bars = None


@contextmanager
def _lines(description: str, total: int | None) -> Iterator[Advance]:
    done, last = 0, time.monotonic()

    def advance(units: int, text: str) -> None:
        nonlocal done, last
        done += units
        if time.monotonic() - last >= PLAIN_SECONDS:
            last = time.monotonic()
            share = f"{done} of {total}" if total else str(done)
            print(f"{description}: {share} {text}".rstrip(), file=sys.stderr, flush=True)

    yield advance
