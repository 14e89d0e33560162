"""What is installed: one top-level name, every room and every profile, and nothing of the workshop around them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOT_INSTALLED = ("tests", "examples", "docs")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git keeps, so that building leaves nothing in the checkout; its folder has another name."""
    folder = tmp_path_factory.mktemp("wheel") / "a-clone"
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(copy: Path) -> Path:
    """The wheel that pip builds of the copy."""
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(copy.parent)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(copy)], check=True, capture_output=True)
    (built,) = copy.parent.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> frozenset[str]:
    """The files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(name for name in archive.namelist() if not name.endswith("/"))


def test_its_only_name_is_edgewright(names: frozenset[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edgewright"}


def test_every_module_of_every_room_is_in_it(names: frozenset[str], copy: Path) -> None:
    rooms = [path.parent for path in copy.glob("*/__init__.py") if path.parent.name not in NOT_INSTALLED]
    modules = [path for room in rooms for path in room.rglob("*.py") if (path.parent / "__init__.py").is_file()]
    expected = {f"edgewright/{path.relative_to(copy)}" for path in [*modules, copy / "__init__.py", copy / "deploy.py"]}
    assert len(rooms) > 1
    assert {name for name in names if name.endswith(".py")} == expected


def test_profiles_and_the_mark_of_types_are_in_it(names: frozenset[str], copy: Path) -> None:
    profiles = {f"edgewright/targets/{path.name}" for path in (copy / "targets").glob("*.yaml")}
    data = {name for name in names if name.startswith("edgewright/") and not name.endswith(".py")}
    assert data == {*profiles, "edgewright/py.typed"}


def test_nothing_of_the_workshop_is_in_it(names: frozenset[str]) -> None:
    assert not [name for name in names if name.split("/")[1] in NOT_INSTALLED]
    assert not [name for name in names if name.startswith("edgewright/benchmarks/suite")]


def test_what_is_installed_runs_beside_folders_of_the_same_names(wheel: Path, tmp_path: Path) -> None:
    """Unpacked as pip does, in a process that knows no checkout, from a folder that has rooms of its own."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    for room in ("passes", "targets"):
        (tmp_path / "user" / room).mkdir(parents=True)
        (tmp_path / "user" / room / "__init__.py").write_text("raise SystemExit('the code of a user was imported')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "site")!r})
import edgewright
from edgewright.targets import builtin_names
assert edgewright.__file__.startswith({str(tmp_path)!r}), edgewright.__file__
print(*(edgewright.load_target(name).name for name in builtin_names()))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "user", capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == sorted(path.stem for path in (ROOT / "targets").glob("*.yaml"))
