"""Installed by pip into a fresh environment: what runs there is what was installed, and it needs no checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Fresh:
    """An environment that pip installed edgewright into, and a folder of the user's with folders called like ours."""

    bin: Path
    work: Path

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        texts = [str(self.bin / str(command[0])), *map(str, command[1:])]
        return subprocess.run(texts, cwd=self.work, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """The packages that edgewright builds on are those of this environment, seen through a .pth file: none is fetched.

    The file comes last, so that pip meets no other edgewright, and adds the folder without running the .pth files in
    it, so that this environment's own, editable edgewright stays unseen.
    """
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    fresh = Fresh(folder / "venv" / "bin", folder / "work")
    source = copy_of_the_tree(folder / "a clone")
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    pip("--python", fresh.bin / "python", "install", wheel)
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (fresh_site(fresh) / "packages.pth").write_text("".join(f"{path}\n" for path in sorted(packages)))
    for room in ("passes", "targets"):
        (fresh.work / room).mkdir(parents=True)
        (fresh.work / room / "__init__.py").write_text("raise SystemExit('the code of a user was imported')\n")
    return fresh


def pip(*arguments: object) -> None:
    """pip did it, without a network."""
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def fresh_site(fresh: Fresh) -> Path:
    """Where the environment keeps its packages."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run([fresh.bin / "python", "-c", code], capture_output=True, text=True, check=True)
    return Path(found.stdout.strip())


def copy_of_the_tree(folder: Path) -> Path:
    """What git keeps, so that building leaves nothing in the checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def test_the_package_comes_from_the_environment_and_not_from_the_checkout(fresh: Fresh) -> None:
    ended = fresh.run("python", "-c", "import edgewright; print(edgewright.__file__)")
    assert ended.stdout.strip() == str(fresh_site(fresh) / "edgewright" / "__init__.py"), ended.stderr


def test_the_program_lists_every_profile_from_another_folder(fresh: Fresh) -> None:
    ended = fresh.run("edgewright", "targets", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    names = {path.stem for path in (ROOT / "targets").glob("*.yaml")}
    assert {entry["name"] for entry in json.loads(ended.stdout)["targets"]} == names


def test_every_command_starts(fresh: Fresh) -> None:
    for command in ("plan", "build", "bench", "verify", "cache", "doctor", "targets"):
        ended = fresh.run("edgewright", command, "--help")
        assert ended.returncode == 0, ended.stderr
    assert fresh.run("edgewright", "doctor").returncode == 0


def test_a_plan_is_made(fresh: Fresh, recipe_file: Path) -> None:
    ended = fresh.run("edgewright", "plan", recipe_file)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("plan for x86-avx2\n")


def test_a_network_is_built_and_verified(fresh: Fresh, recipe_file: Path) -> None:
    """Without compression: what is tested is that the installed agent, emitter and runner are all there."""
    options = [part for name in ("prune", "recover", "quantize") for part in ("--set", f"compress.{name}=null")]
    ended = fresh.run("edgewright", "build", recipe_file, "--cache", "cache", *options)
    assert ended.returncode == 0, ended.stderr
    assert fresh.run("edgewright", "verify", "out/x86-avx2").returncode == 0
