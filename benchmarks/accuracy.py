"""What an artifact gets right: metrics of its outputs in its runtime, and where two sets of outputs differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..ir.errors import InputError, Problem, StepError
from ..ir.metrics import f1_macro
from ..ir.progress import Progress, Silent

if TYPE_CHECKING:
    import numpy as np

    from ..recipe.datasets import Split
    from ..runtimes.contract import Runner

Metric = Callable[["np.ndarray", "np.ndarray"], float]
Answer = Callable[["np.ndarray"], "np.ndarray"]

BATCH = 256
"""How many samples travel to the runner at a time."""


@dataclass(frozen=True)
class Task:
    """How outputs are judged. `answer` takes what a sample is judged by out of a batch of outputs, so that no more
    than that is kept; `metrics` compare all answers with all labels, the first is the one that budgets speak of.

    `are_classes` says that answers which differ are different predictions, so that flips can be counted.
    """

    metrics: Mapping[str, Metric]
    answer: Answer
    are_classes: bool
    is_higher_better: bool = True


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one artifact on one split; `predictions` (N, ...) is None where the task has no classes."""

    metrics: tuple[tuple[str, float], ...]
    samples: int
    is_higher_better: bool
    predictions: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def metric(self) -> str:
        """The name of the metric that budgets speak of."""
        return self.metrics[0][0]

    @property
    def value(self) -> float:
        """That metric."""
        return self.metrics[0][1]


@dataclass(frozen=True)
class Parity:
    """How far the artifact's outputs in the runtime lie from the simulated ones, in quantization steps."""

    largest_steps: float
    within_one_step: float
    argmax_agreement: float | None


def task(name: str, folder: Path, where: str) -> Task:
    """The task of that name; or, for `metrics.py:my_metric`, one that is judged by the user's callable.

    The callable gets all outputs (N, ...) and labels (N, ...) and returns a number, the higher the better. InputError
    where there is no such task or callable.
    """
    if ":" in name:
        from ..recipe.user_code import load_callable

        metric = load_callable(folder, name, where, "task")
        return Task({name.rpartition(":")[2]: metric}, _outputs, are_classes=False)
    if name not in TASKS:
        raise InputError(Problem(where, "task", f"one of {', '.join(TASKS)}, or metrics.py:my_metric", f"'{name}'"))
    return TASKS[name]


def evaluate(
    runner: Runner, split: Split, task: Task, input_names: Sequence[str], progress: Progress | None = None
) -> Evaluation:
    """The task's metrics of what the runner answers on the whole split; inputs are streamed.

    Raises StepError where an output is not finite, InputError where the split is empty or a metric fails.
    """
    import numpy as np

    answers, labels = [], []
    with (progress or Silent()).task(f"accuracy on {split.name}", len(split)) as advance:
        for batch in split.batches(BATCH):
            arrays = {name: values.numpy() for name, values in zip(input_names, batch.inputs, strict=True)}
            outputs = runner.run(arrays)[0]
            if not np.isfinite(outputs).all():
                raise StepError(f"{runner.runtime}: the artifact's outputs on {split.name} are not all finite numbers")
            answers.append(task.answer(outputs))
            labels.append(batch.labels.numpy())
            advance(len(outputs), "")
    if not answers:
        raise InputError(Problem("data", split.name, "at least one sample", "none"))
    every_answer, every_label = np.concatenate(answers), np.concatenate(labels)
    values = tuple((name, float(metric(every_answer, every_label))) for name, metric in task.metrics.items())
    predictions = every_answer if task.are_classes else None
    return Evaluation(values, len(every_answer), task.is_higher_better, predictions)


def flips(before: Evaluation, after: Evaluation) -> float | None:
    """The share of samples whose prediction differs; None where the task has no classes.

    Two artifacts of equal accuracy can still answer differently (Dutta et al. 2024, "Accuracy is not all you need",
    https://arxiv.org/abs/2407.09141). InputError where they answered different numbers of samples.
    """
    if before.predictions is None or after.predictions is None:
        return None
    if before.samples != after.samples:
        expected = f"as many samples as the first has ({before.samples})"
        raise InputError(Problem("flips", "samples", expected, str(after.samples)))
    differs = before.predictions != after.predictions
    return float(differs.reshape(len(differs), -1).any(axis=1).mean())


def parity(simulated: np.ndarray, artifact: np.ndarray, step: float) -> Parity:
    """How far two sets of outputs (N, ...) of the same samples are apart, in steps of `step`.

    InputError where their shapes differ or the step is not a positive number.
    """
    import numpy as np

    if simulated.shape != artifact.shape:
        raise InputError(Problem("parity", "outputs", f"the shape {simulated.shape}", str(artifact.shape)))
    if not step > 0:
        raise InputError(Problem("parity", "step", "a number above 0", str(step)))
    steps = np.abs(artifact.astype(np.float64) - simulated) / step
    agreement = None
    if simulated.ndim == 2 and simulated.shape[1] > 1:
        agreement = float((simulated.argmax(1) == artifact.argmax(1)).mean())
    # Half a step of slack is what rounding to the grid leaves between two outputs on neighbouring steps.
    return Parity(float(steps.max()), float((steps < 1.5).mean()), agreement)


def top1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """The share of predicted classes (N,) that are the label (N,)."""
    return float((predicted == labels).mean())


def mean_absolute_error(outputs: np.ndarray, labels: np.ndarray) -> float:
    """The mean of |output - label|; labels (N,) stand beside outputs (N, 1) as well. InputError where shapes differ."""
    import numpy as np

    if outputs.size != labels.size:
        raise InputError(Problem("data", "labels", f"labels that fit outputs {outputs.shape}", str(labels.shape)))
    return float(np.abs(outputs.reshape(labels.shape) - labels).mean())


def _largest(outputs: np.ndarray) -> np.ndarray:
    """The class (N,) of outputs (N, classes)."""
    if outputs.ndim != 2:
        raise InputError(Problem("model", "output", "the shape (N, classes)", str(outputs.shape)))
    predicted: np.ndarray = outputs.argmax(axis=1)
    return predicted


def _above_even_odds(outputs: np.ndarray) -> np.ndarray:
    """Which classes a sample has: outputs are logits, and 0 is the logit of even odds."""
    return outputs > 0


def _outputs(outputs: np.ndarray) -> np.ndarray:
    return outputs


TASKS: Mapping[str, Task] = {
    "classification": Task({"top1": top1, "f1_macro": f1_macro}, _largest, are_classes=True),
    "multilabel": Task({"f1_macro": f1_macro}, _above_even_odds, are_classes=True),
    "regression": Task({"mae": mean_absolute_error}, _outputs, are_classes=False, is_higher_better=False),
}
