from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from edgewright.benchmarks.accuracy import Evaluation, Parity
from edgewright.benchmarks.compare import compare
from edgewright.benchmarks.latency import LatencyReport
from edgewright.benchmarks.report import Measured, Summary, latency_text
from edgewright.runtimes import Coverage
from rich.console import Console

Reported = Callable[..., LatencyReport]
Summed = Callable[[float], Summary]


@pytest.fixture
def summed(reported: Reported) -> Summed:
    """A summary of an artifact whose latency is the given ratio of its baseline's."""

    def make(ratio: float) -> Summary:
        samples = np.linspace(0.9e6, 1.1e6, 1200).reshape(40, 30)
        before, after = reported(samples), reported(samples * ratio)
        right = np.arange(1000) % 10
        wrong = np.where(np.arange(1000) < 12, (right + 1) % 10, right)
        baseline = Measured(
            Evaluation((("top1", 0.882),), 1000, True, right), before, 1_087_229, 40_551_040, 269_034, Coverage(0, 3)
        )
        artifact = Measured(
            Evaluation((("top1", 0.884),), 1000, True, wrong),
            after,
            *(310_899, 40_551_040, 269_034),
            Coverage(2, 3, (("head", "kept in float: its weights are not quantized"),)),
        )
        return Summary("x86-avx2", baseline, artifact, compare(before, after), Parity(1.0, 0.999, 1.0))

    return make


def test_the_table_shows_both_sides(summed: Summed) -> None:
    rows = {row.label: row for row in summed(0.5).rows()}
    assert (rows["top1"].baseline, rows["top1"].artifact, rows["top1"].change) == ("88.2 %", "88.4 %", "+0.2 points")
    assert rows["prediction flips"].artifact == "1.2 %"
    assert rows["latency p50"].change.startswith("2.00x faster")
    assert rows["latency p99"].baseline.endswith(" ms")
    assert rows["artifact"].change == "3.5x smaller"
    assert rows["layers in INT8"].artifact == "2 of 3"
    assert rows["parity with simulation"].artifact == "1.0 steps at most"


def test_slower_is_said_plainly(summed: Summed) -> None:
    text = summed(1.3).to_text()
    assert "1.30x slower" in text
    assert "the artifact is SLOWER than float" in text
    assert "SLOWER" not in summed(0.5).to_text()
    assert "cannot be told" in summed(1.0).to_text()


def test_few_samples_give_no_p99(summed: Summed, reported: Reported) -> None:
    summary = summed(0.5)
    few = replace(summary.artifact, latency=reported([[1_000_000] * 300]))
    rows = {row.label: row for row in replace(summary, artifact=few).rows()}
    assert (rows["latency p99"].artifact, rows["latency p99"].change) == ("-", "too few samples")
    assert rows["latency p95"].artifact == "1.00 ms"


def test_the_remarks_name_device_float_layers_and_what_was_reused(summed: Summed) -> None:
    summary = summed(0.5)
    summary = replace(summary, baseline=replace(summary.baseline, is_reused=True))
    remarks = "\n".join(summary.remarks())
    assert "a processor" in remarks
    assert "onnxruntime 1.32.0, 1 thread, 1200 runs each" in remarks
    assert "in float: head: kept in float" in remarks
    assert "the baseline's numbers are an earlier build's" in remarks


def test_it_is_aligned_text_and_a_table_for_terminals(summed: Summed) -> None:
    summary = summed(0.5)
    lines = summary.to_text().splitlines()
    end = lines[0].index("artifact") + len("artifact")
    assert lines[1][:end].endswith("88.4 %")
    console = Console(file=StringIO(), width=120)
    console.print(summary.to_rich())
    assert "2.00x faster" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_document_has_the_keys_that_others_build_on(summed: Summed) -> None:
    document = json.loads(json.dumps(summed(0.5).to_json()))
    assert document["accuracy"] == {
        "metric": "top1",
        "baseline": 0.882,
        "artifact": 0.884,
        "flips": 0.012,
        "samples": 1000,
    }
    assert document["latency_ns"]["artifact"]["p50"] == pytest.approx(
        document["latency_ns"]["baseline"]["p50"] / 2, rel=1e-5
    )
    assert document["latency_ns"]["threads"] == 1
    assert document["int8_coverage"] == {"quantized": 2, "eligible": 3}
    assert {"bytes", "peak_rss_bytes", "macs", "parameters", "parity_steps"} <= set(document)


