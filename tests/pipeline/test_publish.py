"""Publishing: an artifact's folder is whole or not there, and an older one stays until the new one is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edgewright.ir.errors import InputError, StepError
from edgewright.ir.progress import Silent
from edgewright.pipeline.publish import check_writable, is_current, replace_folder
from edgewright.pipeline.store import Store
from edgewright.ship import manifest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", Silent())


def write(text: str) -> Any:
    """Fills a folder as an artifact's."""

    def fill(folder: Path) -> None:
        (folder / manifest.FILE).write_text(text)

    return fill


def hidden(folder: Path) -> list[str]:
    """What lies beside the folder that no user should see."""
    return [path.name for path in folder.parent.iterdir() if path.name.startswith(".")]


def test_a_folder_appears_whole_and_is_replaced_by_the_next(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "artifact"
    for text in ("first", "second"):
        replace_folder(folder, write(text), store)
        assert (folder / manifest.FILE).read_text() == text
        assert hidden(folder) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), StepError("no"), KeyboardInterrupt()])
def test_what_fails_while_it_is_written_leaves_the_older_one(
    error: BaseException, tmp_path: Path, store: Store
) -> None:
    folder = tmp_path / "artifact"
    replace_folder(folder, write("first"), store)

    def fail(fresh: Path) -> None:
        write("half")(fresh)
        raise error

    expected = StepError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        replace_folder(folder, fail, store)
    assert (folder / manifest.FILE).read_text() == "first"
    assert hidden(folder) == []


def test_an_older_one_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "artifact"
    replace_folder(folder, write("first"), store)
    rename = Path.rename

    def refuse(self: Path, target: Any) -> Path:
        if self.name.endswith(".new"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StepError, match="Input/output error"):
        replace_folder(folder, write("second"), store)
    assert (folder / manifest.FILE).read_text() == "first"


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "artifact"
    replace_folder(folder, write("first"), store)
    folder.rename(tmp_path / ".artifact.old")
    (tmp_path / ".artifact.new").mkdir()

    def fail(fresh: Path) -> None:
        raise StepError("no")

    with pytest.raises(StepError):
        replace_folder(folder, fail, store)
    assert (folder / manifest.FILE).read_text() == "first"
    assert hidden(folder) == []


@pytest.mark.parametrize("is_file", [True, False])
def test_what_is_no_artifact_is_not_replaced(is_file: bool, tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "artifact"
    mine = folder if is_file else folder / "thesis.tex"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"--out: expected an artifact to replace, or nothing"):
        replace_folder(folder, write("new"), store)
    assert mine.read_text() == "mine"


def test_an_empty_folder_may_be_filled(tmp_path: Path, store: Store) -> None:
    (tmp_path / "artifact").mkdir()
    replace_folder(tmp_path / "artifact", write("new"), store)
    assert (tmp_path / "artifact" / manifest.FILE).read_text() == "new"


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "out")
    assert list((tmp_path / "new" / "out").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out: expected a folder that can be written, got not a directory"):
        check_writable(tmp_path / "file" / "out")


def test_a_published_artifact_lists_every_file_of_its_own(built: Any) -> None:
    for folder in (built.artifact, built.artifact / "baseline"):
        found = manifest.read(folder)
        inside = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert set(found.files) == {name for name in inside if not name.startswith("baseline/")} - {manifest.FILE}
        assert (folder / found.main).is_file()
    found = manifest.read(built.artifact)
    assert [(entry.name, entry.shape) for entry in found.inputs] == [("image", (1, 1, 8, 8))]
    assert [entry.name for entry in found.outputs] == ["output"]
    assert [text.partition("{")[0] for text in found.steps][-1] == "insert-quantization"


def test_a_current_artifact_is_this_build_undamaged_with_its_baseline(built: Any, tmp_path: Path) -> None:
    copy = built.copied(tmp_path)
    found = manifest.read(copy.artifact)
    assert is_current(copy.artifact, found.build, found.results)
    assert not is_current(copy.artifact, "another build", found.results)
    assert not is_current(copy.artifact, found.build, {**found.results, "status": "over-budget"})
    assert not is_current(tmp_path / "nothing", found.build, found.results)
    baseline = copy.artifact / "baseline" / "model.onnx"
    content = baseline.read_bytes()
    baseline.write_bytes(content[:-1])
    assert not is_current(copy.artifact, found.build, found.results)
    baseline.write_bytes(content)
    assert is_current(copy.artifact, found.build, json.loads(json.dumps(found.results)))
