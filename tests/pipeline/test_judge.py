"""Judging: what a report says is what the artifacts do on their runtime, and what has not changed is not done again."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from edgewright.devices.local import LocalDevice
from edgewright.pipeline.judge import Judgement, judge
from edgewright.pipeline.parity import Golden
from edgewright.pipeline.planning import baseline_plan, plan
from edgewright.pipeline.store import Store
from edgewright.pipeline.workshop import Made, Workshop
from edgewright.recipe.schema import load_recipe
from edgewright.targets import Target

pytestmark = pytest.mark.slow

METRIC = """
import weights


def share(outputs, labels):
    return weights.WEIGHT * float((outputs.argmax(1) == labels).mean())
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one test made or measured the next finds."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def open_workshop(recipe_file: Path, cache: Path, listener: Any) -> Callable[..., Workshop]:
    """open_workshop(*overrides): a workshop of the small recipe as its files now are, quantized and nothing else."""

    def make(*overrides: str) -> Workshop:
        recipe = load_recipe(recipe_file, ("compress.prune=null", "compress.recover=null", *overrides))
        return Workshop(recipe, Store(cache, listener), listener)

    return make


@pytest.fixture
def judged(open_workshop: Callable[..., Workshop], target: Target) -> Callable[..., tuple[Judgement, Made, Made]]:
    """judged(*overrides, threads=1): the judgement, and the two that were judged: baseline and artifact."""

    def run(*overrides: str, threads: int = 1) -> tuple[Judgement, Made, Made]:
        workshop = open_workshop(*overrides)
        baseline = workshop.make(baseline_plan(workshop.recipe, target), target)
        artifact = workshop.make(plan(workshop.recipe, target), target)
        return judge(workshop, baseline, artifact, LocalDevice(), threads, ()), baseline, artifact

    return run


def answers(made: Made, images: np.ndarray) -> np.ndarray:
    """The predicted classes, straight from onnxruntime."""
    session = onnxruntime.InferenceSession(made.main, providers=["CPUExecutionProvider"])
    (name,) = (entry.name for entry in session.get_inputs())
    return np.array([session.run(None, {name: image[None]})[0][0].argmax() for image in images])


def test_the_numbers_are_those_of_the_artifacts(judged: Any, open_workshop: Callable[..., Workshop]) -> None:
    judgement, baseline, artifact = judged()
    batch = next(open_workshop().data.split("evaluation").batches(1000))
    images, labels = batch.inputs[0].numpy(), batch.labels.numpy()
    before, after = answers(baseline, images), answers(artifact, images)
    summary = judgement.summary
    assert summary.baseline.evaluation.metrics[0] == ("top1", float((before == labels).mean()))
    assert summary.artifact.evaluation.metrics[0] == ("top1", float((after == labels).mean()))
    assert summary.flips == float((before != after).mean())
    assert summary.artifact.evaluation.samples == len(labels) == 300
    assert summary.artifact.total_bytes == artifact.main.stat().st_size
    assert summary.artifact.compressed_bytes == len(zlib.compress(artifact.main.read_bytes()))
    assert (summary.artifact.coverage.quantized, summary.baseline.coverage.quantized) == (3, 0)
    assert summary.parity is not None
    assert summary.comparison.low <= summary.comparison.ratio <= summary.comparison.high


def test_shared_weights_take_less_on_disk_and_entropy_coded_than_floats(judged: Any) -> None:
    judgement, baseline, artifact = judged("compress.quantize=null", "compress.share_weights={clusters: 16}")
    summary = judgement.summary
    floats, coded = summary.artifact.entropy_coded
    assert summary.baseline.entropy_coded is None
    assert floats < baseline.main.stat().st_size
    assert artifact.main.stat().st_size < baseline.main.stat().st_size / 4
    assert coded < floats / 8 + 4 * 3 * 20  # four bits each, and of three layers the values and the codes' lengths
    assert summary.artifact.parameters == summary.baseline.parameters


def test_both_were_timed_in_turns_on_the_same_device(judged: Any) -> None:
    summary = judged()[0].summary
    assert summary.baseline.latency.session == summary.artifact.latency.session
    assert summary.artifact.latency.device == "local"
    assert summary.artifact.latency.identity["threads"] == 1


def test_golden_vectors_of_both_are_handed_out(judged: Any) -> None:
    judgement, _, artifact = judged()
    assert set(judgement.golden) == {"baseline", "artifact"}
    golden = Golden.read(judgement.golden["artifact"])
    assert np.array_equal(answers(artifact, golden.inputs["image"]), golden.outputs["output"].argmax(1))


def test_what_has_not_changed_is_not_done_again(judged: Any) -> None:
    first = judged()[0]
    second = judged()[0]
    assert second.reused == ("parity", "accuracy", "latency")
    assert second.summary.to_json() == first.summary.to_json()
    assert second.summary.artifact.is_reused
    assert second.summary.baseline.is_reused


def test_other_threads_are_timed_anew_and_nothing_else_is(judged: Any) -> None:
    judged()
    other = judged(threads=2)[0]
    assert other.reused == ("parity", "accuracy")
    assert other.summary.artifact.latency.identity["threads"] == 2
    assert not other.summary.artifact.is_reused


def test_other_evaluation_samples_are_judged_anew_and_nothing_is_timed(judged: Any, recipe_file: Path) -> None:
    judged()
    file = recipe_file.parent / "data.py"
    file.write_text(file.read_text().replace("samples(300, 2)", "samples(100, 3)"))
    other = judged()[0]
    assert other.reused == ("latency",)
    assert other.summary.artifact.evaluation.samples == 100


def test_a_metric_of_the_users_own_is_judged_anew_when_a_file_of_it_changes(judged: Any, recipe_file: Path) -> None:
    (recipe_file.parent / "metrics.py").write_text(METRIC)
    beside = recipe_file.parent / "weights.py"
    beside.write_text("WEIGHT = 1.0")
    first = judged("task=metrics.py:share")[0]
    assert first.summary.artifact.evaluation.metrics[0][0] == "share"
    assert first.summary.flips is None
    assert "accuracy" in judged("task=metrics.py:share")[0].reused
    beside.write_text("WEIGHT = 0.5")
    halved = judged("task=metrics.py:share")[0]
    assert "accuracy" not in halved.reused
    assert halved.summary.artifact.evaluation.value == first.summary.artifact.evaluation.value / 2
