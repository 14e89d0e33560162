"""This machine as a device: the agent in a process of its own, so that a crash or its memory never is ours."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..ir.errors import StepError

if TYPE_CHECKING:
    import numpy as np

AGENT = Path(__file__).with_name("agent")
"""The folder that holds everything a device needs beside Python, numpy and the runtime."""
START = f"import runpy, sys; sys.path.append({str(AGENT.parent)!r}); runpy.run_module('agent', run_name='__main__')"
"""What Python is told to run: the agent's package is found last, so that it hides no library; nothing in the working
folder hides it where -P or -I is given too."""
TIMEOUT_SECONDS = 600.0
ERROR_LINES = 12
"""How many of the agent's last lines on standard error a message about its death quotes."""


@dataclass(frozen=True)
class LocalDevice:
    """The machine that this process runs on."""

    name: str = "local"
    python: str = sys.executable
    is_emulated: bool = False

    def start(self) -> AgentSession:
        """A new agent under the same interpreter."""
        return AgentSession((self.python, "-u", "-P", "-c", START))


class AgentSession:
    """An agent at the other end of a pair of pipes."""

    def __init__(self, command: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgewright-agent-")
        self.scratch = Path(self._folder.name)
        self._errors = (self.scratch / "errors.txt").open("w+b")
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, encoding="utf-8"
            )
        except OSError as error:
            self._errors.close()
            self._folder.cleanup()
            raise StepError(f"the agent could not be started ({command[0]}): {error.strerror}") from None
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def process_id(self) -> int:
        """The agent's process on this machine."""
        return self._process.pid

    def call(self, command: str, *, timeout_seconds: float | None = None, **arguments: Any) -> dict[str, Any]:
        """The agent's answer. StepError where it refuses, dies, or does not answer in time (then it is killed)."""
        stdin = self._process.stdin
        if stdin is None or self._process.poll() is not None:
            raise StepError(self._epitaph(command))
        try:
            stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            stdin.flush()
        except BrokenPipeError:
            raise StepError(self._epitaph(command)) from None
        limit_seconds = TIMEOUT_SECONDS if timeout_seconds is None else timeout_seconds
        try:
            line = self._answers.get(timeout=limit_seconds)
        except queue.Empty:
            self._process.kill()
            raise StepError(f"the agent did not answer '{command}' within {limit_seconds:g} s and was ended") from None
        if not line:
            raise StepError(self._epitaph(command))
        answer = json.loads(line)
        if "error" in answer:
            raise StepError(f"{command}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def place(self, file: Path) -> str:
        """The file itself: the agent sees the same disk."""
        return str(file.resolve())

    def send(self, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
        """For each array the .npy file that holds it; the next call writes over them."""
        import numpy as np

        files = {name: str(self.scratch / f"input-{index}.npy") for index, name in enumerate(arrays)}
        for name, array in arrays.items():
            np.save(files[name], array, allow_pickle=False)
        return files

    def output_files(self, count: int) -> list[str]:
        """Files that the agent may write `count` outputs to."""
        return [str(self.scratch / f"output-{index}.npy") for index in range(count)]

    def receive(self, files: Sequence[str]) -> tuple[np.ndarray, ...]:
        """The arrays that the agent wrote."""
        import numpy as np

        return tuple(np.load(file, allow_pickle=False) for file in files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """The agent has ended and its files are gone; calling it again does nothing."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                _close(stream)
        self._errors.close()
        self._folder.cleanup()

    def _read(self) -> None:
        """Each line of the agent's is in the queue; an empty one says that it has ended."""
        stdout = self._process.stdout
        for line in stdout or ():
            self._answers.put(line)
        self._answers.put("")

    def _epitaph(self, command: str) -> str:
        """How the agent died, with the end of what it wrote to standard error."""
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").splitlines()[-ERROR_LINES:]
        said = "\n".join(lines) if lines else "(nothing on its standard error)"
        return f"the agent died during '{command}' ({how}); its last words:\n{said}"


def _close(stream: Any) -> None:
    """The pipe is closed, even where it still held a request that nobody will read."""
    try:
        stream.close()
    except BrokenPipeError:
        return
