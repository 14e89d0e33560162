"""Recipe: the user's file, read strictly; every mistake of a file is reported at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..ir import documents
from ..ir.errors import InputError, Problem
from .about import About
from .distillation import Distill
from .factorization import Factorize
from .parts import Names, Part, existing, some
from .pruning import Prune
from .quantization import Quantize
from .references import Callable, Source, callable_reference
from .sharing import ShareWeights
from .training import Recover
from .user_code import split_reference

TASKS = ("classification", "multilabel", "regression")
"""The tasks that bring their own loss and metrics."""
OVERRIDE = "--set"
"""Where messages say that a value came from when it was not the recipe's file."""


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _shape(value: Any) -> tuple[int | str, ...]:
    sizes = tuple(value) if isinstance(value, list | tuple) else ()
    is_batch = bool(sizes) and (_is_size(sizes[0]) or (isinstance(sizes[0], str) and sizes[0].isidentifier()))
    if not is_batch or not all(_is_size(size) for size in sizes[1:]):
        raise ValueError("a list of sizes above 0, of which the first may be a word where the batch stays open")
    return sizes


def _task(value: str, info: ValidationInfo) -> str:
    if value in TASKS or split_reference(value) is not None:
        return value if value in TASKS else callable_reference(value, info)
    raise ValueError(f"one of {', '.join(TASKS)}, or file.py:callable")


class Input(Part):
    """One input of the network. The first axis is the batch: a number, or a word (`batch`) where it stays open."""

    shape: Annotated[tuple[int | str, ...], BeforeValidator(_shape)]
    dtype: Literal["float32", "int64", "int32"] = "float32"


class Batch(Part):
    """How many samples one inference takes where the batch stays open: the fewest, those to be fast at, the most.

    Only runtimes whose artifacts are built for a range, as TensorRT's engines, are bound by it.
    """

    min: int = Field(default=1, ge=1)
    best: int = Field(default=1, ge=1)
    max: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.min <= self.best <= self.max:
            raise ValueError(f"min <= best <= max, not {self.min}, {self.best}, {self.max} (where absent: 1, 1, 16)")
        if self.min == self.max:
            raise ValueError(f"min < max; one number, {self.max}, belongs into the inputs' shapes in place of the word")
        return self


class Model(Part):
    """Where the network and its weights come from. The inputs stand in the order of the network's arguments."""

    source: Source
    weights: Annotated[str, AfterValidator(existing)] | None = None
    inputs: Annotated[dict[str, Input], AfterValidator(some)]
    batch: Batch | None = None

    @field_validator("batch")
    @classmethod
    def _is_open(cls, value: Batch | None, info: ValidationInfo) -> Batch | None:
        fixed = {given.shape[0] for given in info.data.get("inputs", {}).values() if isinstance(given.shape[0], int)}
        if value is not None and fixed:
            raise ValueError(f"an open batch in the inputs' shapes ([batch, ...]), which fix it at {min(fixed)}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.weights is not None and split_reference(self.source) is None:
            raise ValueError(f"no weights: {self.source} holds its own")
        if len({given.shape[0] for given in self.inputs.values()}) > 1:
            raise ValueError("the same batch (the first axis) in every input")
        return self


class Compress(Part):
    """What to do to the network, never in which order."""

    prune: Prune | None = None
    factorize: Factorize | None = None
    sparsify: Literal["2:4"] | None = None
    """Which weights are zero, in a form that sparse kernels use."""
    recover: Recover | None = None
    distill: Distill | None = None
    share_weights: ShareWeights | None = None
    quantize: Quantize | None = None

    @model_validator(mode="after")
    def _one_recovery(self) -> Self:
        if self.recover is not None and self.distill is not None:
            raise ValueError("one of recover and distill: both train the compressed network")
        return self

    @model_validator(mode="after")
    def _one_choice_of_values(self) -> Self:
        if self.share_weights is not None and self.quantize is not None and self.quantize.rounding.method != "nearest":
            raise ValueError(
                "one of share_weights and quantize.rounding: learned rounding would take equal weights apart"
            )
        return self


class Budget(Part):
    """What the artifact must meet; a build that misses one exits with 3."""

    accuracy_drop_points: float | None = None
    flips_percent: float | None = Field(default=None, ge=0)
    latency_p50_ms: float | None = Field(default=None, gt=0)
    latency_p95_ms: float | None = Field(default=None, gt=0)
    artifact_kib: float | None = Field(default=None, gt=0)
    peak_memory_mib: float | None = Field(default=None, gt=0)


class Document(Part):
    """What stands in a recipe's file."""

    model: Model
    data: Callable
    task: Annotated[str, AfterValidator(_task)] = "classification"
    compress: Compress = Compress()
    budget: Budget = Budget()
    targets: Annotated[Names, AfterValidator(some)] = ("host",)
    about: About = About()
    threads: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)


class Recipe(Document):
    """One build, as the user wrote it. `path` is where it was read from; its folder is what paths are relative to."""

    path: Path = Field(exclude=True)

    @property
    def folder(self) -> Path:
        """What relative paths in the recipe are relative to."""
        return self.path.parent


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that the file holds, with `a.b.c=VALUE` (VALUE in YAML) in place of what it says there.

    Raises InputError with every problem of the file and the overrides, files that do not exist among them.
    """
    document, repeated = documents.read(path)
    keys = _apply(overrides, document)
    try:
        checked = Document.model_validate(document, context=path.absolute().parent)
    except ValidationError as error:
        problems = documents.problems_of(error, str(path), Document)
        raise InputError([*repeated, *(_attributed(problem, keys) for problem in problems)]) from None
    if problems := [*repeated, *_unknown_inputs(checked, str(path))]:
        raise InputError(problems)
    return Recipe(path=path.absolute(), **dict(checked))


def _unknown_inputs(document: Document, where: str) -> list[Problem]:
    known = ", ".join(document.model.inputs)
    unknown = [name for name in document.about.inputs if name not in document.model.inputs]
    return [
        Problem(where, f"about.inputs.{name}", f"one of the model's inputs: {known}", f"'{name}'") for name in unknown
    ]


def _apply(overrides: Sequence[str], document: dict[str, Any]) -> list[str]:
    """`document` holds the overrides' values; returns the keys that they set."""
    problems: list[Problem] = []
    keys: list[str] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            problems.append(Problem(OVERRIDE, "", "KEY=VALUE, as compress.prune.flops=0.4", repr(override)))
            continue
        try:
            given, repeated = documents.parse(f"value: {text}", OVERRIDE)
            problems.extend(repeated)
            _set(document, key, given["value"])
        except InputError as error:
            problems.extend(replace(problem, key=key) for problem in error.problems if isinstance(problem, Problem))
        keys.append(key)
    if problems:
        raise InputError(problems)
    return keys


def _set(document: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    current: Any = document
    for parent in parents:
        if current.get(parent) is None:
            current[parent] = {}
        current = current[parent]
        if not isinstance(current, dict):
            raise InputError(Problem(OVERRIDE, key, f"keys below '{parent}'", f"the value {current!r} there"))
    current[last] = copy.deepcopy(value)


def _attributed(problem: Problem, keys: Sequence[str]) -> Problem:
    """The problem, said of the command line where an override set the value."""
    is_override = any(f"{problem.key}.".startswith(f"{key}.") for key in keys)
    return replace(problem, where=OVERRIDE) if is_override else problem
