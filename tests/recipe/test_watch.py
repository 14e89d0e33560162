"""What code reads is heard of; what is installed is not."""

from __future__ import annotations

import os

import numpy
from edgewright.recipe.watch import collecting, is_installed, stamp_of, watching


def test_opened_files_and_listed_folders_are_heard_of(tmp_path):
    text, array, folder = tmp_path / "a.txt", tmp_path / "b.npz", tmp_path / "images"
    text.write_text("a")
    numpy.savez(array, x=numpy.zeros(3))
    folder.mkdir()
    stamps: dict[str, str] = {}
    with watching(stamps):
        text.read_text()
        numpy.load(array)["x"]
        list(folder.iterdir())
        (tmp_path / "written.txt").write_text("b")
    assert stamps == {str(path): stamp_of(str(path)) for path in (text, array, folder)}
    text.read_text()
    with watching({}):
        pass
    assert len(stamps) == 3


def test_the_first_stamp_stands(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("a")
    stamps: dict[str, str] = {}
    with watching(stamps):
        file.read_text()
        file.write_text("longer")
        file.read_text()
    assert stamps[str(file)] != stamp_of(str(file))


def test_collecting_hears_again_what_was_known_and_only_what_is_watched(tmp_path):
    file, other = tmp_path / "a.txt", tmp_path / "b.txt"
    file.write_text("a")
    other.write_text("b")
    stamps = {str(file): "known"}
    with collecting() as heard:
        other.read_text()
        with watching(stamps):
            file.read_text()
    assert stamps == {str(file): "known"}
    assert list(heard) == [str(file)]


def test_stamps_change_with_the_file_and_with_a_folders_names(tmp_path):
    file = tmp_path / "a.txt"
    assert stamp_of(str(file)) == ""
    empty = stamp_of(str(tmp_path))
    file.write_text("a")
    assert stamp_of(str(tmp_path)) != empty
    before = stamp_of(str(file))
    os.utime(file, ns=(1, 1))
    assert stamp_of(str(file)) != before


def test_installed_files_and_pseudo_files(tmp_path):
    assert is_installed(numpy.__file__)
    assert is_installed(os.__file__)
    assert is_installed("/proc/cpuinfo")
    assert not is_installed(str(tmp_path / "a.txt"))
