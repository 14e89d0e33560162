from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from edgewright.benchmarks.latency import MOST_RUNS, ROUNDS, SECONDS, LatencyReport, measure, schedule
from edgewright.devices.local import LocalDevice
from edgewright.runtimes import open_runner

Reported = Callable[..., LatencyReport]


def test_percentiles_come_from_the_samples(reported: Reported) -> None:
    report = reported([list(range(1, 1001))])
    assert report.p50_ns == 500
    assert report.percentile_ns(95) == 950
    assert report.percentile_ns(99) == 990


@pytest.mark.parametrize(("percent", "needed"), [(50, 20), (95, 200), (99, 1000), (99.9, 10_000)])
def test_a_percentile_needs_ten_samples_beyond_it(reported: Reported, percent: float, needed: int) -> None:
    assert reported([[7] * needed]).percentile_ns(percent) == 7
    assert reported([[7] * (needed - 1)]).percentile_ns(percent) is None


def test_the_median_of_few_samples_is_still_a_median(reported: Reported) -> None:
    assert reported([[3, 1, 2]]).p50_ns == 2


def test_a_report_survives_json(reported: Reported) -> None:
    report = reported([[1, 2], [3, 4]])
    document = json.loads(json.dumps(report.to_json()))
    assert LatencyReport.from_json(document) == report
    assert document["rounds_ns"] == [[1, 2], [3, 4]]
    assert not any("p50" in key or "p95" in key for key in document)


@pytest.mark.parametrize("latency_ns", [1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10])
def test_the_schedule_keeps_within_its_time_or_its_least(latency_ns: float) -> None:
    planned = schedule(latency_ns)
    seconds = planned.rounds * planned.runs * latency_ns / 1e9
    assert planned.runs <= MOST_RUNS
    assert seconds <= 2 * SECONDS or (planned.runs == 1 and planned.rounds < ROUNDS)


def test_what_is_fast_gets_enough_samples_for_p99_and_what_is_slow_for_a_comparison() -> None:
    assert schedule(1e6).rounds * schedule(1e6).runs >= 1000
    assert schedule(1e8).rounds * schedule(1e8).runs >= 200
    assert schedule(1e10).rounds >= 8


def test_two_artifacts_are_timed_in_turns(classifier: Path) -> None:
    device = LocalDevice()
    with (
        open_runner("onnxruntime", device, classifier, threads=1) as first,
        open_runner("onnxruntime", device, classifier, threads=1) as second,
    ):
        reports = measure({"baseline": first, "artifact": second}, device.name, rounds=4, runs_per_round=5)
    baseline, artifact = reports["baseline"], reports["artifact"]
    assert baseline.session == artifact.session
    for report in (baseline, artifact):
        assert [len(block) for block in report.rounds_ns] == [5] * 4
        assert min(report.samples_ns) > 0
        assert report.identity["runtime"] == "onnxruntime"
        assert report.meaning.startswith("one call of onnxruntime.InferenceSession.run")
        assert report.peak_rss_bytes is not None
        json.dumps(report.to_json())


def test_engines_alone_are_timed_beside_the_whole(gpu_here: Any, quantized_models: ModuleType, tmp_path: Path) -> None:
    """On a GPU that is none: its events are 1.5 ms apart."""
    file = quantized_models.convolution(tmp_path / "model.onnx")
    (tmp_path / "engine.json").write_text(json.dumps({"model": file.name, "shapes": {}, "int8_layers": ["conv"]}))
    with open_runner("tensorrt", LocalDevice(), file, 1, options={"events": True}) as runner:
        (report,) = measure({"a": runner}, "local", rounds=2, runs_per_round=3, has_events=True).values()
    assert report.engine_rounds_ns == ((1_500_000,) * 3,) * 2
    assert report.engine_p50_ns == 1_500_000
    assert [len(block) for block in report.rounds_ns] == [3, 3]
    assert LatencyReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_two_measurements_are_two_sessions(classifier: Path) -> None:
    with open_runner("onnxruntime", LocalDevice(), classifier, threads=1) as runner:
        first, second = (measure({"a": runner}, "local", rounds=1, runs_per_round=2)["a"] for _ in range(2))
    assert first.session != second.session
