"""What a runtime is to the agent: an adapter that opens an artifact's file and runs it."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol


class AgentError(Exception):
    """A request that can't be carried out, with a message for the person at the other end."""


class Runtime(Protocol):
    """An artifact in its runtime. Making one checks the file and the options and loads nothing yet; `open` loads.

    `package` is what pip installs, `options` which load options there are and of which type; `timed` says what one
    call of `run` spans. Once it is open, `inputs` are (name, shape, dtype), an open axis being no integer, and
    `outputs` the names in the order of `run`.
    """

    package: ClassVar[str]
    options: ClassVar[dict[str, type]]
    timed: ClassVar[str]
    inputs: list[tuple[str, list[Any], str]]
    outputs: list[str]

    def __init__(self, library: Any, file: str, threads: int, options: dict[str, Any]) -> None: ...

    @staticmethod
    def library() -> Any:
        """The runtime's Python package; ImportError where it is not installed."""
        ...

    @staticmethod
    def version(library: Any) -> tuple[str, str]:
        """The package that `library` came with, as pip names it, and its version."""
        ...

    def open(self) -> None:
        """The file is loaded. AgentError where it can't be."""
        ...

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """The outputs for one batch."""
        ...

    def about(self) -> dict[str, Any]:
        """What else is to be known of what runs the artifact, beside the processor; empty where there is nothing."""
        ...

    def tensors(self) -> dict[str, Any]:
        """The values of the last run that the load option `keep_tensors` names, as the runtime holds them.

        AgentError where none is kept.
        """
        ...

    def profiled(self) -> list[tuple[str, str, list[int]]]:
        """(name, operator, nanoseconds in each run) of what ran since `open`; the profile ends with this.

        AgentError where the load option `profile` was not given.
        """
        ...
