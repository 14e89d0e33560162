"""`edgewright profile`: a table, or one JSON document; and no where there is no profiler."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Program = Callable[..., Any]


def test_it_prints_the_operators_and_that_the_profiler_was_on(built: Any, edgewright: Program) -> None:
    shown = edgewright("profile", built.artifact, "--runs", 10)
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert f"{built.artifact} with the profiler on: " in lines[0]
    assert {"stem.0", "body.0", "head"} <= {line.split()[0] for line in lines[2:]}
    assert lines[-2].startswith("by kind: ")
    assert lines[-1].startswith("measured on local (")


def test_json_is_one_document(built: Any, edgewright: Program) -> None:
    shown = edgewright("profile", built.artifact, "--runs", 4, "--threads", 2, "--json")
    assert shown.code == 0
    document = json.loads(shown.out)
    assert (document["schema"], document["runs"], document["threads"], document["profiler"]) == (1, 4, 2, True)
    assert sum(each["share"] for each in document["operators"]) == pytest.approx(1)


def test_a_runtime_without_a_profiler_is_an_error(built_tflite: Path, edgewright: Program) -> None:
    shown = edgewright("profile", built_tflite)
    assert (shown.code, shown.out) == (1, "")
    assert "profile: ai-edge-litert" in shown.err
