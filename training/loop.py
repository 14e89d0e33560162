"""Training that survives being killed: the one loop that passes share.

A run is cut into segments of at most SEGMENT_STEPS optimizer steps that never cross an epoch's end. Each segment
starts by seeding every generator from the run's seed and its own first step, and ends with a checkpoint; so a run
that was killed goes on from its last segment and ends with the same bits, and no generator's state is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..ir.errors import EdgewrightError, InputError, Problem, StepError
from .checkpoint import Checkpoints, Stored, hash_of
from .held_out import parts_of
from .losses import loss_for
from .objective import HardLabels, Objective
from .processes import together
from .result import TrainingResult
from .run import Run
from .schedule import TrainingOptions

if TYPE_CHECKING:
    from torch import nn

    from ..ir.progress import Advance, Progress
    from ..recipe.datasets import Data, Split

__all__ = ["TrainingOptions", "TrainingResult", "train"]


def train(
    module: nn.Module,
    data: Data,
    task: str,
    options: TrainingOptions,
    *,
    seed: int,
    scratch: Path,
    progress: Progress,
    name: str = "recover",
    objective: Objective | None = None,
    masked: Sequence[str] = (),
    shared: Sequence[str] = (),
    parts: tuple[Split, Split] | None = None,
) -> TrainingResult:
    """`module`, in place and in eval mode, has the weights of the best held-out loss that training came by.

    Trains on the data's train split but for its held-out part, or on the first of `parts`, judged by the second; by the
    task's own loss or by the objective. `scratch` keeps checkpoints; the same call on the same weights goes on from
    them, or returns at once where the run had ended.
    `name` tells runs apart in messages. Samples must depend on nothing but their index and the global generators of
    random, numpy and torch. The zeros of the parameters named in `masked` stay zeros, equal
    values in those named in `shared` stay equal.
    Raises InputError where the task or the data can't be trained on, StepError where the loss stops being finite.
    """
    objective = HardLabels(loss_for(task)) if objective is None else objective
    training, held_out = parts or parts_of(data.split("train"), seed)
    run = Run(module, training, held_out, objective, options, seed, masked, shared)
    held = (tuple(masked), tuple(shared))
    facts = (task, options, seed, run.schedule.samples, objective.identity, held, hash_of(module))
    key = hashlib.sha256(repr(facts).encode()).hexdigest()
    checkpoints = Checkpoints(scratch / f"{name}-{key[:16]}", progress.warn)
    stored = checkpoints.load()
    with progress.task(name, run.schedule.steps) as advance:
        advance(0 if stored is None else stored[0].step, "")
        if options.processes == 1:
            run.to_the_end(stored, checkpoints, advance)
        else:
            _together(run, stored, checkpoints, advance)
    run.keep_best()
    return run.result


def _together(run: Run, stored: Stored | None, checkpoints: Checkpoints, advance: Advance) -> None:
    """The run has ended in as many processes as its options say, and stands where they left it."""
    if run.accelerator.device.type != "cpu":
        found = f"{run.options.processes} on {run.accelerator.device.type}, which only one process trains on"
        raise InputError(Problem("recipe", "processes", "1", found))
    if stored is None or not run.is_over(stored[0]):
        try:
            together(
                run.options.processes, lambda group, tell: run.to_the_end(stored, checkpoints, tell, group), advance
            )
        except EdgewrightError:
            if (left := checkpoints.load()) is not None:
                run.start(left)
                run.keep_best()
            raise
        stored = checkpoints.load()
    if stored is None or not run.is_over(stored[0]):
        raise StepError("training: the processes ended without a last checkpoint")
    run.start(stored)
