"""The docs' figures are those of the suite's results: no table in them was typed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = "before\n<!-- figures: some -->\nold\n<!-- end of figures -->\nafter\n"
ORIGIN = {"cpu": "a CPU", "date": "2026-01-31", "onnxruntime": "1.0"}


def row(group: str, name: str, *top1: float) -> dict[str, object]:
    figures = {"flips": 0.021, "macs": 0.5, "kib_compressed": 99.6, "of_float_ms": [0.25, 0.2, 0.3]}
    return {"group": group, "technique": name, "top1_untrained": [None] * len(top1), "top1": list(top1), **figures}


@pytest.fixture
def docs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "suite"))
    return importlib.import_module("_docs")


def test_a_block_has_the_rows_of_its_group_and_the_references(docs: ModuleType) -> None:
    rows = [row("references", "whole", 0.9), row("some", "half", 0.8, 0.7), row("others", "none", 0.1)]
    text = docs.fill(DOCUMENT, rows, ORIGIN)
    assert text.startswith("before\n<!-- figures: some -->\n|")
    assert text.endswith("<!-- end of figures -->\nafter\n")
    assert "| half |  | 75.00% (70.0% to 80.0%) | 2.1% | 0.50 | 100 | 0.25 |" in text
    assert "| whole |" in text
    assert "none" not in text
    assert docs.fill(text, rows, ORIGIN) == text
    assert "\nNot measured yet: `python benchmarks/suite/techniques.py --only some`.\n" in docs.fill(
        text, rows[:1], ORIGIN
    )


def test_the_documentation_has_the_figures_of_the_results(docs: ModuleType) -> None:
    found = json.loads((ROOT / "benchmarks" / "suite" / "results" / "techniques.json").read_text("utf-8"))
    text = docs.PASSES.read_text("utf-8")
    assert docs.fill(text, found["rows"], found["origin"]) == text
    for group in ("criteria", "granularity", "mixes", "teaching", "rounding"):
        assert f"<!-- figures: {group} -->\n" in text
