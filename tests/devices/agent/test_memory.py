"""The memory of this process, before and after it takes some."""

from __future__ import annotations

from edgewright.devices.agent.memory import reset_peak, status_bytes

TAKEN_BYTES = 64 << 20


def test_the_peak_follows_what_was_taken_since_it_was_reset() -> None:
    reset_peak()
    before = status_bytes("VmHWM")
    taken = bytearray(b"x" * TAKEN_BYTES)
    after = status_bytes("VmHWM")
    assert before is not None
    assert after is not None
    assert after - before >= TAKEN_BYTES / 2
    assert len(taken) == TAKEN_BYTES


def test_what_the_system_does_not_tell_is_nothing() -> None:
    assert status_bytes("VmNone") is None
