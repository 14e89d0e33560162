"""Which GPUs a machine has, by a driver's own program or by a board's name, and which profiles fit them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edgewright.devices.graphics import Graphics, gpu_profile, graphics, unlike
from edgewright.targets import builtin_names, load_target

ADA = Graphics("NVIDIA GeForce RTX 4090", "8.9", "580.95.05")


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """driver(*lines, code): the PATH holds nothing but a program nvidia-smi that prints these lines; none before."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    graphics.cache_clear()

    def make(*lines: str, code: int = 0) -> None:
        program = folder / "nvidia-smi"
        asked = "--query-gpu=name,compute_cap,driver_version --format=csv,noheader"
        shown = "\n".join(f"echo '{line}'" for line in lines)
        program.write_text(f"#!/bin/sh\n[ \"$*\" = '{asked}' ] || exit 2\n{shown}\nexit {code}\n")
        os.chmod(program, 0o755)

    yield make
    graphics.cache_clear()


def test_the_drivers_program_tells_every_gpu(driver: Callable[..., None], tmp_path: Path) -> None:
    driver("NVIDIA GeForce RTX 4090, 8.9, 580.95.05", "Tesla T4, 7.5, 580.95.05")
    assert graphics(tmp_path) == (ADA, Graphics("Tesla T4", "7.5", "580.95.05"))
    assert str(ADA) == "NVIDIA GeForce RTX 4090 (compute capability 8.9, driver 580.95.05)"


@pytest.mark.parametrize(("lines", "code"), [
    (("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.",), 9),
    (("No devices were found",), 0),
    (("Orin (nvgpu), [N/A], 540.4.0",), 0),
    ((), 0),
])  # fmt: skip
def test_what_tells_no_gpu_is_none(
    lines: tuple[str, ...], code: int, driver: Callable[..., None], tmp_path: Path
) -> None:
    driver(*lines, code=code)
    assert graphics(tmp_path) == ()


def test_a_machine_without_the_program_has_none(driver: Callable[..., None], tmp_path: Path) -> None:
    assert graphics(tmp_path) == ()


@pytest.mark.parametrize(("model", "capability"), [
    ("NVIDIA Jetson Orin Nano Developer Kit\0", "8.7"),
    ("NVIDIA Jetson AGX Orin Developer Kit\0", "8.7"),
    ("NVIDIA Jetson Nano Developer Kit\0", None),
    ("Raspberry Pi 5 Model B Rev 1.0\0", None),
])  # fmt: skip
def test_a_jetson_is_known_by_its_board(
    model: str, capability: str | None, driver: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text(model)
    expected = () if capability is None else (Graphics(model.strip("\0"), capability),)
    assert graphics(tmp_path) == expected


def test_each_shipped_gpu_fits_its_own_profile_and_no_other() -> None:
    profiles = [target for name in builtin_names() if (target := load_target(name, Path("/"))).gpu is not None]
    assert len(profiles) == 6
    for target in profiles:
        assert target.gpu is not None
        found = Graphics("a card", target.gpu.compute_capability)
        assert gpu_profile(found) == target
        assert [each.name for each in profiles if not unlike(each, (found,))] == [target.name]
    assert gpu_profile(Graphics("an old card", "5.2")) is None


def test_what_is_unlike_is_said() -> None:
    t4 = load_target("nvidia-t4", Path("/"))
    assert unlike(t4, ()) == ("it has no NVIDIA GPU",)
    assert unlike(t4, (ADA, ADA)) == ("its GPU has compute capability 8.9, not 7.5",)
    assert unlike(load_target("x86-avx2", Path("/")), ()) == ()
