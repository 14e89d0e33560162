"""The tables of an explanation: what was built, what each pass is worth, and what could not be told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from edgewright.benchmarks.accuracy import Evaluation
from edgewright.benchmarks.change import Change
from edgewright.benchmarks.compare import Comparison
from edgewright.benchmarks.report import Measured
from edgewright.passes.contract import Skip
from edgewright.pipeline.explanation import BuiltRow, Explanation, Worth
from edgewright.pipeline.leave_out import Bound
from edgewright.runtimes import Coverage


def row(name: str, top1: float, total_bytes: int, seconds: float | None, flips: float | None = 0.01) -> BuiltRow:
    evaluation = Evaluation((("top1", top1),), 1000, True, np.zeros(1000))
    coverage = Coverage(1, 1, (), ())
    return BuiltRow(name, Measured(evaluation, None, total_bytes, 10, 5, coverage), flips, seconds, ("export{}",))


FASTER = Comparison(0.5, 0.48, 0.52, "faster")
WORSE = Change(-0.01, -0.02, -0.004, "worse")


@pytest.fixture
def explanation() -> Explanation:
    pruned = Worth(
        "compress.prune", ("prune-channels",), (), row("without prune-channels", 0.91, 4096, 30), WORSE, FASTER
    )
    quantized = Worth("compress.quantize", ("insert-quantization",), ("calibrate",), row("without i", 0.9, 2048, None))
    failed = Worth("compress.sparsify", ("sparsify-2-4",), why_not="no room", is_failed=True)
    same = Worth("compress.recover", ("recover",), why_not="the plan is the same without it")
    return Explanation(
        target="x86-avx2",
        baseline=row("float baseline", 0.92, 8192, 1, None),
        artifact=row("artifact", 0.9, 2048, 90),
        worths=(pruned, quantized, failed, same),
        bound=(Bound("export", "onnxruntime needs 'exported'"),),
        skips=(Skip("2:4 sparsity", "no kernels"),),
    )


def test_every_build_and_every_worth_is_a_line(explanation: Explanation) -> None:
    lines = explanation.to_text().splitlines()
    assert [line.split("  ")[0] for line in lines[:5]] == [
        "x86-avx2", "float baseline", "artifact", "without prune-channels", "without i",
    ]  # fmt: skip
    worth = next(line for line in lines if line.startswith("prune-channels"))
    assert "-1.0 points (-2.0 to -0.4): worse" in worth
    assert "2.00x faster (1.92 to 2.08)" in worth
    assert "2.00x smaller" in worth
    assert worth.endswith("+1.0")


def test_what_is_not_known_is_not_told(explanation: Explanation) -> None:
    """No interval, no verdict; no latency, no ratio; unknown minutes are no number."""
    worth = next(line for line in explanation.to_text().splitlines() if line.startswith("insert-quantization"))
    assert worth.split() == ["insert-quantization", "+0", "+0.0", "points", "not", "measured", "the", "same", "-"]


def test_what_was_not_built_says_why(explanation: Explanation) -> None:
    text = explanation.to_text()
    assert "FAILED: without sparsify-2-4: no room\n" in text
    assert "not built: without recover: the plan is the same without it\n" in text
    assert "without insert-quantization there is no calibrate\n" in text
    assert "can't be left out alone: export: onnxruntime needs 'exported'\n" in text
    assert text.endswith("skipped 2:4 sparsity: no kernels\n")


def test_a_failure_makes_it_less_than_whole(explanation: Explanation) -> None:
    assert not explanation.is_whole
    assert replace(explanation, worths=explanation.worths[3:]).is_whole


def test_the_document_holds_the_same(explanation: Explanation) -> None:
    document: Any = json.loads(json.dumps(replace(explanation, changed="it moved").to_json()))
    assert [build["name"] for build in document["builds"]] == [
        "float baseline", "artifact", "without prune-channels", "without i",
    ]  # fmt: skip
    pruned, quantized, failed, _ = document["passes"]
    assert pruned["accuracy"]["verdict"] == "worse"
    assert (pruned["latency"]["ratio"], pruned["bytes"], pruned["seconds"]) == (0.5, -2048, 60)
    assert (quantized["latency"], quantized["seconds"], quantized["accuracy"]["verdict"]) == (None, None, None)
    assert (failed["why_not"], failed["failed"]) == ("no room", True)
    assert document["changed"] == "it moved"
