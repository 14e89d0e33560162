"""The page that `coverage.py` writes: counts, the table, and the reasons; every number comes from the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import _measure
import _torchvision

Row = dict[str, Any]


def short(row: Row) -> str:
    """One line about a row, for whoever watches."""
    seconds = sum(row.get("seconds", {}).values())
    return f"{row['network']}: {verdict(row)}; {seconds:.0f} s; torch-pruning: {_peer(row)}"


def is_pruned(row: Row) -> bool:
    return row.get("pruned_macs", row.get("macs", 0)) < row.get("macs", 0)


def is_run(row: Row) -> bool:
    """Whether the INT8 artifact gave finite outputs in the runtime."""
    return "parity" in row and row["coverage"]["quantized"] > 0


def agrees(row: Row) -> bool:
    """Whether artifact and simulated model name the same class for every sample."""
    return is_run(row) and row["parity"]["argmax_agreement"] == 1.0


def verdict(row: Row) -> str:
    if row.get("error"):
        return str(row["error"])
    parity = row["parity"]
    return (
        f"{1 - row['pruned_macs'] / row['macs']:.1%} gone, {row['coverage']['quantized']} of"
        f" {row['coverage']['eligible']} in INT8, {parity['largest_steps']:.2f} steps, argmax"
        f" {parity['argmax_agreement']:.1%}"
    )


def document(rows: Sequence[Row], count: int, target: str) -> str:
    """The page, in Markdown."""
    listed = [row for row in rows if row["network"] not in _torchvision.BESIDE_THE_LIST]
    beside = [name for name in _torchvision.BESIDE_THE_LIST if any(row["network"] == name for row in rows)]
    parts = [
        "# Coverage: torchvision's classification networks",
        f"Structures only, random weights, images of noise. `python benchmarks/suite/coverage.py` wrote this page; its"
        f" first lines say how to repeat it. Target: `{target}`. Every network was asked to lose"
        f" {0.3:.0%} of its multiply-accumulates (criterion l2, widths as the profile wants them) and to become static"
        f" INT8 (min-max), was emitted, and ran in ONNX Runtime in an agent's process.",
        counts(listed, count - len(_torchvision.BESIDE_THE_LIST)),
        f"Beside the list because of its size: {', '.join(beside)}." if beside else "",
        table(rows),
        legend(),
        "## Where artifact and simulated model part",
        partings(rows),
        "## What is not pruned, and why",
        reasons(rows),
        "## What stays in float, and why",
        floats(rows),
        "## torch-pruning at its defaults",
        peers(rows),
        "## Where these numbers come from",
        origins(rows),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def counts(rows: Sequence[Row], count: int) -> str:
    whole = [row for row in rows if is_pruned(row) and is_run(row)]
    lines = [
        f"{len(rows)} of the {count} networks of up to {_torchvision.MOST_PARAMETERS / 1e6:.0f} million parameters"
        " were tried.",
        f"**{len(whole)} of {len(rows)} are pruned, quantized and run end to end.**",
        f"{sum(map(is_pruned, rows))} are pruned; {sum(map(is_run, rows))} run in INT8; in"
        f" {sum(map(agrees, rows))} artifact and simulated model name the same class for every sample.",
        f"torch-pruning driven by hand gets through {sum(row['peer']['error'] is None for row in rows)}.",
    ]
    failed = [f"- {row['network']}: {row['error']}" for row in rows if row.get("error")]
    return "\n".join([*lines, *(["", "Not through:", "", *failed] if failed else [])])


def table(rows: Sequence[Row]) -> str:
    headers = ["network", "parameters", "MACs", "gone", "narrowed, whole", "INT8", "equal tensors", "steps"]
    headers += ["same class", "seconds"]
    return _measure.table([*headers, "torch-pruning"], [_line(row) for row in rows])


def _line(row: Row) -> list[str]:
    cells = [row["network"], _millions(row.get("parameters")), "", "", "", "", "", "", "", "", _peer(row)]
    if "pruned_macs" in row:
        cells[2] = f"{_millions(row['macs'])} to {_millions(row['pruned_macs'])}"
        cells[3] = f"{1 - row['pruned_macs'] / row['macs']:.1%}"
        cells[4] = f"{row['pruned_layers']}, {sum(row['whole'].values())}"
    if "coverage" in row:
        cells[5] = f"{row['coverage']['quantized']} of {row['coverage']['eligible']}"
    if "parity" in row:
        cells[6] = f"{row['tensors']['equal']} of {row['tensors']['tensors']}"
        cells[7] = f"{row['parity']['largest_steps']:.2f}"
        cells[8] = _same(row["parity"])
    if seconds := row.get("seconds"):
        slowest = max(seconds, key=seconds.__getitem__)
        cells[9] = f"{sum(seconds.values()):.0f} ({slowest} {seconds[slowest]:.0f})"
    return cells


def _same(parity: Row) -> str:
    told = f"{parity['same']} of {parity['images']}"
    return told if parity["same"] == parity["images"] else f"{told}; gap {parity['gap_steps']:.2f} steps"


def _millions(number: float | None) -> str:
    return "" if number is None else f"{number / 1e6:.1f} M" if number < 1e9 else f"{number / 1e9:.2f} G"


def _peer(row: Row) -> str:
    peer = row["peer"]
    if peer["error"] is None:
        return f"{1 - peer['macs']:.1%} gone"
    return "time is up" if "not done within" in peer["error"] else str(peer["error"]).split(":")[0]


def legend() -> str:
    return (
        "*narrowed, whole*: layers that lost channels, and those left whole. *INT8*: layers with weights that the"
        " runtime computes in INT8, read from its optimized graph, of all that it runs. *equal tensors*: of one image,"
        " those whose every integer is the same in the artifact and in the simulated model. *steps*: the"
        " largest difference of any output over all images, in quantization steps of the output. *same class*: images"
        " for which both name the same class; *gap*: how far apart the two classes' outputs are in the simulated model"
        " where they don't. *seconds*: all stages on one thread of a machine that others used too,"
        " with the slowest.\n\nWhere artifact and simulated model part, it begins with a sum next to a half that rounds"
        " to the other side: the simulated model sums in float32 what the runtime sums in integers (next section)."
        " Random weights, unlike trained ones, let such a difference grow from layer to layer."
    )


def partings(rows: Sequence[Row]) -> str:
    """What the first tensor that is not the same everywhere is like."""
    lines = []
    for row in rows:
        if first := row.get("tensors", {}).get("first"):
            half = f"{first['from_half']:.1g}" if "from_half" in first else "not looked at"
            share = f"{first['differ']:.4%}"
            lines.append([row["network"], str(first["number"]), share, str(first["largest"]), half])
    if not lines:
        return ""
    headers = ["network", "equal tensors before", "of its integers differ", "by steps at most", "steps from a half"]
    about = "The first tensor with a difference, and how near to a half what was rounded there lay"
    return f"{about}:\n\n{_measure.table(headers, lines)}"


def reasons(rows: Sequence[Row]) -> str:
    """The most frequent reason of each network for leaving a layer whole."""
    lines = []
    for row in rows:
        if row.get("whole"):
            reason, layers = max(row["whole"].items(), key=lambda entry: entry[1])
            lines.append([row["network"], str(sum(row["whole"].values())), f"{reason} ({layers})"])
    return _measure.table(["network", "layers left whole", "most frequent reason (layers)"], lines)


def floats(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        left = Counter(why for _, why in row.get("coverage", {}).get("left", ()))
        if left:
            reason, layers = left.most_common(1)[0]
            lines.append([row["network"], str(sum(left.values())), f"{reason} ({layers})"])
    if not lines:
        return "Nothing: every layer with weights is computed in INT8."
    return _measure.table(["network", "layers in float", "most frequent reason (layers)"], lines)


def peers(rows: Sequence[Row]) -> str:
    failures = [[row["network"], row["peer"]["error"]] for row in rows if row["peer"]["error"] is not None]
    about = (
        "`MagnitudePruner` with group norms, `pruning_ratio=0.3`, the layer that gives the classes ignored, all else at"
        " its defaults; 60 s of processor time for each network. Its ratio is one of channels."
    )
    return f"{about}\n\n{_measure.table(['network', 'what it said'], failures)}" if failures else about


def origins(rows: Sequence[Row]) -> str:
    """The machines, days and versions, each with how many rows it made."""
    found = Counter(", ".join(f"{key} {value}" for key, value in row["made"].items()) for row in rows)
    sources = len({row["source"] for row in rows if "source" in row})
    lines = [f"- {where}: {number} networks" for where, number in found.most_common()]
    lines.append(f"- torchvision's networks, {sources} state{'s' if sources > 1 else ''} of edgewright's own source")
    return "\n".join(lines)
