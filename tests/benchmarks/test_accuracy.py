from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from edgewright.benchmarks import accuracy
from edgewright.benchmarks.accuracy import Evaluation, evaluate, flips, parity, task
from edgewright.ir.errors import InputError, StepError
from edgewright.ir.metrics import f1_macro
from edgewright.recipe.datasets import Batch
from edgewright.runtimes import Runner


class Samples:
    """A split that lies in memory."""

    name = "evaluation"

    def __init__(self, inputs: np.ndarray, labels: np.ndarray) -> None:
        self.inputs, self.labels = torch.from_numpy(inputs), torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int, *, limit: int | None = None, order_seed: int | None = None) -> Iterator[Batch]:
        for at in range(0, len(self), size):
            yield Batch((self.inputs[at : at + size],), self.labels[at : at + size])


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((600, 4)).astype(np.float32)


def test_classification_gives_top1_and_f1_of_what_the_runtime_answers(runner: Runner, logits: np.ndarray) -> None:
    labels = np.random.default_rng(1).integers(0, 4, len(logits))
    found = evaluate(runner, Samples(logits, labels), task("classification", Path(), "recipe"), ["x"])
    assert (found.metric, found.value) == ("top1", float((logits.argmax(1) == labels).mean()))
    assert found.samples == 600
    assert found.predictions is not None
    assert np.array_equal(found.predictions, logits.argmax(1))
    assert dict(found.metrics)["f1_macro"] == f1_macro(logits.argmax(1), labels)


def test_multilabel_and_regression(runner: Runner, logits: np.ndarray) -> None:
    marks = (logits > 0).astype(np.int64)
    several = evaluate(runner, Samples(logits, marks), task("multilabel", Path(), "recipe"), ["x"])
    assert (several.metric, several.value) == ("f1_macro", 1.0)
    regression = evaluate(runner, Samples(logits, logits + 0.5), task("regression", Path(), "recipe"), ["x"])
    assert regression.value == pytest.approx(0.5)
    assert not regression.is_higher_better
    assert regression.predictions is None
    assert flips(regression, regression) is None


def test_the_users_metric_is_called_with_all_outputs_and_labels(
    runner: Runner, logits: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "metrics.py").write_text("def first(outputs, labels):\n    return outputs[0, 0] + len(labels)\n")
    judged = task("metrics.py:first", tmp_path, "recipe.yaml")
    found = evaluate(runner, Samples(logits, np.zeros(600)), judged, ["x"])
    assert (found.metric, found.value) == ("first", pytest.approx(logits[0, 0] + 600))


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(InputError, match=r"recipe\.yaml: task: expected one of classification, .*'clasification'"):
        task("clasification", Path(), "recipe.yaml")


def test_outputs_that_are_not_numbers_are_an_error(runner: Runner, logits: np.ndarray) -> None:
    logits[3, 2] = np.nan
    with pytest.raises(StepError, match="not all finite"):
        evaluate(runner, Samples(logits, np.zeros(600)), task("classification", Path(), "recipe"), ["x"])


def test_an_empty_split_is_refused(runner: Runner, logits: np.ndarray) -> None:
    with pytest.raises(InputError, match="at least one sample"):
        evaluate(runner, Samples(logits[:0], np.zeros(0)), task("classification", Path(), "recipe"), ["x"])


def test_no_more_than_the_answers_are_kept(runner: Runner, logits: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(accuracy, "BATCH", 64)
    judged = task("classification", Path(), "recipe")
    seen = accuracy.Task(
        judged.metrics, lambda outputs: (sizes.append(len(outputs)), judged.answer(outputs))[1], judged.are_classes
    )
    evaluate(runner, Samples(logits, np.zeros(600)), seen, ["x"])
    assert max(sizes) == 64
    assert sum(sizes) == 600


def evaluation(predictions: np.ndarray) -> Evaluation:
    return Evaluation((("top1", 0.5),), len(predictions), True, predictions)


def test_flips_count_samples_that_are_answered_differently() -> None:
    assert flips(evaluation(np.array([0, 1, 2, 3])), evaluation(np.array([0, 1, 3, 2]))) == 0.5
    several = np.array([[True, False], [True, True]])
    assert flips(evaluation(several), evaluation(np.array([[True, False], [False, False]]))) == 0.5
    with pytest.raises(InputError, match=r"as many samples as the first has \(4\), got 3"):
        flips(evaluation(np.zeros(4)), evaluation(np.zeros(3)))


def test_parity_counts_in_steps() -> None:
    simulated = np.array([[0.0, 1.0], [0.5, 0.4]], np.float32)
    artifact = np.array([[0.0, 1.25], [0.5, 0.75]], np.float32)
    found = parity(simulated, artifact, step=0.25)
    assert found.largest_steps == pytest.approx(0.35 / 0.25)
    assert found.within_one_step == 1.0
    assert found.argmax_agreement == 0.5
    assert parity(simulated, artifact, step=0.125).within_one_step == 0.5
    with pytest.raises(InputError, match="a number above 0"):
        parity(simulated, artifact, step=0.0)
    with pytest.raises(InputError, match=r"the shape \(2, 2\)"):
        parity(simulated, artifact[:1], step=1.0)
