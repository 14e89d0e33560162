"""What a person sees while work runs, on a terminal and elsewhere; never on standard output."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from edgewright.commands import console
from edgewright.commands.console import Terminal

WORK = """
import time
from edgewright.commands.console import Terminal
terminal = Terminal()
try:
    with terminal.task("outer [work]", 2) as advance:
        advance(1, "first half")
        with terminal.task("inner", None) as advance_inner:
            advance_inner(1, "loss 0.5 [of 1]")
            time.sleep(0.5)  # bars are drawn ten times a second
            terminal.warn("be careful")
        raise ValueError("what ends the first target")
except ValueError:
    terminal.error("one\\ntwo")
with terminal.task("later", 1) as advance:
    advance(1, "")
print("result")
"""


PRINTING = """
import os
from edgewright.commands.console import results_only
print("before")
try:
    with results_only():
        print("print")
        os.system("echo child")
        os.write(1, b"library")
        raise ValueError("what ends it")
except ValueError:
    print("after")
os.write(1, b"result")
"""


def test_standard_output_is_for_results() -> None:
    ended = subprocess.run([sys.executable, "-u", "-c", PRINTING], capture_output=True, text=True, check=True)
    assert ended.stdout == "before\nafter\nresult"
    assert ended.stderr == "print\nchild\nlibrary"


def on_a_terminal(code: str) -> tuple[str, str]:
    """What the program writes to its standard output, and to the terminal that is its standard error."""
    reading, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with os.fdopen(reading, "rb", buffering=0) as shown:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=terminal, env=environment, text=True
        )
        os.close(terminal)
        written = b""
        while chunk := _read(shown.fileno()):
            written += chunk
        out, _ = process.communicate()
    assert process.returncode == 0, written.decode()
    return out, written.decode()


def _read(descriptor: int) -> bytes:
    """The next of what was written; nothing once the other side is closed, which Linux tells by an error."""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""


def test_on_a_terminal_bars_lie_within_bars_and_end_with_their_work() -> None:
    out, shown = on_a_terminal(WORK)
    assert out == "result\n"
    for text in ("outer [work]", "first half", "inner", "loss 0.5 [of 1]", "later"):
        assert text in shown
    assert "━" in shown
    assert "warning: be careful" in shown
    assert "error: one\r\nerror: two\r\n" in shown
    assert shown.rfind("later") > shown.rfind("outer")
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 2  # the cursor comes back each time


def test_elsewhere_long_work_tells_of_itself_in_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "PLAIN_SECONDS", 0.0)
    terminal = Terminal()
    with terminal.task("recover", 4) as advance:
        advance(1, "loss 0.5")
        advance(3, "")
    with terminal.task("search", None) as advance:
        advance(2, "")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["recover: 1 of 4 loss 0.5", "recover: 4 of 4", "search: 2"]


def test_elsewhere_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal().task("recover", 2) as advance:
        advance(2, "")
    assert capsys.readouterr() == ("", "")


def test_a_warning_is_said_once_and_kept_for_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    for _ in range(2):
        terminal.warn("few samples")
    terminal.warn("another")
    assert terminal.warnings == ["few samples", "another"]
    assert capsys.readouterr() == ("", "warning: few samples\nwarning: another\n")


def test_notes_and_errors_are_lines_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.note("export")
    terminal.error("first\nsecond")
    assert capsys.readouterr() == ("", "export\nerror: first\nerror: second\n")
