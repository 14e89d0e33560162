"""The silent listener follows the protocol."""

from __future__ import annotations

from edgewright.ir.progress import Progress, Silent


def test_silent_says_nothing(capfd) -> None:  # type: ignore[no-untyped-def]
    listener: Progress = Silent()
    with listener.task("work", 3) as advance:
        advance(1, "text")
    listener.note("note")
    listener.warn("warning")
    assert capfd.readouterr() == ("", "")