def test_what_files_compress_to_is_a_line_of_its_own_where_it_is_known(summed: Summed) -> None:
    summary = summed(0.5)
    assert "artifact, by zlib" not in [row.label for row in summary.rows()]
    baseline, artifact = (
        replace(each, compressed_bytes=count)
        for each, count in ((summary.baseline, 1_000_000), (summary.artifact, 100_000))
    )
    known = replace(summary, baseline=baseline, artifact=artifact)
    row = {row.label: row for row in known.rows()}["artifact, by zlib"]
    assert (row.baseline, row.artifact, row.change) == ("977 KiB", "97.7 KiB", "10.0x smaller")
    assert known.to_json()["compressed_bytes"] == {"baseline": 1_000_000, "artifact": 100_000}


def test_shared_weights_have_a_line_of_what_they_take_entropy_coded(summed: Summed) -> None:
    summary = summed(0.5)
    assert summary.to_json()["entropy_coded_bytes"] is None
    known = replace(summary, artifact=replace(summary.artifact, entropy_coded=(1_000_000, 100_000)))
    (row,) = [row for row in known.rows() if row.label == "shared weights, coded"]
    assert (row.baseline, row.artifact, row.change) == ("977 KiB", "97.7 KiB", "10.0x smaller")
    assert known.to_json()["entropy_coded_bytes"] == 100_000


def test_one_report_or_two_are_text_on_their_own(reported: Reported) -> None:
    alone = latency_text({"out/a": reported([[2_000_000] * 300])}).splitlines()
    assert alone[0].split() == ["out/a"]
    assert alone[1].split() == ["latency", "p50", "2.00", "ms"]
    assert alone[3].split() == ["latency", "p99", "-"]
    assert alone[-1] == "measured on local (a processor), onnxruntime 1.32.0, 1 thread"
    both = latency_text({"a": reported([[2_000_000] * 300]), "b": reported([[1_000_000] * 300], is_steady=False)})
    assert both.splitlines()[1].split()[2:] == ["2.00", "ms", "1.00", "ms"]
    assert both.endswith("b was not steady when it was timed\n")


def test_without_a_latency_the_table_says_so_and_who_stood_in(summed: Summed) -> None:
    timed = summed(0.5)
    sides = {"baseline": replace(timed.baseline, latency=None), "artifact": replace(timed.artifact, latency=None)}
    summary = replace(timed, **sides, comparison=None, reference="onnxruntime with its optimizations off")
    rows = {row.label: row for row in summary.rows()}
    assert (rows["latency"].baseline, rows["latency"].artifact) == ("not measured", "not measured")
    assert not {"latency p50", "peak memory", "load", "first inference"} & set(rows)
    assert rows["top1"].change == "+0.2 points"
    assert summary.remarks()[0].endswith(
        "onnxruntime with its optimizations off: a reference runtime, not the target's"
    )
    assert "latency was not measured" in summary.to_text()
    document = json.loads(json.dumps(summary.to_json()))
    assert document["latency_ns"]["artifact"] == {"p50": None, "p95": None, "p99": None}
    assert (document["latency_ns"]["verdict"], document["peak_rss_bytes"]["artifact"]) == ("not measured", None)
    assert document["reference_runtime"] == "onnxruntime with its optimizations off"
    assert timed.to_json()["reference_runtime"] is None
