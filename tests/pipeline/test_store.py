"""The step cache: whole or absent, repaired when damaged, safe for builds that run at once."""

from __future__ import annotations

import multiprocessing
import os
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from edgewright.ir.errors import InputError, StepError
from edgewright.ir.progress import Silent
from edgewright.pipeline.store import Store, compressed_size, default_root


def fill(text: str) -> Any:
    return lambda folder: (folder / "file").write_text(text)


def test_an_entry_is_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path, Silent())
    assert store.find("steps", "key") is None
    folder = store.put("steps", "key", fill("text"))
    assert store.find("steps", "key") == folder
    assert (folder / "file").read_text() == "text"


def test_the_size_of_a_compressed_file_is_zlibs_and_zeros_take_next_to_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(2**21 + 5) + b"some text")
    assert compressed_size(file) == len(zlib.compress(file.read_bytes()))
    file.write_bytes(bytes(2**21 + 5))
    assert compressed_size(file) == len(zlib.compress(bytes(2**21 + 5))) < 2**12


def test_json_results(tmp_path: Path) -> None:
    store = Store(tmp_path, Silent())
    assert store.find_json("key") is None
    store.put_json("key", {"value": 1.5})
    assert store.find_json("key") == {"value": 1.5}


def test_an_entry_that_was_dropped_makes_room_for_another(tmp_path: Path) -> None:
    store = Store(tmp_path, Silent())
    store.put_json("key", {"value": 1})
    store.put_json("key", {"value": 2})
    assert store.find_json("key") == {"value": 1}
    store.drop("results", "key")
    assert store.find_json("key") is None
    store.drop("results", "key")
    store.put_json("key", {"value": 2})
    assert store.find_json("key") == {"value": 2}


@pytest.mark.parametrize("name", ["file", "seal.json"])
def test_a_damaged_entry_is_said_and_made_again(tmp_path: Path, name: str, listener: Any) -> None:
    store = Store(tmp_path, listener)
    damaged = store.put("steps", "key", fill("text")) / name
    damaged.write_text("other")
    assert store.find("steps", "key") is None
    assert "steps/key is damaged" in listener.warnings[0]
    store.put("steps", "key", fill("text"))
    assert store.find("steps", "key") is not None


def test_what_fails_while_written_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, Silent())

    def fails(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise StepError("no")

    with pytest.raises(StepError, match="no"):
        store.put("steps", "key", fails)
    assert store.find("steps", "key") is None
    assert list((tmp_path / "unfinished").iterdir()) == []


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StepError, match=r"No space left on device\. Finished steps are kept"):
        Store(tmp_path, Silent()).put("steps", "key", full)


def test_scratch_survives_until_the_step_is_done(tmp_path: Path) -> None:
    store = Store(tmp_path, Silent())
    (store.scratch("key") / "checkpoint").write_text("half")
    assert (store.scratch("key") / "checkpoint").exists()
    store.put("steps", "key", fill("text"))
    assert not (tmp_path / "scratch" / "key").exists()


def _hold(root: Path, log: Path) -> None:
    with Store(root, Silent()).lock("work"), log.open("a") as stream:
        stream.write("in\n")
        stream.flush()
        time.sleep(0.2)
        stream.write("out\n")


def test_two_builds_take_turns(tmp_path: Path) -> None:
    log = tmp_path / "log"
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_hold, args=(tmp_path / "cache", log)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert log.read_text().split() == ["in", "out", "in", "out"]


def test_prune_removes_the_longest_unused_first(tmp_path: Path) -> None:
    store = Store(tmp_path, Silent())
    for age, key in enumerate(["new", "old"]):
        folder = store.put("steps", key, fill("x" * 1000))
        os.utime(folder, (time.time() - 1000 * age, time.time() - 1000 * age))
    assert store.prune(older_than_seconds=1e9, keep_bytes=1500) >= 1000
    assert store.find("steps", "new") is not None
    assert store.find("steps", "old") is None
    assert store.usage().entries == 1
    store.prune(older_than_seconds=0)
    assert store.usage().total_bytes == 0


def test_prune_removes_nothing_from_a_folder_that_was_not_made_for_it(tmp_path: Path) -> None:
    own = tmp_path / "results" / "thesis"
    own.mkdir(parents=True)
    store = Store(tmp_path, Silent())
    with pytest.raises(InputError, match=r"no CACHEDIR\.TAG.*nothing was removed"):
        store.prune(older_than_seconds=0)
    assert own.is_dir()


def test_leftovers_of_killed_builds_go_with_prune(tmp_path: Path) -> None:
    store = Store(tmp_path, Silent())
    (tmp_path / "unfinished" / "key.999999999").mkdir()
    (tmp_path / "unfinished" / f"key.{os.getpid()}").mkdir()
    store.prune(older_than_seconds=1e9)
    assert [folder.name for folder in (tmp_path / "unfinished").iterdir()] == [f"key.{os.getpid()}"]


def test_a_place_that_cannot_be_a_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cache: expected a folder that can be written"):
        Store(tmp_path / "file", Silent())


def test_the_default_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("EDGEWRIGHT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "edgewright"
