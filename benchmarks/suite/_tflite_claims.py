"""What a run of tflite.py says of our default file: each bar, what was found, and whether it is met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import _measure
import numpy as np
from _measure import Numbers
from _tflite_files import ROUNDED_ONCE
from _tflite_networks import Case

SLOWER, ERRORS = 1.05, 2.0
"""Not worse: a latency ratio up to this and an interval that reaches 1; a difference within so many of its errors."""
RECONSTRUCTION = 0.01
"""How much of the float file's score the score of an integer one may differ by."""
AGREEMENT, WITHIN_ONE = 0.99, 0.95


def claims_of(
    case: Case, rows: Sequence[dict[str, Any]], worth: Numbers, outputs: Sequence[Numbers], taken: Numbers
) -> list[list[str]]:
    """[network, what, bar, found, met or missed] for each.

    `worth` and `outputs` are the samples' (files, N, ...), `taken` is each interpreter's (files, instances).
    """
    mine, peer = 1, _peer(case, rows, worth)
    which = f"ai-edge-quantizer's ({rows[peer]['samples']} samples)"
    own = _top1(case, rows, worth) if case.score == "top1" else _reconstruction(rows, worth)
    lines = [*own, *_integer(rows[mine]), *_parities(rows[mine])]
    if case.score == "top1":
        lines += [_paired("accuracy", which, worth[mine] - worth[peer], is_higher_better=True)]
        apart = [(each.argmax(1) != outputs[0].argmax(1)).astype(float) for each in (outputs[mine], outputs[peer])]
        lines += [_paired("flips", which, apart[0] - apart[1], is_higher_better=False)]
    else:
        off = [abs(worth[at] - worth[0]) / worth[0].mean() for at in (mine, peer)]
        lines += [_paired("the windows' scores off the float file's", which, off[0] - off[1], is_higher_better=False)]
    lines += _between(rows)
    size = rows[mine]["bytes"] / rows[peer]["bytes"]
    lines += [[f"bytes against {which}", "at most as many", f"{size:.3f}", _met(size <= 1)]]
    ratio, low, high = _measure.ratio(taken[mine], taken[peer])
    is_met = ratio <= SLOWER and low <= 1
    lines += [[f"latency against {which}", "not worse", f"{ratio:.3f} ({low:.3f} to {high:.3f})", _met(is_met)]]
    return [[case.name, *line] for line in lines]


def _peer(case: Case, rows: Sequence[dict[str, Any]], worth: Numbers) -> int:
    """Their best file: the one with the fewest flips, or whose reconstruction is nearest to the float file's."""
    places = [at for at, row in enumerate(rows) if row["who"] == "ai-edge-quantizer"]
    if case.score == "top1":
        return min(places, key=lambda at: rows[at]["flips"])
    return min(places, key=lambda at: float(abs(worth[at] - worth[0]).mean()))


def _top1(case: Case, rows: Sequence[dict[str, Any]], worth: Numbers) -> list[list[str]]:
    lost = float(round(worth[0].mean() - worth[1].mean(), 9))
    bar = f"at most {case.points} points lost"
    lines = [["top-1 against float", bar, f"{0 - 100 * lost:+.2f} points", _met(lost <= case.points / 100 + 1e-12)]]
    if case.least:
        lines.append(
            ["top-1", f"at least {case.least:.0%}", f"{rows[1]['score']:.2%}", _met(worth[1].mean() >= case.least)]
        )
    if case.unseen:
        unseen = worth[:, case.unseen :].mean(1)
        found = f"{unseen[1]:.2%}, float {unseen[0]:.2%}"
        lost = unseen[0] - unseen[1]
        lines.append([f"top-1 from sample {case.unseen} on", bar, found, _met(lost <= case.points / 100 + 1e-12)])
    return lines


def _reconstruction(rows: Sequence[dict[str, Any]], worth: Numbers) -> list[list[str]]:
    score, floats = worth[1].mean(), worth[0].mean()
    off = score / floats - 1
    vendor = [row["score"] for row in rows if row["who"] == "MLPerf Tiny"]
    is_met = abs(off) <= RECONSTRUCTION or any(abs(score - floats) <= abs(each - floats) for each in vendor)
    told = "".join(f"; the vendor's int8 {each / floats - 1:+.2%}" for each in vendor)
    bar = f"within {RECONSTRUCTION:.0%}, or no worse than the vendor's int8"
    return [["reconstruction score against float", bar, f"{off:+.2%}{told}", _met(is_met)]]


def _integer(row: dict[str, Any]) -> list[list[str]]:
    (quantized, eligible), floats = row["layers"], row["float_operators"]
    found = f"{quantized} of {eligible} layers, {floats} float operators"
    foreign, every = row["foreign_scales"], row["int8_tensors"]
    return [
        ["operators", "all integer", found, _met(quantized == eligible and not floats)],
        ["int8 tensors with scales of ours", "all", f"{every - foreign} of {every}", _met(not foreign)],
    ]


def _between(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """What the old interpreter's rounding does to the peer's file: no bar, but what ours can be held against."""
    return [
        ["ai-edge-quantizer's file in both interpreters", "", _parity(row["parity"]["between"]), ""]
        for row in rows
        if "between" in row.get("parity", {})
    ]


def _parity(found: dict[str, Any]) -> str:
    told = f"{found['within_one_step']:.2%} within one step, {found['largest_steps']:.2f} steps at most"
    agreement = found["argmax_agreement"]
    return told if agreement is None else f"{agreement:.2%} agree, {told}"


def _parities(row: dict[str, Any]) -> list[list[str]]:
    lines = []
    for interpreter, found in row["parity"].items():
        agreement = found["argmax_agreement"]
        is_met = (agreement is None or agreement >= AGREEMENT) and found["within_one_step"] >= WITHIN_ONE
        bar, verdict = f"{AGREEMENT:.0%} agree, {WITHIN_ONE:.0%} within one step", _met(is_met)
        if interpreter == ROUNDED_ONCE:
            bar = verdict = ""
        lines.append([f"parity in {interpreter}, {row['parity_samples']} samples", bar, _parity(found), verdict])
    return lines


def _paired(what: str, which: str, differs: Numbers, *, is_higher_better: bool) -> list[str]:
    """The mean of the samples' differences beside its standard error."""
    mean, error = differs.mean(), differs.std() / len(differs) ** 0.5
    worse = -mean if is_higher_better else mean
    found = f"{100 * mean:+.2f} +- {100 * error:.2f} points"
    return [f"{what} against {which}", "not worse", found, _met(bool(worse <= ERRORS * error))]


def _met(is_met: bool | np.bool_) -> str:
    return "met" if is_met else "MISSED"
