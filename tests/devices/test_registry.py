"""Devices by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.devices import registry, tflite_runtime
from edgewright.devices.local import LocalDevice
from edgewright.devices.qemu import CORES, QemuDevice
from edgewright.ir.errors import InputError


def test_this_machine_is_always_ready(tmp_path: Path) -> None:
    assert registry.is_ready("local", tmp_path)
    assert registry.device_named("local", tmp_path) == LocalDevice()
    registry.make("local", tmp_path, lambda text: None)
    assert not list(tmp_path.iterdir())


def test_a_device_that_was_not_made_is_refused_with_the_command(tmp_path: Path) -> None:
    assert not registry.is_ready("tflite-runtime", tmp_path)
    with pytest.raises(InputError, match="make it: edgewright devices make tflite-runtime, got nothing in"):
        registry.device_named("tflite-runtime", tmp_path)


def test_what_has_to_be_installed_comes_before_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    expected = "apt-get install qemu-user-static .*&& edgewright devices make qemu-cortex-a53, got nothing in"
    with pytest.raises(InputError, match=expected):
        registry.device_named("qemu-cortex-a53", tmp_path)


def test_an_emulated_device_can_time_nothing(tmp_path: Path) -> None:
    registry.refuse_emulated(LocalDevice(), "bench")
    device = QemuDevice(CORES[0], tmp_path, "qemu-aarch64")
    with pytest.raises(InputError, match=r"bench: device: .* got 'qemu-cortex-a53', which is emulated: its time says"):
        registry.refuse_emulated(device, "bench")


def test_a_device_refuses_artifacts_of_a_runtime_that_it_is_made_without(tmp_path: Path) -> None:
    board = QemuDevice(CORES[1], tmp_path, "qemu-aarch64")
    old = LocalDevice(tflite_runtime.NAME, "python")
    for device in (board, old):
        registry.refuse_foreign(device, "tflite", Path("out"))
        expected = f"out: runtime: expected an artifact for tflite, which is what {device.name} runs, got one for"
        with pytest.raises(InputError, match=f"{expected} onnxruntime; run it with --on local"):
            registry.refuse_foreign(device, "onnxruntime", Path("out"))
    registry.refuse_foreign(LocalDevice(), "onnxruntime", Path("out"))


@pytest.mark.parametrize("act", [registry.device_named, lambda name, folder: registry.make(name, folder, print)])
def test_an_unknown_device_is_refused_with_those_that_there_are(act: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected one of local, tflite-runtime, qemu-cortex-a53, .*, got 'board'"):
        act("board", tmp_path)  # type: ignore[operator]
