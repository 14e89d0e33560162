"""What rounding breaks and what mends it: a network made hard on purpose, few bits, and a budget that INT8 misses.

    python benchmarks/suite/repair.py [--quick] [--data FOLDER] [--target NAME] [--table]

ResNet20's convolutions inside of blocks get channels whose ranges lie 100-fold apart, made up for in the convolution
behind: the float network computes the same. Each row is a recipe's `compress.quantize`; accuracy is that of the
artifact in onnxruntime on the test images, latency is taken in turns in one thread. A finished row is kept in
out/repair beside this file, and the table is of what is there. Writes results/repair.md and repair.json.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _cifar
import _measure
import numpy as np

NETWORK = "resnet20_cifar10jpeg_derived"
SPREAD = 100.0
PER_TENSOR = {"weights": {"granularity": "per-tensor"}}
COARSE = {"weights": {"bits": 4, "granularity": "per-tensor"}}
FLOAT, PLAIN, HARD = "float32", "as trained", "channels 100-fold apart"
ROWS: dict[str, tuple[str, dict[str, Any] | None]] = {
    FLOAT: (PLAIN, None),
    "one scale for each tensor": (PLAIN, PER_TENSOR),
    "a scale for each channel": (HARD, {}),
    "one scale for each tensor, hard": (HARD, PER_TENSOR),
    "biases corrected": (HARD, {**PER_TENSOR, "repair": "correct-bias"}),
    "ranges equalized": (HARD, {**PER_TENSOR, "repair": "equalize"}),
    "all repairs": (HARD, {**PER_TENSOR, "repair": "auto"}),
    "4 bits, a scale for each channel": (PLAIN, {"weights": {"bits": 4}}),
    "4 bits, all repairs": (PLAIN, {"weights": {"bits": 4}, "repair": "auto"}),
    "4 bits, learned rounding": (PLAIN, {"weights": {"bits": 4}, "rounding": "adaround"}),
    "4 bits, learned rounding and all repairs": (
        PLAIN,
        {"weights": {"bits": 4}, "rounding": "adaround", "repair": "auto"},
    ),
    "4 bits, one scale for each tensor": (PLAIN, COARSE),
    "the same, at most 10 points lost": (PLAIN, {**COARSE, "mixed": {"drop_points": 10}}),
    "the same, at most 3 points lost": (PLAIN, {**COARSE, "mixed": {"drop_points": 3}}),
}
"""The network, and what the recipe asks for."""


@dataclass(frozen=True)
class Row:
    """One artifact: `answers` has a digit for each test image, `notes` what the passes decided."""

    answers: str
    kib: float
    notes: list[str]

    @property
    def predictions(self) -> _measure.Numbers:
        return np.frombuffer(self.answers.encode(), np.uint8) - ord("0")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images")
    _cifar.add_data_option(parser)
    parser.add_argument("--target", default="x86-avx2")
    parser.add_argument("--table", action="store_true", help="make no row, only the table of those that are there")
    options = parser.parse_args()
    _cifar.end_without(options.data)
    rows = {name: found for name in ROWS if (found := row_of(name, options)) is not None}
    if FLOAT not in rows:
        sys.exit("no table: the float32 row, to which all are compared, is not made yet")
    write(rows, options)


def folder_of(name: str, options: argparse.Namespace) -> Path:
    asked = json.dumps([ROWS[name], options.target, count_of(options)])
    slug = name.replace(",", "").replace(" ", "-")
    return _measure.OUT / "repair" / f"{slug}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"


def count_of(options: argparse.Namespace) -> int:
    return 1000 if options.quick else 10_000


def row_of(name: str, options: argparse.Namespace) -> Row | None:
    """The row, made now or found among the finished ones."""
    folder = folder_of(name, options)
    kept = folder / "row.json"
    if kept.is_file():
        return Row(**json.loads(kept.read_text()))
    if options.table:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    row = made(name, folder, options)
    partial = folder / "row.partial"
    partial.write_text(json.dumps(asdict(row)))
    partial.rename(kept)
    print(f"{name}: made", file=sys.stderr, flush=True)
    return row


def made(name: str, folder: Path, options: argparse.Namespace) -> Row:
    """The artifact, and what it answers."""
    from edgewright.devices.local import LocalDevice
    from edgewright.ir.state import InputSpec, ModelState
    from edgewright.passes import ALL, manager
    from edgewright.passes.contract import Context
    from edgewright.pipeline.measuring import measure_on
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.runtimes.onnxruntime import OnnxEmitter
    from edgewright.targets import load_target

    kind, asked = ROWS[name]
    target, emitter = load_target(options.target), OnnxEmitter()
    compress = {} if asked is None else {"quantize": asked}
    recipe: Any = Recipe.model_construct(compress=Compress.model_validate(compress))
    network = _cifar.network(options.data, NETWORK)
    state = ModelState((InputSpec("image", (None, 3, 32, 32)),), spread(network) if kind == HARD else network)
    context = Context(
        data=_cifar.Splits(_cifar.Samples(options.data, "train")),  # type: ignore[arg-type]
        task="classification",
        seed=0,
        scratch=folder,
        say=lambda text: None,
        measure=measure_on(target, LocalDevice(), 1),
        score=lambda outputs, labels: float((outputs.argmax(1) == labels).float().mean()),
    )
    for planned in manager.plan(recipe, target, ALL, emitter.name, emitter.needs).steps:
        state = manager.run(planned.step, state, context)
    file = folder / emitter.emit(state, target, folder).main
    samples = _cifar.Samples(options.data, "test")
    answers = _measure.predictions(_measure.session(file), samples.arrays(1, count_of(options)))
    (folder / "main.txt").write_text(file.name)
    told = ("equalize-ranges", "correct-bias", "choose-precision", "learn-rounding")
    notes = [note for record in state.history if record.step.startswith(told) for note in record.notes]
    return Row("".join(map(str, answers)), file.stat().st_size / 1024, notes)


def spread(network: Any) -> Any:
    """The network with channels inside of its blocks from a tenth to ten times as large; it computes the same."""
    import torch

    network = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(0)
    blocks = [module for module in network.modules() if hasattr(module, "conv1") and hasattr(module, "conv2")]
    with torch.no_grad():
        for block in blocks:
            channels = len(block.conv1.weight)
            order = torch.randperm(channels, generator=generator)
            factors = torch.logspace(-0.5, 0.5, channels)[order] ** float(np.log10(SPREAD))
            block.bn1.weight.mul_(factors)
            block.bn1.bias.mul_(factors)
            block.conv2.weight.div_(factors.reshape(1, -1, 1, 1))
    return network


def write(rows: dict[str, Row], options: argparse.Namespace) -> None:
    """The table, what was decided, and the machine that it belongs to."""
    labels = _cifar.Samples(options.data, "test").labels[: count_of(options)]
    floats = rows[FLOAT].predictions
    sessions = []
    for name in rows:
        folder = folder_of(name, options)
        sessions.append(_measure.session(folder / (folder / "main.txt").read_text()))
    image = next(_cifar.Samples(options.data, "test").arrays(1, 1))[0]
    taken = dict(zip(rows, _measure.in_turns(sessions, image, 100 if options.quick else 1000), strict=True))
    lines, stored, decided = [], [], []
    base = float((floats == labels).mean())
    for name, row in rows.items():
        top1, flips = float((row.predictions == labels).mean()), float((row.predictions != floats).mean())
        ratio, low, high = _measure.ratio(taken[name], taken[FLOAT])
        speed = f"{ratio:.3f} ({low:.3f} to {high:.3f})"
        points = f"{100 * (top1 - base):+.2f}"
        lines.append([ROWS[name][0], name, f"{top1:.2%}", points, f"{flips:.2%}", f"{row.kib:.0f}", speed])
        stored.append({"network": ROWS[name][0], "row": name, "top1": top1, "flips": flips, "kib": row.kib})
        stored[-1] |= {"of_float": [ratio, low, high], "notes": row.notes}
        if row.notes:
            decided.append(f"{name}:\n\n" + "\n".join(f"- {note}" for note in row.notes))
    headers = ["ResNet20", "INT8 by", "top-1", "points", "flips", "KiB", "of float's ms"]
    text = (
        f"{NETWORK} on {options.target}'s terms, {len(labels)} test images; calibrated, and judged where layers are"
        f" chosen, on training images.\n\n{_measure.table(headers, lines)}\n\nWhat was decided:\n\n"
        + "\n\n".join(decided)
    )
    _measure.write("repair", text, stored, _measure.origin("onnxruntime", "torch"), quick=options.quick)


if __name__ == "__main__":
    main()
