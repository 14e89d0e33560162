"""What techniques.py writes: a line for each row that is made, and what may be said of rows beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import _cifar
import _docs
import _measure
import numpy as np
from _technique_builds import Made, Options, folder_of, kept
from _technique_rows import CRITERIA, FLOAT, INT8, LABELS, LARGER, MIXES, QAT_RATES, ROUNDING, TEACHING, Row, rows

WHOLE_POINTS = 100
HEADERS = ("technique", "top-1 untrained", "top-1 by seed", "top-1", "flips", "MACs", "KiB", "by zlib", "ms")
MORE_HEADERS = ("of float's ms", "minutes")


@dataclass(frozen=True)
class Line:
    """One row with what was measured of its artifacts; accuracies are of all test images, one for each seed."""

    row: Row
    made: Sequence[Made]
    top1: _measure.Numbers
    flips: float
    times: _measure.Numbers
    """Nanoseconds of the first seed's artifact, in turns with the other rows'."""

    @property
    def mean(self) -> float:
        return float(self.top1.mean())


Lines = Mapping[tuple[str, str], Line]


def write(found: Mapping[Row, Sequence[int]], options: Options, *, quick: bool) -> None:
    """The table and the claims, and the machine that they belong to."""
    lines = measured(found, options, 200 if quick else 1000)
    parts = [
        f"On {options.images} test images; rows train on 10,000 images, on {options.target}'s terms. Top-1 is that of"
        " the artifact in onnxruntime (untrained: of the network in torch, right before it was trained). Flips are"
        " beside the float network's answers, MACs its share; latency in one thread, in turns, with the 95 % interval"
        " of the ratio; minutes are CPU time of one build in one thread, or where it says GPU those of one build beside"
        f" a dozen others{_gpus(lines)}.",
        _table(lines),
        "What may be said of rows beside each other (points of top-1):",
        _measure.table(["what", "found", "verdict"], claims(lines)),
    ]
    missing = [f"{row.group}, {row.name}" for row in rows() if row not in found]
    if missing:
        parts.append(f"Not made yet: {'; '.join(missing)}.")
    where = _measure.origin("onnxruntime", "torch")
    _measure.write(
        "techniques", "\n\n".join(parts), [_stored(line, lines) for line in lines.values()], where, quick=quick
    )
    if not quick:
        _docs.fill_passes()


def measured(found: Mapping[Row, Sequence[int]], options: Options, rounds: int) -> Lines:
    """The lines by group and name, with latencies taken now."""
    samples = _cifar.Samples(options.data, "test")
    labels, image = samples.labels[: options.images], next(samples.arrays(1, 1))[0]
    sessions = [_measure.session(folder_of(row, seeds[0], options) / "model.onnx") for row, seeds in found.items()]
    lines: dict[tuple[str, str], Line] = {}
    for (row, seeds), times in zip(found.items(), _measure.in_turns(sessions, image, rounds), strict=True):
        made = [one for seed in seeds if (one := kept(row, seed, options))]
        answers = np.stack([one.predictions for one in made])
        whole = next((line for line in lines.values() if line.row.network == row.network), None)
        reference = whole.made[0].predictions if whole else answers[0]
        lines[row.group, row.name] = Line(
            row, made, (answers == labels).mean(1), float((answers != reference).mean()), times
        )
    return lines


def claims(lines: Lines) -> list[list[str]]:
    """What was promised of the techniques, each with what was found."""
    found = [*_taught(lines), *_rounded(lines), *_chosen(lines), *_mixed(lines), *_larger(lines)]
    return found or [["nothing yet", "", ""]]


def _taught(lines: Lines) -> list[list[str]]:
    """Each way of teaching beside the labels alone."""
    base = lines.get((TEACHING, LABELS))
    ways = [line for (group, name), line in lines.items() if group == TEACHING and name != LABELS]
    return [[f"{line.row.name} beside labels", *_beside(line, base)] for line in ways if base]


def _rounded(lines: Lines) -> list[list[str]]:
    """Training with rounding beside calibration alone."""
    found = []
    for bits in QAT_RATES:
        own = [line for line in lines.values() if line.row.group == ROUNDING and line.row.weight_bits == bits]
        for line in own[1:]:
            found.append([f"{line.row.name} beside calibration", *_beside(line, own[0])])
    return found


def _chosen(lines: Lines) -> list[list[str]]:
    """Each criterion beside the mean of random choices, before any training and after it."""
    own = {name: line for (group, name), line in lines.items() if group == CRITERIA}
    chance = own.pop("random", None)
    if chance is None:
        return []
    found, untrained = [], np.mean([one.unrecovered for one in chance.made])
    for name, line in own.items():
        gain = float(np.mean([one.unrecovered for one in line.made]) - untrained)
        found.append([f"{name} beside random, untrained", _points(gain), "better" if gain > 0 else "not better"])
        found.append([f"{name} beside random, trained", *_beside(line, chance)])
    return found


def _mixed(lines: Lines) -> list[list[str]]:
    """Fewer channels or blocks, taught for long, beside the float network and INT8 alone."""
    whole, int8 = lines.get(("references", FLOAT)), lines.get(("references", INT8))
    if whole is None or int8 is None:
        return []
    return [
        [name, _against(line, whole, int8), _minutes(line)] for (group, name), line in lines.items() if group == MIXES
    ]


def _larger(lines: Lines) -> list[list[str]]:
    """Larger networks beside what they were."""
    found = []
    own = [line for (group, _), line in lines.items() if group == LARGER]
    for line in own:
        whole = next(other for other in own if other.row.network == line.row.network)
        if line is not whole:
            found.append([line.row.name, _against(line, whole, whole), _minutes(line)])
    return found


def _beside(one: Line, other: Line) -> tuple[str, str]:
    """The difference of the means, and whether it is outside the spread of the seeds."""
    apart = one.top1.min() > other.top1.max() or one.top1.max() < other.top1.min()
    seeds = min(len(one.made), len(other.made) if other.row.is_trained else len(one.made))
    spread = f"{'beyond' if apart else 'within'} the seeds' spread" if seeds > 1 else "one seed"
    gain = one.mean - other.mean
    return _points(gain), f"{'better' if gain > 0 else 'not better'}, {spread}"


def _whole(line: Line, lines: Lines) -> Line:
    """The float32 line of the same network."""
    return next(other for other in lines.values() if other.row.network == line.row.network)


def _against(line: Line, whole: Line, other: Line) -> str:
    told = f"{_points(line.mean - whole.mean)} of float, {_speed(line, whole)} of its latency"
    return told if other is whole else f"{told}, {_speed(line, other)} of INT8's"


def _minutes(line: Line) -> str:
    slow = [one.cpu_minutes for one in line.made if not one.gpu]
    return f"{max(slow):.0f} CPU minutes" if slow else "trained on a GPU"


def _taken(line: Line) -> str:
    """CPU minutes of one build where one was trained on a processor; else how long it took beside a GPU."""
    slow = [one.cpu_minutes for one in line.made if not one.gpu]
    return f"{np.mean(slow):.1f}" if slow else f"{np.mean([one.minutes for one in line.made]):.1f} GPU"


def _gpus(lines: Lines) -> str:
    """What trained rows, where that was a GPU."""
    found = dict.fromkeys(one.gpu for line in lines.values() for one in line.made if one.gpu)
    return f" on one {' and one '.join(found)}" if found else ""


def _speed(one: Line, other: Line) -> str:
    ratio, low, high = _measure.ratio(one.times, other.times)
    return f"{ratio:.3f} ({low:.3f} to {high:.3f})"


def _points(part: float) -> str:
    return f"{WHOLE_POINTS * part:+.2f}"


def _table(lines: Lines) -> str:
    written: list[list[str]] = []
    for line in lines.values():
        unrecovered = [one.unrecovered for one in line.made if one.unrecovered is not None]
        figures = [
            f"{np.mean(unrecovered):.1%}" if unrecovered else "",
            " ".join(f"{top1:.2%}" for top1 in line.top1) if len(line.made) > 1 else "",
            f"{line.mean:.2%}",
            f"{line.flips:.1%}",
            f"{line.made[0].macs:.3f}",
            f"{line.made[0].kib:.0f}",
            f"{line.made[0].compressed_kib:.0f}",
            f"{np.median(line.times) / 1e6:.3f}",
            _speed(line, _whole(line, lines)),
            _taken(line),
        ]
        written.append([f"{line.row.group}: {line.row.name}", *figures])
    return _measure.table([*HEADERS, *MORE_HEADERS], written)


def _stored(line: Line, lines: Lines) -> dict[str, Any]:
    first, whole = line.made[0], _whole(line, lines)
    return {
        "group": line.row.group,
        "technique": line.row.name,
        "network": line.row.network,
        "compress": line.row.compress,
        "weight_bits": line.row.weight_bits,
        "top1_untrained": [one.unrecovered for one in line.made],
        "top1": line.top1.tolist(),
        "flips": line.flips,
        "macs": first.macs,
        "kib": first.kib,
        "kib_compressed": first.compressed_kib,
        "ms": float(np.median(line.times)) / 1e6,
        "of_float_ms": _measure.ratio(line.times, whole.times),
        "minutes": [one.minutes for one in line.made],
        "cpu_minutes": [one.cpu_minutes for one in line.made],
        "trained_on": sorted({one.gpu or one.cpu for one in line.made}),
    }
