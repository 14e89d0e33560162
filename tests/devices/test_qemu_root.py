"""The emulated boards' files: how they are found, what is missing for them, and that nothing half made is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.devices import qemu_root
from edgewright.devices.qemu import CORES, EMULATORS, PYTHON
from edgewright.ir.errors import InputError, StepError
from edgewright.pipeline.store import devices_folder

CORE = CORES[0]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the path; programs that are put there are the machine's."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(qemu_root, "SYSTEM_PATHS", ())
    return folder


def program(folder: Path, name: str, text: str = "exit 0") -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_the_wheels_are_those_of_the_constraints() -> None:
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    assert set(qemu_root.WHEELS) <= set(pinned)
    assert all(wheel.replace("==", "-") in qemu_root.FOLDER for wheel in qemu_root.WHEELS)


def test_nothing_is_found_where_nothing_was_made(tmp_path: Path) -> None:
    assert qemu_root.find(CORE, tmp_path) is None


def test_a_root_is_found_once_there_is_an_emulator(tmp_path: Path, programs: Path) -> None:
    python = tmp_path / qemu_root.FOLDER / CORE.name / PYTHON
    python.parent.mkdir(parents=True)
    python.touch()
    assert qemu_root.find(CORE, tmp_path) is None
    assert qemu_root.missing(tmp_path) == "apt-get install qemu-user-static"
    program(programs, EMULATORS[1])
    assert qemu_root.missing(tmp_path) == ""
    found = qemu_root.find(CORE, tmp_path)
    assert found is not None
    assert (found.root, found.emulator) == (python.parents[2], str(programs / EMULATORS[1]))
    assert qemu_root.make(CORE, tmp_path, print) == found


def test_what_is_missing_is_said_as_one_command(tmp_path: Path, programs: Path) -> None:
    assert qemu_root.missing(tmp_path) == "apt-get install qemu-user-static debootstrap dpkg"
    program(programs, EMULATORS[0])
    program(programs, "dpkg-deb")
    assert qemu_root.missing(tmp_path) == "apt-get install debootstrap"
    with pytest.raises(InputError, match=r"qemu-cortex-a53: expected qemu, .* apt-get install debootstrap, got"):
        qemu_root.make(CORE, tmp_path / "devices", print)
    assert not (tmp_path / "devices").exists()


def test_packages_that_can_not_be_had_leave_nothing_behind(tmp_path: Path, programs: Path) -> None:
    for name in (EMULATORS[0], "dpkg-deb"):
        program(programs, name)
    program(programs, "debootstrap", "echo 'E: no mirror answers' >&2; exit 1")
    said: list[str] = []
    with pytest.raises(StepError, match="devices: 'debootstrap' failed: E: no mirror answers"):
        qemu_root.make(CORE, tmp_path / "devices", said.append)
    assert said == [f"Debian bookworm for arm64: {len(qemu_root.SYSTEM)} packages"]
    assert list((tmp_path / "devices").iterdir()) == []


def test_debootstrap_is_told_the_mirror_that_apt_has(tmp_path: Path, programs: Path) -> None:
    for name in (EMULATORS[0], "dpkg-deb"):
        program(programs, name)
    program(programs, "apt-get", "echo file:///somewhere http://mirror.example/debian/ http://other.example/debian/")
    program(programs, "debootstrap", 'for last; do :; done; echo "the mirror is $last" >&2; exit 1')
    with pytest.raises(StepError, match=r"the mirror is http://mirror\.example/debian/$"):
        qemu_root.make(CORE, tmp_path / "devices", print)


def test_what_was_made_has_a_folder_for_each_core() -> None:
    folder = devices_folder() / qemu_root.FOLDER
    if not folder.is_dir():
        pytest.skip(f"the device is not made: edgewright devices make {CORE.device}")
    for core in CORES:
        assert (folder / core.name / PYTHON).resolve() == (folder / "root" / PYTHON).resolve()
        assert (folder / core.name / "proc/cpuinfo").read_text() == core.cpuinfo()
