"""What a pass is: the Protocol it follows, what it may answer when planned, and what it is handed when run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, runtime_checkable

from ..ir.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..ir.facts import Aspect, Fact
    from ..ir.state import ModelState
    from ..recipe.datasets import Data
    from ..recipe.other_networks import OtherNetwork
    from ..recipe.schema import Recipe
    from ..targets import Target


@dataclass(frozen=True)
class Exact:
    """The pass leaves every output bit as it was."""


@dataclass(frozen=True)
class Close:
    """The outputs move by rounding only: |after - before| <= relative * max|before| on the probe batch."""

    relative: float


@dataclass(frozen=True)
class Lossy:
    """The outputs change on purpose; `why` says what is given up. Accuracy is judged on the artifact."""

    why: str


Numerics = Exact | Close | Lossy


@dataclass(frozen=True)
class Skip:
    """Something that the recipe asks for and this target will not get, with a reason that a user can act on."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


Measure = Callable[["ModelState"], float]
"""Latency in nanoseconds (median) of a state on the build's device."""


Score = Callable[["Tensor", "Tensor"], float]
"""The task's metric, the higher the better, from all outputs (N, ...) and labels (N, ...); budgets count in it."""


@dataclass(frozen=True)
class Context:
    """What a running pass may use beside its own fields. None of it says which target is being built for.

    `say` records a decision and its reason in the history; `scratch` is this step's own folder, which survives a
    kill, for checkpoints; `measure` is None where the caller can't measure, `score` where it has no task. `original`
    gives the recipe's network as it was before any pass, anew each time, and `other` another network of the recipe
    (see `ReadsNetworks`); they are None where the caller has no recipe.
    """

    data: Data
    task: str
    seed: int
    scratch: Path
    say: Callable[[str], None]
    progress: Progress = field(default_factory=Silent)
    measure: Measure | None = None
    score: Score | None = None
    original: Callable[[], nn.Module] | None = None
    other: Callable[[OtherNetwork], nn.Module] | None = None


class Pass(Protocol):
    """A frozen dataclass whose fields are all its inputs; the class-level declarations are checked when it runs."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Fact]]
    makes: ClassVar[frozenset[Fact]]
    touches: ClassVar[frozenset[Aspect]]
    keeps: ClassVar[frozenset[Fact]]
    numerics: ClassVar[Numerics]
    asks: ClassVar[str | None]
    """The recipe key that asks for this pass ("compress.prune"); None where other passes' needs bring it in."""
    decides: ClassVar[str]
    """What is decided only when built, and by what ("which channels go, by their importance"); may be empty."""

    @property
    def reads(self) -> frozenset[str]:
        """The data splits that a run reads ("train", "calibration"); their fingerprints are part of the cache key."""
        ...

    @classmethod
    def for_target(cls, target: Target, recipe: Recipe) -> Self | Skip | None:
        """The pass as this target wants it, a Skip with its reason, or None: the recipe chose another way."""
        ...

    def run(self, state: ModelState, context: Context) -> ModelState:
        """The state with this pass's work done on it; facts, history and sha256 are the manager's to set."""
        ...


@runtime_checkable
class ReadsNetworks(Protocol):
    """A pass that reads networks of the recipe beside the one that is built; the cache key has their fingerprints."""

    @property
    def networks(self) -> tuple[OtherNetwork, ...]: ...


@runtime_checkable
class Measures(Protocol):
    """A pass that asks how long states take, where that can be measured; the cache key then has the device."""

    @property
    def measures(self) -> bool: ...


@runtime_checkable
class Remarks(Protocol):
    """A pass that does the same for every target, but not for the same gain: the plan says what comes of it there."""

    def remark(self, target: Target) -> str: ...


def breaks(step: Pass | type[Pass], fact: Fact) -> bool:
    """Whether the pass ends the fact: it touches what the fact rests on and neither makes nor keeps it."""
    return bool(step.touches & fact.rests_on) and fact not in step.makes and fact not in step.keeps


def facts_after(step: Pass | type[Pass], facts: frozenset[Fact]) -> frozenset[Fact]:
    """The facts that stand after the pass ran on a model of which `facts` were true."""
    return frozenset(fact for fact in facts if not breaks(step, fact)) | step.makes
