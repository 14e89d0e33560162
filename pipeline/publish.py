"""The artifact's directory: whole or not there. What a team gets, and what later commands read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.errors import InputError, Problem
from ..runtimes import Port, Ports
from ..ship import manifest
from ..ship.manifest import Manifest, TensorEntry
from .keys import digest, runtime_version
from .parity import Golden
from .store import Store, storage_error

if TYPE_CHECKING:
    from ..benchmarks.latency import LatencyReport
    from .workshop import Made, Workshop

BASELINE_FOLDER, GOLDEN_FOLDER, REPORTS_FOLDER, PLAN_FILE = "baseline", "golden", "reports", "plan.txt"


def check_writable(out: Path) -> None:
    """`out` exists and takes a file; InputError otherwise, before any work is done."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".edgewright-{os.getpid()}"
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(Problem(str(out), "--out", "a folder that can be written", reason.lower())) from None


def check_replaceable(folder: Path) -> None:
    """InputError where something else than an artifact lies at `folder`: what a person put there is never replaced."""
    is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not is_free and not (folder / manifest.FILE).is_file():
        expected = "an artifact to replace, or nothing; give another --out, or move what is there away"
        raise InputError(Problem(str(folder), "--out", expected, f"something without a {manifest.FILE}"))


def replace_folder(folder: Path, write: Callable[[Path], None], store: Store) -> None:
    """`folder` is what `write` filled, put in its place by renaming; an older one stays until the new one is whole.

    InputError as by `check_replaceable`.
    """
    check_replaceable(folder)
    fresh, old = folder.parent / f".{folder.name}.new", folder.parent / f".{folder.name}.old"
    with store.lock(f"publish-{digest(str(folder.resolve()))}"):
        try:
            _put_back(old, folder)
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            write(fresh)
            if folder.exists():
                folder.rename(old)
            fresh.rename(folder)
        except OSError as error:
            raise storage_error(error, folder) from error
        finally:
            _put_back(old, folder)
            shutil.rmtree(fresh, ignore_errors=True)


def _put_back(old: Path, folder: Path) -> None:
    """What was moved out of the way is in its place again, if nothing new came there; otherwise it is gone."""
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def is_current(folder: Path, build: str, results: dict[str, Any]) -> bool:
    """Whether the folder holds, undamaged, exactly the artifact and the results of this build, and its baseline."""
    try:
        found = manifest.read(folder)
        manifest.read(folder / BASELINE_FOLDER)
    except InputError:
        return False
    return found.build == build and found.results == json.loads(json.dumps(results))


def write_artifact(
    folder: Path,
    workshop: Workshop,
    made: Made,
    *,
    target: str,
    threads: int,
    golden: Golden,
    plan_text: str,
    report: LatencyReport | None,
    results: dict[str, Any],
) -> None:
    """`folder` holds the runtime's files, plan.txt, golden vectors, the raw latency samples and the manifest."""
    folder.mkdir(exist_ok=True)
    for name in made.emitted.files:
        shutil.copyfile(made.folder / name, folder / name)
    (folder / PLAN_FILE).write_text(plan_text)
    golden.write(folder / GOLDEN_FOLDER)
    if report is not None:
        (folder / REPORTS_FOLDER).mkdir()
        (folder / REPORTS_FOLDER / "latency.json").write_text(json.dumps(report.to_json()))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    about = workshop.recipe.about
    notes = {name: note.model_dump() for name, note in about.inputs.items()}
    Manifest(
        edgewright=_version(),
        build=made.key,
        target=target,
        runtime=made.runtime,
        runtime_version=runtime_version(made.runtime),
        task=workshop.recipe.task,
        threads=threads,
        main=made.emitted.main,
        files={path.relative_to(folder).as_posix(): manifest.entry_of(path) for path in files},
        inputs=tuple(
            TensorEntry(
                name=spec.name,
                shape=spec.shape,
                dtype=spec.dtype,
                **_as_port(spec.name, made.emitted.ports.inputs),
                **notes.get(spec.name, {}),
            )
            for spec in workshop.inputs
        ),
        outputs=tuple(
            TensorEntry(name=name, step=step, labels=about.labels, **_as_port(name, made.emitted.ports.outputs))
            for name, step in golden.steps.items()
        ),
        steps=tuple(step.text for step in made.steps),
        about={key: text for key, text in about.model_dump(exclude={"labels", "inputs"}).items() if text},
        results=results,
    ).write(folder)


def _as_port(name: str, ports: tuple[Port, ...]) -> dict[str, Any]:
    """What the manifest says of an input or output that the file has in another form than the network."""
    for port in ports:
        if port.name == name:
            form = {"scale": port.scale, "zero_point": port.zero_point, "channels_last": port.channels_last}
            return {"artifact_dtype": port.dtype, **form}
    return {}


def ports_of(found: Manifest) -> Ports:
    """The forms of inputs and outputs that a manifest tells."""

    def side(entries: tuple[TensorEntry, ...]) -> tuple[Port, ...]:
        return tuple(
            Port(entry.name, entry.artifact_dtype, entry.scale, entry.zero_point, entry.channels_last)
            for entry in entries
            if entry.artifact_dtype is not None
        )

    return Ports(side(found.inputs), side(found.outputs))


def _version() -> str:
    from .. import __version__

    return __version__
