"""The protocol: each line of standard input is a JSON request, each line of standard output the answer to one.

A request is `{"command": ..., **arguments}`, an answer `{"result": {...}}` or `{"error": "..."}`. Arrays travel as .npy
files. What libraries print goes to standard error, so that it never mixes with the answers.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from .commands import COMMANDS, Agent
from .contract import AgentError


def main() -> None:
    """Answers requests until standard input ends."""
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w")
    requests = os.fdopen(os.dup(0))
    os.dup2(2, 1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    agent = Agent()
    for line in requests:
        answers.write(json.dumps(answer(agent, line)) + "\n")
        answers.flush()


def answer(agent: Agent, line: str) -> dict[str, Any]:
    """The answer to one request; whatever goes wrong is in it, and its traceback on standard error."""
    request = json.loads(line)
    command = request.pop("command")
    if command not in COMMANDS:
        return {"error": f"command: expected one of {', '.join(COMMANDS)}, got '{command}'"}
    method: Callable[..., dict[str, Any]] = getattr(agent, command)
    try:
        return {"result": method(**request)}
    except AgentError as error:
        return {"error": str(error)}
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
