"""The table of several ways: what is shown of each, and what only where there is some of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from edgewright.benchmarks.compare import compare
from edgewright.benchmarks.side_by_side import side_by_side

Reported = Callable[..., Any]
ENGINE = {"layers": 12, "int8_layers": 9, "bytes": 1, "build_seconds": 2.5, "timing_cache": "reused"}


def test_each_way_has_a_line_and_the_ratios_follow(reported: Reported) -> None:
    reports = {"fp32": reported([[2_000_000] * 3] * 9), "int8": reported([[1_000_000] * 3] * 9)}
    found = {("int8", "fp32"): compare(reports["fp32"], reports["int8"])}
    lines = side_by_side(reports, {}, found, "artifact: out").splitlines()
    assert lines[0] == "artifact: out"
    assert lines[1].split() == ["p50", "p95", "load", "memory"]
    assert lines[2].split() == ["fp32", "2.00", "ms", "-", "12.3", "ms", "70.0", "MiB"]
    assert lines[4] == "int8 against fp32: 2.00x faster (2.00 to 2.00)"
    assert lines[5] == "p50 and p95 are of one run"
    assert lines[6] == "measured on local (a processor), onnxruntime 1.32.0, 1 thread"
    assert len(lines) == 7


@pytest.mark.parametrize(
    ("other", "base", "told"),
    [
        ("artifact, batch 8", "against, batch 8", "batch 8: artifact against the other"),
        ("int8, CUDA graph", "int8", "int8: CUDA graph against none"),
        ("int8, batch 1, CUDA graph", "fp32 (baseline), batch 1, CUDA graph", "batch 1, CUDA graph: int8 against fp32"),
    ],
)
def test_what_two_have_in_common_is_told_once(other: str, base: str, told: str, reported: Reported) -> None:
    reports = {base: reported([[2_000_000] * 3] * 9), other: reported([[1_000_000] * 3] * 9)}
    text = side_by_side(reports, {}, {(other, base): compare(reports[base], reports[other])}, "")
    assert any(line.startswith(told) and line.endswith(": 2.00x faster (2.00 to 2.00)") for line in text.splitlines())


def test_batches_have_samples_a_second(reported: Reported) -> None:
    reports = {"batch 1": reported([[1_000_000]]), "batch 8": reported([[4_000_000]])}
    header, one, eight = side_by_side(reports, {"batch 1": 1, "batch 8": 8}, {}, "").splitlines()[1:4]
    assert header.split() == ["p50", "p95", "samples/s", "load", "memory"]
    assert one.split()[5:7] == ["1.00", "k"]
    assert eight.split()[5:7] == ["2.00", "k"]


def test_the_engine_alone_is_told_from_the_whole_with_the_gpu(reported: Reported) -> None:
    identity = {"cpu": "a processor", "threads": 1, "runtime": "tensorrt", "runtime_version": "10.16", "engine": ENGINE}
    identity |= {"gpu": "a GPU", "driver_cuda": "13.0"}
    with_events = reported([[2_000_000]], engine_rounds_ns=((500_000,),), identity=identity, is_steady=False)
    lines = side_by_side({"int8": with_events}, {}, {}, "").splitlines()
    assert lines[1].split() == ["p50", "p95", "engine", "alone", "p50", "load", "memory"]
    assert lines[2].split()[:6] == ["int8", "2.00", "ms", "-", "0.500", "ms"]
    assert lines[4] == "engine alone: the same inferences by CUDA events, without the copies"
    assert lines[5] == "int8: 12 layers, 9 of the model's in INT8, built in 2.5 s, timing cache reused"
    assert lines[6] == "measured on local (a GPU beside a processor), tensorrt 10.16, a driver with CUDA 13.0"
    assert lines[7] == "int8 was not steady when it was timed"
