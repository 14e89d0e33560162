"""`edgewright targets`: profiles listed, shown and probed; what would be ignored is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgewright.devices.machine import host_target, mismatches, this_machine
from edgewright.targets import Target, builtin_names, load_target

Program = Callable[..., Any]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the user works in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own(folder: Path, name: str, text: str = "") -> Path:
    """A profile of the user's in the folder `targets`."""
    path = folder / "targets" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text or f"name: {name}\nsummary: one of mine\nextends: x86-avx2\n")
    return path


def test_it_lists_every_profile_and_whether_it_fits_this_machine(folder: Path, edgewright: Program) -> None:
    own(folder, "board")
    shown = edgewright("targets")
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    names = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert names == [*builtin_names(), "board", "host"]
    machine = this_machine()
    fitting = [name for name in (*builtin_names(), "board") if not mismatches(load_target(name), machine)]
    assert sum(line.strip() == "fits this machine" for line in lines) == len(fitting)
    assert lines[-1].endswith(host_target().name)


def test_the_list_as_json_is_one_document(folder: Path, edgewright: Program) -> None:
    shown = edgewright("targets", "list", "--json")
    document = json.loads(shown.out)
    assert document["schema"] == 1
    assert [entry["name"] for entry in document["targets"]] == list(builtin_names())
    machine = this_machine()
    for entry in document["targets"]:
        target = load_target(entry["name"])
        assert (entry["runtime"], entry["summary"]) == (target.runtime, target.summary)
        assert entry["fits_here"] is not bool(mismatches(target, machine))


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_broken_profiles_hide_no_whole_ones(folder: Path, edgewright: Program, option: list[str]) -> None:
    own(folder, "broken", "name: broken\n")
    own(folder, "worse", "threads: [\n")
    own(folder, "whole")
    shown = edgewright("targets", *option)
    assert shown.code == 2
    for name in (*builtin_names(), "whole"):
        assert name in shown.out
    assert "targets/broken.yaml: summary: expected a value" in shown.err
    assert "targets/broken.yaml: isa: expected a value" in shown.err
    assert "targets/worse.yaml: line 2" in shown.err


def test_show_prints_a_profile_that_can_be_used_as_one(folder: Path, edgewright: Program) -> None:
    shown = edgewright("targets", "show", "x86-avx2")
    (folder / "copy.yaml").write_text(shown.out)
    assert (shown.code, shown.err) == (0, "")
    assert load_target("./copy.yaml") == load_target("x86-avx2")


def test_show_as_json_holds_the_same(edgewright: Program) -> None:
    document = json.loads(edgewright("targets", "show", "x86-avx512-vnni", "--json").out)
    assert document["schema"] == 1
    lists = {key: tuple(value) for key, value in document["target"]["isa"].items() if isinstance(value, list)}
    assert lists == {"flags": load_target("x86-avx512-vnni").isa.flags}
    assert Target.model_validate_json(json.dumps(document["target"]), strict=False) == load_target("x86-avx512-vnni")


def test_show_knows_host_names_and_files(folder: Path, edgewright: Program) -> None:
    path = own(folder, "board")
    assert f"name: {host_target().name}\n" in edgewright("targets", "show").out
    assert edgewright("targets", "show", "host").out == edgewright("targets", "show").out
    for name in ("board", "targets/board.yaml", path):
        assert "name: board\n" in edgewright("targets", "show", name).out


def test_show_of_a_name_that_is_not_there(edgewright: Program) -> None:
    shown = edgewright("targets", "show", "x86-avx")
    assert (shown.code, shown.out) == (2, "")
    assert "expected one of" in shown.err
    assert "got 'x86-avx'" in shown.err


def test_probe_writes_a_profile_that_fits_this_machine(folder: Path, edgewright: Program) -> None:
    shown = edgewright("targets", "probe", "board", "--out", "board.yaml")
    assert (shown.code, shown.out) == (0, "board.yaml: written; use it with --target ./board.yaml\n")
    target = load_target("./board.yaml")
    assert target.name == "board"
    assert mismatches(target, this_machine()) == ()
    assert (folder / "board.yaml").read_text() == edgewright("targets", "probe", "board").out
    absolute = edgewright("targets", "probe", "board", "--out", folder / "other.yaml")
    assert absolute.out == f"{folder / 'other.yaml'}: written; use it with --target {folder / 'other.yaml'}\n"


def test_probe_names_the_profile_itself_where_nobody_does(edgewright: Program) -> None:
    assert "name: my-machine\n" in edgewright("targets", "probe").out


def test_probe_writes_over_nothing(folder: Path, edgewright: Program) -> None:
    (folder / "board.yaml").write_text("mine")
    shown = edgewright("targets", "probe", "board", "--out", "board.yaml")
    assert (shown.code, shown.out) == (2, "")
    assert "board.yaml: --out: expected a new file, got file exists" in shown.err
    assert (folder / "board.yaml").read_text() == "mine"
    assert "no such file or directory" in edgewright("targets", "probe", "--out", "none/board.yaml").err


def test_probe_refuses_a_name_that_no_profile_may_have(folder: Path, edgewright: Program) -> None:
    for name in ("x86-avx2", "host", "My Board"):
        shown = edgewright("targets", "probe", name, "--out", "board.yaml")
        assert (shown.code, shown.out) == (2, "")
        assert "probe: name: expected a name of the form" in shown.err
    assert not (folder / "board.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "x86-avx2"], "edgewright targets show x86-avx2"),
        (["list", "--out", "file"], "--out is where probe writes"),
        (["show", "host", "--out", "file"], "--out is where probe writes"),
        (["probe", "--json"], "--json is for list and show"),
    ],
)
def test_what_would_be_ignored_is_refused(arguments: list[str], message: str, edgewright: Program) -> None:
    shown = edgewright("targets", *arguments)
    assert (shown.code, shown.out) == (2, "")
    assert message in shown.err
