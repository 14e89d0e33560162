"""The ways in which `bench` times an artifact: of which file, in which batch, with a CUDA graph or without."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..devices.agent.commands import RUNTIMES
from ..ir.errors import InputError, Problem
from ..runtimes.batches import batch_range
from ..runtimes.tensorrt_build import settings
from ..ship import manifest
from ..ship.manifest import Manifest
from .publish import BASELINE_FOLDER

ARTIFACT, AGAINST, GRAPH = "artifact", "against", "CUDA graph"
PRECISIONS = ("fp32", "bf16", "fp16", "fp8", "int8")
"""The precisions that a model's file may name, from the widest; the first that there is, is what others are held to."""
_MODEL = re.compile(r"model\.(\w+)\.onnx")
_FLAGS = {"batch": "--batch", "cuda_graph": "--cuda-graph", "events": "--events"}
"""Load options of the agent's runtimes that `bench` has a flag for."""


@dataclass(frozen=True)
class Asked:
    """What `bench` was asked to try: batches, CUDA graphs (None: both, where there are any), precisions.

    `events`: the engine alone is timed too, without the copies.
    """

    batches: tuple[int, ...] = ()
    cuda_graph: bool | None = None
    events: bool = False
    precisions: bool = False


AS_IT_IS = Asked()


@dataclass(frozen=True)
class Way:
    """One artifact's file in one way. `precision` is empty where no others stand beside it, `batch` None: its own."""

    role: str
    folder: Path
    found: Manifest
    file: str
    precision: str = ""
    batch: int | None = None
    has_graph: bool = False
    has_events: bool = False

    @property
    def name(self) -> str:
        """What reports call it."""
        batch = "" if self.batch is None else f"batch {self.batch}"
        graph = GRAPH if self.has_graph else ""
        return ", ".join(part for part in (self.precision or self.role, batch, graph) if part)

    @property
    def options(self) -> dict[str, Any]:
        """Those of the runtime's adapter in devices/agent."""
        batch = self.batch if _own_batch(self.found) is None else None
        given = {"batch": batch, "cuda_graph": self.has_graph, "events": self.has_events}
        return {name: value for name, value in given.items() if value}

    def to_json(self) -> dict[str, Any]:
        """What `bench --json` says of it."""
        more = {"batch": self.batch, "cuda_graph": self.has_graph, "events": self.has_events}
        return {"artifact": str(self.folder), "file": self.file, "precision": self.precision or None, **more}

    def is_beside(self, base: Way) -> bool:
        """Whether the two differ in one thing: the artifact, its precision, or the graph, which only this one has."""
        differs = [self.role != base.role, self.precision != base.precision, self.has_graph != base.has_graph]
        return self.batch == base.batch and sum(differs) == 1 and self.has_graph >= base.has_graph


def ways(artifact: Path, against: Path | None, asked: Asked) -> list[list[Way]]:
    """What is timed in turns, batch by batch. InputError for all that the artifacts' runtimes do not take."""
    folders = {ARTIFACT: artifact} if against is None else {AGAINST: against, ARTIFACT: artifact}
    found = {role: manifest.read(folder) for role, folder in folders.items()}
    problems = [problem for role, folder in folders.items() for problem in _problems(folder, found[role], asked)]
    if asked.precisions and against is not None:
        problems.append(
            Problem("bench", "--precisions", "one artifact, of which all precisions are timed", "--against")
        )
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    files = [(role, folder, found[role], found[role].main, "") for role, folder in folders.items()]
    if asked.precisions:
        files = [(ARTIFACT, *each) for each in _precisions(artifact, found[ARTIFACT])]
    graphs = _graphs(asked, list(found.values()), against is not None)
    return [
        [Way(*file, batch, graph, asked.events) for graph in graphs for file in files]
        for batch in asked.batches or (None,)
    ]


def pairs(group: Sequence[Way]) -> Iterator[tuple[Way, Way]]:
    """(base, other) of ways that are worth a ratio: each beside the first that differs in one thing."""
    for index, way in enumerate(group):
        for base in group[:index]:
            if way.is_beside(base) and base.precision in (group[0].precision, way.precision):
                yield base, way


def _graphs(asked: Asked, found: Sequence[Manifest], is_compared: bool) -> tuple[bool, ...]:
    """With and without a CUDA graph: both where nothing else was said and nothing else is compared."""
    has_any = all("cuda_graph" in _options(each) for each in found)
    if asked.cuda_graph is None:
        return (False, True) if has_any and not is_compared else (False,)
    return (asked.cuda_graph,)


def _problems(folder: Path, found: Manifest, asked: Asked) -> Iterator[Problem]:
    """Each thing that was asked for and the artifact's runtime does not take."""
    own = _own_batch(found)
    known = _options(found)
    given = {"batch": asked.batches and own is None, "cuda_graph": asked.cuda_graph is not None, "events": asked.events}
    taken = " and ".join(flag for option, flag in _FLAGS.items() if option in known and (option != "batch" or not own))
    for option, is_given in given.items():
        if is_given and option not in known:
            expected = f"what an artifact for {found.runtime} takes: {taken or 'no such option'}"
            is_refusal = option == "cuda_graph" and asked.cuda_graph is False
            yield Problem(str(folder), "bench", expected, "--no-cuda-graph" if is_refusal else _FLAGS[option])
    least, most = batch_range(found.runtime, folder, own) if asked.batches else (1, None)
    wrong = [size for size in asked.batches if size < least or (most is not None and size > most)]
    if wrong:
        yield Problem(str(folder), "--batch", _expected(least, most, own), ", ".join(map(str, wrong)))


def _options(found: Manifest) -> Mapping[str, type]:
    """The load options that the artifact's runtime takes; none of one that nobody here knows."""
    return RUNTIMES[found.runtime].options if found.runtime in RUNTIMES else {}


def _own_batch(found: Manifest) -> int | None:
    """The batch of the network; None where it is open."""
    shape = found.inputs[0].shape if found.inputs else None
    return shape[0] if shape else None


def _expected(least: int, most: int | None, own: int | None) -> str:
    if own is not None:
        return f"{own}, for which the artifact was built (a word in its place in model.inputs leaves the batch open)"
    if most is None:
        return f"{least} or more"
    return f"{least} to {most}, the range of the engine ({settings.FILE})"


def _precisions(artifact: Path, found: Manifest) -> list[tuple[Path, Manifest, str, str]]:
    """(folder, its manifest, file, what it is called), the widest first; of one precision the artifact's own network.

    InputError where the artifact holds one model only.
    """
    folders = {artifact: found}
    if (artifact / BASELINE_FOLDER / manifest.FILE).is_file():
        folders[artifact / BASELINE_FOLDER] = manifest.read(artifact / BASELINE_FOLDER)
    models: dict[str, tuple[Path, Manifest, str, str]] = {}
    for folder, each in folders.items():
        for file in each.files:
            if match := _MODEL.fullmatch(file):
                name = match[1] if folder == artifact else f"{match[1]} ({BASELINE_FOLDER})"
                models.setdefault(match[1], (folder, each, file, name))
    if len(models) < 2:
        expected = "an artifact with models of several precisions, as those for TensorRT are"
        hint = f"; --against {artifact / BASELINE_FOLDER} times it beside its float baseline"
        raise InputError(Problem(str(artifact), "--precisions", expected, f"one of {found.runtime}{hint}"))
    order = {name: rank for rank, name in enumerate(PRECISIONS)}
    return [models[name] for name in sorted(models, key=lambda name: order.get(name, len(order)))]
