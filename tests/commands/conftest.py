"""The command line in this process, through the same `main` that the installed program runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from edgewright.commands.app import main


@dataclass(frozen=True)
class Ended:
    """How a run of the command line ended, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def edgewright(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """edgewright("plan", recipe): what the command line does with these arguments, without a new process."""

    def run(*arguments: Any) -> Ended:
        monkeypatch.setattr(sys, "argv", ["edgewright", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, captured.out, captured.err)

    return run
