"""What a machine says of itself, read from trees that look like /proc and /sys, and from the machine at work."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from edgewright.devices.graphics import graphics
from edgewright.devices.machine import (
    Machine,
    gpus_here,
    host_target,
    mismatches,
    probe_profile,
    this_machine,
    usable_cores,
)
from edgewright.ir.errors import InputError
from edgewright.targets import Hardware, Target, builtin_names, load_target

PROCESSORS = """\
processor\t: {number}
vendor_id\t: GenuineIntel
model name\t: {name}
flags\t\t: fpu sse4_1 sse4_2 avx avx2 fma f16c avx_vnni
"""
CACHES = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "1280K"), ("3", "Unified", "12288K")]

Tree = Callable[[dict[str, str]], Path]
AVAILABLE = len(os.sched_getaffinity(0))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A root folder with these files in place of the machine's."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def board() -> dict[str, str]:
    """The files of a board with two processors, caches and memory, and no control groups."""
    names = ("Intel(R) N100", "another model, which does not count")
    files = {
        "proc/cpuinfo": "\n".join(PROCESSORS.format(number=at, name=name) for at, name in enumerate(names)),
        "proc/meminfo": "MemTotal:        7931232 kB\nMemFree:          123456 kB\n",
    }
    for index, (level, kind, size) in enumerate(CACHES):
        folder = f"sys/devices/system/cpu/cpu0/cache/index{index}"
        files |= {f"{folder}/level": f"{level}\n", f"{folder}/type": f"{kind}\n", f"{folder}/size": f"{size}\n"}
    return files


def test_a_machine_is_read_from_proc_and_sys(tree: Tree) -> None:
    machine = this_machine(tree(board()))
    assert machine.flags == {"fpu", "sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni"}
    hardware = machine.hardware
    assert hardware.cpu == "Intel(R) N100"
    assert (hardware.l1d_kib, hardware.l2_kib, hardware.l3_kib) == (48, 1280, 12288)
    assert hardware.memory_mib == 7931232 // 1024
    assert hardware.cores == AVAILABLE


@pytest.mark.parametrize("size", [None, "", "unknown\n"])
def test_a_cache_that_is_not_told_is_not_guessed(tree: Tree, size: str | None) -> None:
    files = board()
    size_of_l2 = "sys/devices/system/cpu/cpu0/cache/index2/size"
    files.pop(size_of_l2)
    root = tree(files if size is None else {**files, size_of_l2: size})
    hardware = this_machine(root).hardware
    assert (hardware.l1d_kib, hardware.l2_kib, hardware.l3_kib) == (48, None, 12288)


def test_a_machine_without_a_model_name_or_caches_is_a_machine_all_the_same(tree: Tree) -> None:
    """As on ARM, where /proc/cpuinfo says Features and no model name."""
    root = tree({"proc/cpuinfo": "processor : 0\nFeatures : fp asimd asimddp\n", "proc/meminfo": "MemTotal: 2048 kB\n"})
    machine = this_machine(root)
    assert machine.flags == {"fp", "asimd", "asimddp"}
    assert (machine.hardware.cpu, machine.hardware.l1d_kib, machine.hardware.memory_mib) == ("unknown", None, 2)


@pytest.mark.parametrize("missing", ["proc/cpuinfo", "proc/meminfo"])
def test_a_machine_that_tells_too_little_is_refused(tree: Tree, missing: str) -> None:
    files = board()
    files.pop(missing)
    with pytest.raises(InputError, match=f"host: expected a Linux machine.*got {platform.system()}"):
        this_machine(tree(files))


V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    ("files", "share"),
    [
        ({}, math.inf),
        ({f"{V2}/cpu.max": "max 100000\n"}, math.inf),
        ({f"{V2}/cpu.max": "50000 100000\n"}, 0.5),
        ({f"{V2}/cpu.max": "100000 100000\n"}, 1),
        ({f"{V2}/cpu.max": "150000 100000\n"}, 1.5),
        ({f"{V2}/cpu.max": "100000000 100000\n"}, 1000),
        ({"proc/self/cgroup": "0::/a/b\n", f"{V2}/a/b/cpu.max": "max 100000", f"{V2}/a/cpu.max": "100000 100000"}, 1),
        ({"proc/self/cgroup": "0::/a\n", f"{V2}/a/cpu.max": "max 100000", f"{V2}/cpu.max": "100000 100000"}, 1),
        ({"proc/self/cgroup": "0::/a\n", f"{V2}/b/cpu.max": "100000 100000"}, math.inf),
        ({"proc/self/cgroup": "0::/../../outside\n", f"{V2}/cpu.max": "100000 100000"}, 1),
        (
            {"proc/self/cgroup": "4:cpu:/x\n", f"{V1}/cpu.cfs_quota_us": "100000", f"{V1}/cpu.cfs_period_us": "100000"},
            1,
        ),
        ({f"{V1}/cpu.cfs_quota_us": "-1\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({f"{V1}/cpu.cfs_quota_us": "100000\n"}, math.inf),
    ],
)
def test_cores_are_bounded_by_affinity_and_by_quota(tree: Tree, files: dict[str, str], share: float) -> None:
    assert usable_cores(tree(files)) == min(AVAILABLE, math.ceil(share) if share < math.inf else AVAILABLE)


def test_cores_are_those_of_this_process_alone(tree: Tree) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores(tree({})) == 1
    finally:
        os.sched_setaffinity(0, before)


def target(**changes: object) -> Target:
    """A profile of one board, with what is changed."""
    base = load_target("x86-avx-vnni", Path("/"))
    own = {"cpu": "Intel(R) N100", "cores": 4, "l2_kib": 2048, "memory_mib": 8000, "source": "measured"}
    return base.model_copy(update={"name": "kiosk", "hardware": Hardware(**{**own, **changes})})  # type: ignore[arg-type]


def machine(**changes: object) -> Machine:
    """The very board of `target`, with what is changed."""
    profile = target(**changes)
    assert profile.hardware is not None
    return Machine("x86_64", frozenset(profile.isa.flags), profile.hardware)


def test_a_machine_that_is_the_targets_own_has_no_mismatch() -> None:
    assert mismatches(target(), machine()) == ()
    assert mismatches(load_target("x86-avx-vnni", Path("/")), machine()) == ()


def test_another_architecture_is_all_there_is_to_say() -> None:
    other = Machine("aarch64", frozenset({"asimd"}), machine().hardware)
    assert mismatches(target(), other) == ("it is aarch64, not x86_64",)


def test_missing_instructions_are_named_in_the_profiles_order() -> None:
    other = Machine("x86_64", frozenset({"fma"}), machine().hardware)
    assert mismatches(target(), other) == ("it has no avx2 avx_vnni",)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cpu": "AMD EPYC"}, "CPU: AMD EPYC, not Intel(R) N100"),
        ({"cores": 2}, "cores: 2, not 4"),
        ({"l2_kib": 512}, "L2 KiB: 512, not 2048"),
        ({"l2_kib": None}, "L2 KiB: unknown, not 2048"),
    ],
)
def test_another_machine_than_the_profiles_own_is_told_by_its_numbers(change: dict[str, object], reason: str) -> None:
    assert mismatches(target(), machine(**change)) == (reason,)


def test_what_a_profile_does_not_say_and_memory_are_not_compared() -> None:
    """Containers see other sizes of memory."""
    assert mismatches(target(l2_kib=None), machine(memory_mib=1)) == ()


def test_reasons_add_up() -> None:
    other = Machine("x86_64", frozenset({"avx2", "fma"}), machine(cpu="AMD EPYC", cores=1).hardware)
    assert len(mismatches(target(), other)) == 3


def test_this_machine_is_read() -> None:
    found = this_machine()
    assert found.architecture == platform.machine()
    assert 1 <= found.hardware.cores <= AVAILABLE
    assert found.hardware.memory_mib > 0
    assert found.flags


def test_the_hosts_profile_asks_for_nothing_that_is_not_here() -> None:
    profile = host_target()
    assert profile.name in builtin_names()
    assert mismatches(profile, this_machine()) == ()


def test_a_probed_profile_is_one_that_loads_and_fits_this_machine_exactly(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text(probe_profile("board-1.5"))
    profile, here, base = load_target(str(path)), this_machine(), host_target()
    assert profile.name == "board-1.5"
    assert mismatches(profile, here) == ()
    assert profile.hardware is not None
    assert profile.hardware.model_dump(exclude={"source"}) == here.hardware.model_dump(exclude={"source"})
    assert set(base.isa.flags) <= set(profile.isa.flags) <= here.flags
    assert (profile.quantization, profile.pruning) == (base.quantization, base.pruning)
    assert "edgewright targets probe" in profile.isa.source


@pytest.mark.parametrize("name", ["", "My-Board", "a/b", "a b", "-a", "x\n", "host", *builtin_names()])
def test_a_name_that_no_profile_may_have_is_refused_when_probed(name: str) -> None:
    with pytest.raises(InputError, match=r"probe: name: expected a name of the form .* and none of .*host, got"):
        probe_profile(name)


def test_a_profile_of_a_gpu_asks_for_the_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where no program tells of a GPU
    graphics.cache_clear()
    profile = load_target("nvidia-rtx-ada", Path("/"))
    assert mismatches(profile, machine()) == ("it has no NVIDIA GPU",)
    assert gpus_here() == ()
    _driver(tmp_path, "NVIDIA GeForce RTX 4070, 8.9, 580.95.05")
    assert mismatches(profile, machine()) == ()
    assert gpus_here() == (
        "NVIDIA GeForce RTX 4070 (compute capability 8.9, driver 580.95.05); the profile nvidia-rtx-ada fits it",
    )
    _driver(tmp_path, "Quadro M6000, 5.2, 470.1")
    assert mismatches(profile, machine()) == ("its GPU has compute capability 5.2, not 8.9",)
    assert gpus_here()[0].endswith("no profile that comes with edgewright fits it")
    graphics.cache_clear()


def _driver(folder: Path, line: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{line}'\n")
    program.chmod(0o755)
    graphics.cache_clear()
