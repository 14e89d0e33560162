"""`edgewright diff`: a table that ends with the culprit, or one JSON document."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Program = Callable[..., Any]


def test_it_prints_every_layer_and_ends_with_the_culprit(built: Any, edgewright: Program) -> None:
    shown = edgewright("diff", built.artifact)
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0] == f"{built.artifact} against {built.artifact / 'baseline'}: 8 samples on local"
    assert lines[1].split() == ["layer", "operator", "type", "SQNR", "largest", "difference", "from", "simulated"]
    assert [line.split()[0] for line in lines[2:6]] == ["image", "stem.0", "body.0", "head"]
    assert any(line.startswith("simulated: 4 of 4 layers known, at most ") for line in lines)
    assert lines[-1].startswith("adds the most error: ")


def test_json_is_one_document(built: Any, edgewright: Program) -> None:
    baseline = built.artifact / "baseline"
    shown = edgewright("diff", built.artifact, "--against", baseline, "--samples", 3, "--json")
    assert shown.code == 0
    document = json.loads(shown.out)
    assert (document["schema"], document["samples"], document["against"]) == (1, 3, str(baseline))
    assert [layer["name"] for layer in document["layers"]] == ["image", "stem.0", "body.0", "head"]
    assert all(layer["simulated_equal"] <= 1 for layer in document["layers"])
    assert document["strayed"] is None
    assert document["culprit"] in {layer["name"] for layer in document["layers"]}


def test_what_has_no_baseline_is_refused(built: Any, edgewright: Program) -> None:
    shown = edgewright("diff", built.artifact / "baseline", "--json")
    assert (shown.code, shown.out) == (2, "")
    assert "expected a float baseline in baseline/, or --against ARTIFACT" in shown.err
