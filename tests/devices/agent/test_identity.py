"""Who ran an artifact: by the files of the system, on machines of either kind."""

from __future__ import annotations

import os
import platform
import sys

import pytest
from edgewright.devices.agent import identity

X86 = "processor : 0\nmodel name : A CPU\ncpu MHz : 2445.4\nflags : fpu avx2 fma\n"
ARM = "processor : 0\nBogoMIPS : 108.00\nFeatures : fp asimd asimddp\nCPU implementer : 0x41\nCPU part : 0xd0b\n"


def test_a_processor_is_known_by_its_own_file() -> None:
    found = identity.processor(X86)
    assert found["model"] == "A CPU"
    assert {"avx2", "fma"} <= set(found["flags"])
    assert found["clock_mhz"] == pytest.approx(2445.4)


def test_an_arm_core_is_called_by_its_part() -> None:
    found = identity.processor(ARM)
    assert "Cortex-A76" in found["model"]
    assert "asimddp" in found["flags"]


def test_this_machine_is_told_as_the_system_tells_it() -> None:
    found = identity.identity()
    assert found["architecture"] == platform.machine()
    assert found["logical_cores"] == os.cpu_count()
    assert found["python"] == platform.python_version()


def test_only_who_started_the_agent_knows_that_it_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert identity.identity()["emulated"] is False
    monkeypatch.setattr(sys, "argv", ["-c", identity.EMULATED])
    assert identity.identity()["emulated"] is True


def test_a_file_that_is_not_there_reads_as_nothing() -> None:
    assert identity.read("/proc/no-such-file") is None
