"""What an emulated board has in the place of the host's files: Debian's Python for arm64, numpy and the interpreter.

It is made by a command, never by a build, and needs neither root's rights nor a chroot: packages are fetched and
unpacked, nothing of them is run but Python, under qemu. One root serves all cores; each has a folder of its own, where
beside links to the root lie the files that say which core it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ..ir.errors import InputError, Problem, StepError
from .qemu import CORES, HOW_EMULATOR, PYTHON, Core, QemuDevice, emulator

SUITE, ARCHITECTURE, VERSION = "bookworm", "arm64", "311"
WHEELS = ("ai-edge-litert==2.3.0", "numpy==2.4.6")
"""The interpreter and what it imports, in the versions of constraints.txt: those that prove artifacts here."""
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64")
SYSTEM = (
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libbz2-1.0", "liblzma5", "libexpat1", "libffi8", "libssl3"),
    *("libcrypt1", "libuuid1", "libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal", "python3.11"),
)
"""Debian's packages that Python and the wheels need; what else debootstrap fetches is not unpacked."""
FOLDER = "-".join(("qemu", SUITE, ARCHITECTURE, *WHEELS)).replace("==", "-")
"""Named by what is in it, so that a root with other versions is another root."""
TOOLS = {"debootstrap": "debootstrap", "dpkg-deb": "dpkg"}
"""Programs that make the root, and the packages that bring them."""
SYSTEM_PATHS = ("/usr/sbin", "/sbin")
"""Where debootstrap lies; a user's path may lack them."""


def find(core: Core, folder: Path) -> QemuDevice | None:
    """The device, where its root lies in `folder` and qemu is installed; else None."""
    program, root = emulator(), folder / FOLDER / core.name
    return QemuDevice(core, root, program) if program and (root / PYTHON).exists() else None


def missing(folder: Path) -> str:
    """What to type so that the devices can be made, or used where they are made; empty where nothing is missing."""
    tools = {} if (folder / FOLDER).is_dir() else TOOLS
    packages = [package for tool, package in tools.items() if _which(tool) is None]
    how = HOW_EMULATOR if emulator() is None else "apt-get install" if packages else ""
    return " ".join([how, *packages]) if how else ""


def make(core: Core, folder: Path, say: Callable[[str], None]) -> QemuDevice:
    """The root of all cores lies in `folder`, whole or not at all, and Python ran in it; one that is there is taken.

    InputError where a program is missing, StepError where packages can't be fetched or the interpreter does not start.
    """
    if found := find(core, folder):
        return found
    if how := missing(folder):
        expected = f"qemu, {' and '.join(TOOLS)} on the path: {how}"
        raise InputError(Problem("devices", core.device, expected, "a machine without all of them"))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".qemu-", dir=folder) as unfinished:
        fresh = Path(unfinished) / FOLDER
        fresh.mkdir(mode=0o755)
        say(f"Debian {SUITE} for {ARCHITECTURE}: {len(SYSTEM)} packages")
        _system(Path(unfinished), fresh / "root")
        say(f"for aarch64: {', '.join(WHEELS)}")
        _wheels(fresh / "root")
        for each in CORES:
            _core(each, fresh)
        _start(QemuDevice(core, fresh / core.name, str(emulator())))
        _publish(fresh, folder / FOLDER)
    return QemuDevice(core, folder / FOLDER / core.name, str(emulator()))


def _system(unfinished: Path, root: Path) -> None:
    """Debian's packages are unpacked in `root`; debootstrap checked their signatures and hashes."""
    fetched = unfinished / "fetched"
    options = ["--download-only", f"--arch={ARCHITECTURE}", "--variant=minbase", f"--include={','.join(SYSTEM)}"]
    _run([_tool("debootstrap"), *options, SUITE, str(fetched), *_mirror()])
    for name in SYSTEM:
        for package in (fetched / "var/cache/apt/archives").glob(f"{name}_*.deb"):
            _run([_tool("dpkg-deb"), "-x", str(package), str(root)])


def _mirror() -> list[str]:
    """Debian's mirror that this machine's apt is set up with; empty (debootstrap's own choice) where it has none."""
    if shutil.which("apt-get") is None:
        return []
    known = ["Created-By: Packages", "Label: Debian", "Component: main"]
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", *known]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    return [each for each in told if each.startswith(("http://", "https://"))][:1]


def _wheels(root: Path) -> None:
    """The wheels lie where Debian's Python looks for packages."""
    place = root / "usr/lib/python3/dist-packages"
    platforms = [word for each in PLATFORMS for word in ("--platform", each)]
    only = ["--implementation", "cp", "--python-version", VERSION, "--only-binary=:all:", "--no-deps", *platforms]
    quiet = ["--quiet", "--no-compile", "--disable-pip-version-check"]
    _run([sys.executable, "-m", "pip", "install", *quiet, "--target", str(place), *only, *WHEELS])


def _core(core: Core, fresh: Path) -> None:
    """The core's folder holds links to the root, and what Linux would say of a machine with that core alone.

    Without them LiteRT reads the host's /proc/cpuinfo and /sys and ends with a segmentation fault.
    """
    cpus = fresh / core.name / "sys/devices/system/cpu"
    (cpus / "cpu0").mkdir(parents=True)
    for name in ("possible", "present", "online"):
        (cpus / name).write_text("0\n")
    (fresh / core.name / "proc").mkdir()
    (fresh / core.name / "proc/cpuinfo").write_text(core.cpuinfo())
    for name in ("usr", "lib"):
        (fresh / core.name / name).symlink_to(Path("..", "root", name))


def _start(device: QemuDevice) -> None:
    """The interpreter is there and can be imported; what Python compiled for it stays in the root."""
    with device.start() as session:
        session.call("identity")
    _run(device.python("import ai_edge_litert.interpreter"))


def _publish(fresh: Path, place: Path) -> None:
    """The folder is at its place by one rename; where another process was faster, its own stays."""
    try:
        fresh.rename(place)
    except OSError:
        if not place.is_dir():
            raise


def _which(tool: str) -> str | None:
    return shutil.which(tool, path=os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_PATHS]))


def _tool(name: str) -> str:
    return _which(name) or name


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        name = Path(command[0]).name
        raise StepError(f"devices: '{name}' failed: {said[-1] if said else f'exit code {done.returncode}'}")
