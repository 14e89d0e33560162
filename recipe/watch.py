"""Which files user code reads while it runs, so that what was computed from them can be kept until one changes.

Python tells of every file that it opens and every folder that it lists in an audit event (PEP 578). Files that a C
library opens by itself are not told of; `code_files.named_files` finds those that the code names.
"""

from __future__ import annotations

import functools
import hashlib
import os
import site
import stat
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Stamps = dict[str, str]
"""Absolute path -> `stamp_of` that path."""

_running: list[Stamps] = []
_collecting: list[Stamps] = []


def stamp_of(path: str) -> str:
    """Text that changes when the file's size or time does, or the names in a folder; empty where neither is there."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            return hashlib.sha256("\0".join(sorted(os.listdir(path))).encode()).hexdigest()
    except OSError:
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}" if stat.S_ISREG(status.st_mode) else ""


def is_installed(path: str) -> bool:
    """Whether the path belongs to Python's library or an installed package, whose versions stand for it, or to the
    system's pseudo files."""
    return path.startswith(_installed_folders())


@contextmanager
def watching(stamps: Stamps) -> Iterator[None]:
    """Every file that is read and folder that is listed while the context is open has its first stamp in `stamps`."""
    _install_hook()
    _running.append(stamps)
    try:
        yield
    finally:
        _running.pop()


@contextmanager
def collecting() -> Iterator[Stamps]:
    """What any `watching` inside hears of is in the yielded stamps too, whether or not it was heard of before."""
    stamps: Stamps = {}
    _collecting.append(stamps)
    try:
        yield stamps
    finally:
        _collecting.pop()


@functools.cache
def _install_hook() -> None:
    sys.addaudithook(_hear)


@functools.cache
def _installed_folders() -> tuple[str, ...]:
    libraries = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = {os.path.join(folder, "") for folder in [*libraries, *site.getsitepackages(), site.getusersitepackages()]}
    return (*sorted(folders), "/proc/", "/sys/", "/dev/")


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _running or event not in ("open", "os.listdir", "os.scandir"):
        return
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike):
        return
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        return
    if sys._getframe(1).f_code.co_filename.startswith("<frozen importlib"):
        return
    absolute = os.path.abspath(os.fsdecode(path))
    if is_installed(absolute):
        return
    for stamps in (_running[-1], *_collecting):
        if absolute not in stamps:
            stamps[absolute] = ""  # stamp_of lists folders itself and so comes by here again
            stamps[absolute] = stamp_of(absolute)
