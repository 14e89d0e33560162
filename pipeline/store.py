"""The step cache: sealed folders found by key, written whole or not at all, shared by builds that run at once.

An entry is a folder that appears by one rename, with a seal that names every file's size and SHA-256. An entry whose
seal does not fit is removed, said, and made again. Locks are advisory file locks (flock), which die with their process.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..ir.errors import InputError, Problem, StepError
from ..ir.progress import Progress

_SEAL = "seal.json"
_TAG = "CACHEDIR.TAG"
_PIECE = 2**20
_TAG_TEXT = """\
Signature: 8a477f597d28d172789f06886806bc55
# edgewright's step cache; `edgewright cache prune` makes it smaller. See https://bford.info/cachedir/
"""
"""Backups leave a folder with this file out, and `prune` removes nothing where it is not."""


def default_root() -> Path:
    """$EDGEWRIGHT_CACHE, else edgewright's folder in the user's cache folder (XDG base directory specification)."""
    if named := os.environ.get("EDGEWRIGHT_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgewright"


def devices_folder() -> Path:
    """Where devices that have to be made lie: beside the cache, which is pruned and they are not."""
    root = default_root()
    return root.with_name(f"{root.name}-devices")


@dataclass(frozen=True)
class Usage:
    """What the cache holds: how many entries, and how many bytes of each kind (`scratch` is unfinished work)."""

    entries: int
    bytes_by_kind: dict[str, int]

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return sum(self.bytes_by_kind.values())


class Store:
    """Entries of some kind ("steps", "artifacts", "results") by key; see the module's text."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self.root = root
        self._progress = progress
        try:
            root.mkdir(parents=True, exist_ok=True)
            if not any(root.iterdir()):
                (root / _TAG).write_text(_TAG_TEXT)
            for name in ("steps", "artifacts", "results", "scratch", "stamps", "locks", "unfinished"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(Problem(str(root), "cache", "a folder that can be written", reason)) from None

    @property
    def stamps(self) -> Path:
        """Where the recipe room keeps the fingerprints that it computed."""
        return self.root / "stamps"

    def scratch(self, key: str) -> Path:
        """A folder of the step's own that survives a kill; `put` of the step removes it."""
        folder = self.root / "scratch" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def find(self, kind: str, key: str) -> Path | None:
        """The entry's folder, or None. A damaged entry is removed, with a warning, and counts as absent."""
        folder = self.root / kind / key
        if not folder.is_dir():
            return None
        if damage := _damage(folder):
            self._progress.warn(f"cache entry {kind}/{key[:12]} is damaged ({damage}); it is made again")
            shutil.rmtree(folder, ignore_errors=True)
            return None
        os.utime(folder)
        return folder

    def put(self, kind: str, key: str, write: Callable[[Path], None]) -> Path:
        """The entry that `write` fills, in place by one rename. Where another build was faster, its entry stays."""
        folder = self.root / kind / key
        unfinished = self.root / "unfinished" / f"{key}.{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir()
            write(unfinished)
            _seal(unfinished)
            unfinished.rename(folder)
        except OSError as error:
            if not (error.errno in (errno.ENOTEMPTY, errno.EEXIST) and folder.is_dir()):
                raise storage_error(error, self.root) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(self.root / "scratch" / key, ignore_errors=True)
        return folder

    def drop(self, kind: str, key: str) -> None:
        """There is no such entry, whether or not there was one."""
        shutil.rmtree(self.root / kind / key, ignore_errors=True)

    def find_json(self, key: str) -> dict[str, Any] | None:
        """The result that `put_json` kept under the key, or None."""
        folder = self.find("results", key)
        return None if folder is None else dict(json.loads((folder / "result.json").read_text()))

    def put_json(self, key: str, document: object) -> None:
        """The JSON document is kept under the key."""
        self.put("results", key, lambda folder: _write_text(folder / "result.json", json.dumps(document)))

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Only one build at a time is inside for one name; the others wait, and say so."""
        with exclusive(self.root / "locks" / name, self._progress):
            yield

    def usage(self) -> Usage:
        """Entries and bytes as they are now."""
        kinds = ("steps", "artifacts", "results", "stamps", "scratch", "unfinished")
        entries = sum(1 for kind in kinds[:3] for _ in (self.root / kind).iterdir())
        return Usage(entries, {kind: _bytes_below(self.root / kind) for kind in kinds})

    def prune(self, older_than_seconds: float, keep_bytes: int | None = None) -> int:
        """The bytes freed: entries unused for so long go, then the longest unused until `keep_bytes` are left.

        InputError where the folder held other things before it was used as a cache: they may be called like ours.
        """
        if not (self.root / _TAG).is_file():
            found = f"a folder of other things too (it has no {_TAG}); nothing was removed"
            raise InputError(Problem(str(self.root), "cache", "a folder that edgewright made as its cache", found))
        before = self.usage().total_bytes
        now = time.time()
        entries = [
            folder for kind in ("steps", "artifacts", "results", "scratch") for folder in (self.root / kind).iterdir()
        ]
        entries.sort(key=lambda folder: folder.stat().st_mtime)
        left = before
        for folder in entries:
            is_old = now - folder.stat().st_mtime >= older_than_seconds
            is_too_much = keep_bytes is not None and left > keep_bytes
            if is_old or is_too_much:
                left -= _bytes_below(folder)
                shutil.rmtree(folder, ignore_errors=True)
        for folder in (self.root / "unfinished").iterdir():
            if not _is_running(folder.name.rpartition(".")[2]):
                shutil.rmtree(folder, ignore_errors=True)
        return before - self.usage().total_bytes


def storage_error(error: OSError, place: Path) -> StepError:
    """What a full or read-only disk means for the person who builds."""
    reason = error.strerror or str(error)
    return StepError(
        f"{place}: could not be written: {reason}. Finished steps are kept; mend this and run the build again"
    )


@contextmanager
def exclusive(path: Path, progress: Progress) -> Iterator[None]:
    """The lock file `path` is held; waits, and says so, while another process holds it."""
    try:
        handle = path.open("a")
    except OSError as error:
        raise storage_error(error, path.parent) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.note("waiting for another build that is at the same work")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def sha256_of(path: Path) -> str:
    """The SHA-256 of the file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def compressed_size(path: Path) -> int:
    """How many bytes zlib, at its default level, makes of the file; it is read in pieces."""
    packer, size = zlib.compressobj(), 0
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            size += len(packer.compress(piece))
    return size + len(packer.flush())


def _seal(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    seal = {str(path.relative_to(folder)): [path.stat().st_size, sha256_of(path)] for path in files}
    _write_text(folder / _SEAL, json.dumps(seal))


def _damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder; None where nothing is."""
    try:
        seal = json.loads((folder / _SEAL).read_text())
        for name, (size, digest) in seal.items():
            if (folder / name).stat().st_size != size or sha256_of(folder / name) != digest:
                return f"{name} is not what was written"
    except (OSError, ValueError, AttributeError) as error:
        return str(error)
    return None


def _write_text(path: Path, text: str) -> None:
    with path.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _bytes_below(folder: Path) -> int:
    if folder.is_file():
        return folder.stat().st_size
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
