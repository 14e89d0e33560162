"""`edgewright cache`: what the step cache holds, and making it smaller without touching anything else."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Program = Callable[..., Any]


@pytest.fixture
def cache(built: Any, tmp_path: Path) -> Path:
    """A copy of the cache of a real build."""
    folder: Path = built.copied(tmp_path).cache
    return folder


def entries(cache: Path) -> list[Path]:
    return [entry for kind in ("steps", "artifacts", "results") for entry in (cache / kind).iterdir()]


def usage(edgewright: Program, cache: Path) -> Any:
    return json.loads(edgewright("cache", "--cache", cache, "--json").out)


def test_it_shows_entries_and_sizes_by_kind(cache: Path, edgewright: Program) -> None:
    shown = edgewright("cache", "--cache", cache)
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0].startswith(f"{cache}: {len(entries(cache))} entries, ")
    assert [line.split()[0] for line in lines[1:]] == [
        *("steps", "artifacts", "results"),
        *("stamps", "scratch", "unfinished"),
    ]


def test_json_is_one_document_with_bytes(cache: Path, edgewright: Program) -> None:
    document = usage(edgewright, cache)
    assert (document["schema"], document["path"], document["freed"]) == (1, str(cache), 0)
    assert document["entries"] == len(entries(cache))
    for kind, total_bytes in document["bytes"].items():
        assert total_bytes == sum(path.stat().st_size for path in (cache / kind).rglob("*") if path.is_file())


def test_the_environment_names_the_cache(cache: Path, edgewright: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(cache))
    assert edgewright("cache").out.startswith(f"{cache}: ")


def test_prune_keeps_what_was_used_lately(cache: Path, edgewright: Program) -> None:
    before = len(entries(cache))
    shown = edgewright("cache", "prune", "--cache", cache)
    assert shown.code == 0
    assert shown.out.startswith("freed 0.0 MiB\n")
    assert len(entries(cache)) == before
    old = entries(cache)[0]
    os.utime(old, (time.time() - 31 * 86400,) * 2)
    edgewright("cache", "prune", "--cache", cache)
    assert len(entries(cache)) == before - 1
    assert not old.exists()


def test_prune_by_days_and_by_size(cache: Path, edgewright: Program) -> None:
    total_bytes = sum(usage(edgewright, cache)["bytes"].values())
    half_mib = total_bytes / 2 / 2**20
    document = json.loads(edgewright("cache", "prune", "--cache", cache, "--keep-mib", half_mib, "--json").out)
    assert document["freed"] >= total_bytes / 2
    assert 0 < sum(document["bytes"].values()) <= total_bytes / 2
    document = json.loads(edgewright("cache", "prune", "--cache", cache, "--days", 0, "--json").out)
    assert document["entries"] == 0


def test_prune_touches_nothing_in_a_folder_that_is_no_cache(tmp_path: Path, edgewright: Program) -> None:
    thesis = tmp_path / "results" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("three years of work")
    shown = edgewright("cache", "prune", "--days", "0", "--cache", tmp_path)
    assert (shown.code, shown.out) == (2, "")
    assert "nothing was removed" in shown.err
    assert thesis.read_text() == "three years of work"


def test_a_cache_that_is_not_there_is_said_and_not_made(tmp_path: Path, edgewright: Program) -> None:
    for action in ("show", "prune"):
        shown = edgewright("cache", action, "--cache", tmp_path / "none")
        assert (shown.code, shown.out) == (0, f"{tmp_path / 'none'}: no cache there yet\n")
    document = json.loads(edgewright("cache", "--cache", tmp_path / "none", "--json").out)
    assert (document["entries"], document["bytes"], document["freed"]) == (0, {}, 0)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("option", ["--days", "--keep-mib"])
def test_what_show_would_ignore_is_refused(cache: Path, edgewright: Program, option: str) -> None:
    shown = edgewright("cache", "show", option, "1", "--cache", cache)
    assert (shown.code, shown.out) == (2, "")
    assert "edgewright cache prune" in shown.err
    assert edgewright("cache", "prune", option, "-1", "--cache", cache).code == 2


def test_a_place_that_cannot_be_a_cache_is_refused(tmp_path: Path, edgewright: Program) -> None:
    (tmp_path / "file").write_text("")
    shown = edgewright("cache", "--cache", tmp_path / "file")
    assert (shown.code, shown.out) == (2, "")
    assert "file: cache: expected a folder that can be written, got" in shown.err
    assert "Errno" not in shown.err
