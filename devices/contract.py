"""What a device is to the rooms above: a place where an agent can be started and talked to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import numpy as np


class Session(Protocol):
    """A running agent (devices/agent.py); leaving the context ends it."""

    def call(self, command: str, *, timeout_seconds: float | None = None, **arguments: Any) -> dict[str, Any]:
        """The agent's answer. StepError where it refuses, dies, or does not answer in time."""
        ...

    def place(self, file: Path) -> str:
        """The path on the device of a file of the host; the files beside it are there too."""
        ...

    def send(self, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
        """For each array the file on the device that holds it."""
        ...

    def output_files(self, count: int) -> list[str]:
        """Files on the device that the agent may write `count` outputs to."""
        ...

    def receive(self, files: Sequence[str]) -> tuple[np.ndarray, ...]:
        """The arrays that the agent wrote."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Device(Protocol):
    """Where a runner runs. `name` is what reports call it.

    Where `is_emulated`, outputs are those of the emulated processor, and times are nobody's.
    """

    @property
    def name(self) -> str: ...

    @property
    def is_emulated(self) -> bool: ...

    def start(self) -> Session:
        """A new agent on the device, alone in its process."""
        ...
