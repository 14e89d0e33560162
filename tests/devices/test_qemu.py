"""Emulated ARM cores: what starts them, what they are called, and, where they were made, what they compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgewright.devices import qemu, qemu_root
from edgewright.devices.agent import identity
from edgewright.devices.qemu import CORES, Core, QemuDevice
from edgewright.ir.errors import StepError
from edgewright.pipeline.bench import verify
from edgewright.pipeline.store import devices_folder
from edgewright.targets import load_target

EACH = pytest.mark.parametrize("core", CORES, ids=lambda core: core.name)


def made(core: Core) -> QemuDevice:
    """The device; skips where it was not made at set-up."""
    device = qemu_root.find(core, devices_folder())
    if device is None:
        pytest.skip(f"the device is not made: edgewright devices make {core.device}")
    return device


@EACH
def test_a_core_is_told_by_its_cpuinfo(core: Core) -> None:
    found = identity.processor(core.cpuinfo())
    assert found["model"] == core.name.title()
    profile = load_target(f"arm64-{core.name}", Path("/"))
    assert set(profile.isa.flags) <= set(found["flags"])


def test_only_cores_with_dot_products_say_so() -> None:
    assert [core.name for core in CORES if "asimddp" in core.features.split()] == ["cortex-a76"]


def test_qemu_is_told_the_core_and_the_root_and_hides_what_changes_a_process(tmp_path: Path) -> None:
    device = QemuDevice(CORES[1], tmp_path / "root", "qemu-aarch64-static")
    assert device.name == "qemu-cortex-a72"
    assert device.is_emulated
    words = list(device.python("print()", "one", "two"))
    assert words[:5] == ["qemu-aarch64-static", "-cpu", "cortex-a72", "-L", str(tmp_path / "root")]
    assert [words[at + 1] for at, word in enumerate(words) if word == "-U"] == ["LD_PRELOAD", "LD_LIBRARY_PATH"]
    python = words.index(str(tmp_path / "root" / "usr/bin/python3.11"))
    assert words[python + 1] == "-I"
    assert words[-4:] == ["-c", "print()", "one", "two"]


def test_the_first_emulator_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert qemu.emulator() is None
    for name in reversed(qemu.EMULATORS):
        (tmp_path / name).touch(mode=0o755)
        assert qemu.emulator() == str(tmp_path / name)


@EACH
def test_the_agent_says_which_core_it_is_and_that_it_is_emulated(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "nowhere")
    with made(core).start() as session:
        found = session.call("identity")
    assert (found["cpu"], found["emulated"], found["architecture"]) == (core.name.title(), True, "aarch64")
    assert ("asimddp" in found["flags"]) == ("asimddp" in core.features.split())
    assert f"numpy=={found['numpy']}" in qemu_root.WHEELS


@EACH
def test_an_artifact_computes_on_arm_what_it_computes_here(core: Core, built_tflite: Path) -> None:
    """The vectors of the integer file are what x86 answered: XNNPACK's int8 kernels are the same to the last bit."""
    found = verify(built_tflite, made(core))
    assert (found.device, found.is_emulated, found.identity["cpu"]) == (core.device, True, core.name.title())
    assert found.identity["runtime_version"] in qemu_root.WHEELS[0]
    for each in found.outputs.values():
        assert (each.parity.largest_steps, each.share_equal) == (0, 1)


def test_a_float_artifact_is_within_what_another_processor_may_differ(built_tflite: Path) -> None:
    found = verify(built_tflite / "baseline", made(CORES[0]))  # raises where an output is further off
    for each in found.outputs.values():
        assert each.parity.largest_steps <= each.allowed_steps


def test_files_of_the_host_are_seen_where_the_root_has_none(tmp_path: Path) -> None:
    with made(CORES[0]).start() as session:
        sent = session.send({"x": np.arange(3, dtype=np.float32)})
        with pytest.raises(StepError, match="expected a TFLite file"):
            session.call("load", runtime="tflite", file=sent["x"], threads=1)
