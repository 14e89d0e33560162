"""Figures in the docs come from results/techniques.json: the tables between marks in docs/passes.md are made of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _measure

PASSES = Path(__file__).resolve().parents[2] / "docs" / "passes.md"
HEADERS = (
    "",
    "top-1 right before training",
    "top-1",
    "flips",
    "multiply-accumulates",
    "KiB, by zlib",
    "of float's latency",
)
WITH_ITS_OWN = "larger networks"
"""The group whose rows are beside other networks than the references."""
_BLOCK = re.compile(r"<!-- figures: (?P<group>[\w ]+) -->\n.*?<!-- end of figures -->", re.DOTALL)

Row = Mapping[str, Any]


def fill(document: str, rows: Sequence[Row], where: Mapping[str, str]) -> str:
    """The document with a table of its group's rows in every block `<!-- figures: GROUP -->`."""
    return _BLOCK.sub(lambda block: _block(block["group"], rows, where), document)


def fill_passes() -> None:
    """docs/passes.md has the figures of results/techniques.json."""
    found = json.loads((_measure.RESULTS / "techniques.json").read_text())
    PASSES.write_text(fill(PASSES.read_text(encoding="utf-8"), found["rows"], found["origin"]), encoding="utf-8")


def _block(group: str, rows: Sequence[Row], where: Mapping[str, str]) -> str:
    shown = (group,) if group == WITH_ITS_OWN else (group, "references")
    lines = [_line(row) for row in rows if row["group"] in shown]
    if not any(row["group"] == group for row in rows):
        told = f"Not measured yet: `python benchmarks/suite/techniques.py --only {group}`."
        return f"<!-- figures: {group} -->\n{told}\n<!-- end of figures -->"
    networks = "networks" if group == WITH_ITS_OWN else "ResNet20"
    told = f"{networks} for CIFAR-10, onnxruntime {where['onnxruntime']} on {where['cpu']}, {where['date']}"
    table = _measure.table(HEADERS, lines)
    return f"<!-- figures: {group} -->\n{table}\n\n({told}; `benchmarks/suite/techniques.py`.)\n<!-- end of figures -->"


def _line(row: Row) -> list[str]:
    before, after = row["top1_untrained"], row["top1"]
    untrained = [one for one in before if one is not None]
    spread = f" ({min(after):.1%} to {max(after):.1%})" if len(after) > 1 else ""
    return [
        row["technique"],
        f"{sum(untrained) / len(untrained):.1%}" if untrained else "",
        f"{sum(after) / len(after):.2%}{spread}",
        f"{row['flips']:.1%}",
        f"{row['macs']:.2f}",
        f"{row['kib_compressed']:.0f}",
        f"{row['of_float_ms'][0]:.2f}",
    ]
