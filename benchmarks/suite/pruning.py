"""ResNet20 at half its multiply-accumulates and in INT8: edgewright's ways of pruning beside torch-pruning's.

    python benchmarks/suite/pruning.py [--quick] [--data FOLDER] [--target NAME] [--seeds N] [--epochs N]

All pruned networks get the same recovery (edgewright's training loop), then the same quantization and emission.
Ways that train while they prune train as much as there is of recovery. Accuracy is that of the artifacts in
onnxruntime, latency is taken in turns in one thread. A run that was killed goes on from its checkpoints in out/pruning
beside this file. Writes results/pruning.md and pruning.json.
"""

from __future__ import annotations

import argparse
import bisect
import copy
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import _cifar
import _measure
import numpy as np

NETWORK, PART, ZEROS = "resnet20_cifar10jpeg_derived", 0.5, 0.8
LATENCY_SLACK, STANDARD_ERRORS = 1.05, 2
"""Not worse: latency within 5 % and no interval that excludes equality; accuracy within two standard errors."""
Prune = Callable[[Any, argparse.Namespace], Any]
"""From a network to the state that it is in once pruned."""


@dataclass
class Row:
    """One network on its way: pruned or not, trained on or not, and what its artifacts do, one for each seed."""

    who: str
    how: str
    prune: Prune | None = None
    quantized: bool = True
    widths: str = ""
    macs: float = 0.0
    at_once: float | None = None
    """The accuracy right after pruning, before any recovery, in torch."""
    kib: tuple[float, float] = (0.0, 0.0)
    """The first seed's artifact, and what zlib makes of it."""
    times: _measure.Numbers = field(default_factory=lambda: np.zeros(0))
    """Nanoseconds of the first seed's artifact, in turns with the other rows'."""
    correct: _measure.Numbers = field(default_factory=lambda: np.zeros(0))
    """(seeds, images): which images the artifacts get right."""

    @property
    def name(self) -> str:
        return f"{self.who}, {self.how}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, little training, fewer images")
    _cifar.add_data_option(parser)
    parser.add_argument("--target", default="x86-avx2")
    parser.add_argument("--seeds", type=int, help="how many (default 3)")
    parser.add_argument("--epochs", type=float, help="of recovery (default 1)")
    options = parser.parse_args()
    _cifar.end_without(options.data)
    options.seeds = options.seeds or (1 if options.quick else 3)
    options.epochs = options.epochs or (0.1 if options.quick else 1.0)
    options.images = 2000 if options.quick else 10_000
    rows = [Row("not pruned", "float32", quantized=False), Row("not pruned", "INT8")]
    half: dict[str, Any] = {"flops": PART}
    in_steps = {"steps": 4, "schedule": "cubic", "recover_epochs": options.epochs}
    learned = {"regularize_epochs": options.epochs}
    ours = [Row("edgewright", criterion, by_edgewright(**half, criterion=criterion)) for criterion in ("l2", "taylor")]
    others = [
        Row("edgewright", "slimming", by_edgewright(**half, **learned, criterion="slimming")),
        Row("edgewright", "group-l2", by_edgewright(**half, **learned, criterion="group-l2")),
        Row("edgewright", "l2 in 4 cubic steps", by_edgewright(**half, **in_steps)),
        Row("edgewright", "blocks", by_edgewright(**half, granularity="block")),
        Row("edgewright", f"{ZEROS:.0%} of single weights", by_edgewright(granularity="element", weights=ZEROS)),
    ]
    theirs = [
        Row("torch-pruning", "all layers but the last", by_torch_pruning(only_inner=False)),
        Row("torch-pruning", "first convolutions of blocks only", by_torch_pruning(only_inner=True)),
    ]
    rows += [*ours, *others, *theirs]
    measure(rows, options)
    write(rows, ours, theirs, options)


def measure(rows: list[Row], options: argparse.Namespace) -> None:
    """Every row has its figures."""
    network, samples = _cifar.network(options.data, NETWORK), _cifar.Samples(options.data, "test")
    sessions = []
    with tempfile.TemporaryDirectory() as folder:
        for number, row in enumerate(rows):
            pruned = row.prune(copy.deepcopy(network), options) if row.prune else state_of(network)
            row.widths, row.macs = widths(pruned.module), macs(pruned.module) / macs(network)
            row.at_once = accuracy(pruned.module, samples) if row.prune else None
            seeds = range(options.seeds if row.prune else 1)
            files = [artifact(row, pruned, seed, options, Path(folder) / f"{number}-{seed}") for seed in seeds]
            row.kib = (files[0].stat().st_size / 1024, len(zlib.compress(files[0].read_bytes())) / 1024)
            own = [_measure.session(file) for file in files]
            row.correct = np.stack([correct(runner, samples, options.images) for runner in own])
            sessions.append(own[0])
            print(f"{row.name}: {row.widths}: {np.mean(row.correct):.2%}", file=sys.stderr)
    image = next(samples.arrays(1, 1))[0]
    for row, times in zip(rows, _measure.in_turns(sessions, image, 200 if options.quick else 1000), strict=True):
        row.times = times


def by_edgewright(**keys: Any) -> Prune:
    """What a recipe with `prune: {keys}` does on the target, all else at its defaults."""

    def prune(network: Any, options: argparse.Namespace) -> Any:
        from edgewright.passes.prune_blocks import PruneBlocks
        from edgewright.passes.prune_channels import PruneChannels
        from edgewright.passes.prune_elements import PruneElements
        from edgewright.recipe.pruning import Prune as Asked
        from edgewright.recipe.schema import Compress, Recipe
        from edgewright.targets import load_target

        recipe: Any = Recipe.model_construct(compress=Compress(prune=Asked(**keys)))
        kinds: tuple[Any, ...] = (PruneChannels, PruneElements, PruneBlocks)
        (step,) = (found for kind in kinds if (found := kind.for_target(load_target(options.target), recipe)))
        return step.run(state_of(network), context(options, scratch(), 0))

    return prune


def by_torch_pruning(*, only_inner: bool) -> Prune:
    """torch-pruning's MagnitudePruner with group norms, at the ratio that comes nearest to half the MACs.

    `only_inner`: what a careful user does for a network whose shortcuts slice and pad: only the channels within the
    blocks go, so that all the others are in the pruner's `ignored_layers`. Otherwise it takes the same channel numbers
    from every stage (seen with 1.6.1), although the shortcuts pad: what is left no longer meets its counterpart, and
    the network guesses until it is trained again.
    """

    def at_ratio(network: Any, ratio: float) -> Any:
        import torch
        import torch_pruning

        pruned = copy.deepcopy(network)
        ignored = [pruned.linear]
        if only_inner:
            blocks = [block for stage in (pruned.layer1, pruned.layer2, pruned.layer3) for block in stage]
            ignored += [pruned.conv1, *(block.conv2 for block in blocks)]
        pruner = torch_pruning.pruner.MagnitudePruner(
            pruned,
            torch.zeros(1, 3, 32, 32),
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=ignored,
        )
        pruner.step()
        return pruned

    def prune(network: Any, options: argparse.Namespace) -> Any:
        whole = macs(network)
        percents = range(20, 71)
        first = bisect.bisect_left(percents, -PART, key=lambda percent: -macs(at_ratio(network, percent / 100)) / whole)
        tried = [at_ratio(network, percent / 100) for percent in percents[max(0, first - 1) : first + 1]]
        return state_of(min(tried, key=lambda pruned: abs(macs(pruned) / whole - PART)))

    return prune


def artifact(row: Row, pruned: Any, seed: int, options: argparse.Namespace, out: Path) -> Path:
    """The file of what becomes of the network: recovered where it was pruned, quantized where the row says so."""
    from edgewright.passes import manager
    from edgewright.passes.calibrate import Calibrate
    from edgewright.passes.export import Export
    from edgewright.passes.fold_batchnorm import FoldBatchnorm
    from edgewright.passes.insert_quantization import InsertQuantization
    from edgewright.recipe.quantization import Quantize
    from edgewright.recipe.schema import Compress, Recipe
    from edgewright.runtimes.onnxruntime import OnnxEmitter
    from edgewright.targets import load_target

    out.mkdir()
    target = load_target(options.target)
    recipe: Any = Recipe.model_construct(compress=Compress(quantize=Quantize() if row.quantized else None))
    state = recovered(pruned, seed, options) if row.prune else pruned
    steps: list[Any] = [Export(), FoldBatchnorm()]
    steps += [kind.for_target(target, recipe) for kind in (Calibrate, InsertQuantization) if row.quantized]
    for step in steps:
        state = manager.run(step, state, context(options, out, seed))
    return out / OnnxEmitter().emit(state, target, out).main


def recovered(pruned: Any, seed: int, options: argparse.Namespace) -> Any:
    """A trained copy, with its zeros held; a run stored in out/ under its weights, options and seed is gone on with."""
    from edgewright.ir.progress import Silent
    from edgewright.ir.zeros import held_weights
    from edgewright.training.loop import TrainingOptions, train

    how = TrainingOptions(
        epochs=options.epochs,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-4,
        batch_size=64,
        warmup=0.05,
        patience=None,
    )
    network, masked = copy.deepcopy(pruned.module), held_weights(pruned)
    where: dict[str, Any] = {"scratch": scratch(), "progress": Silent()}
    train(network, splits(options), "classification", how, seed=seed, masked=masked, **where)
    return replace(pruned, module=network)


def scratch() -> Path:
    folder = _measure.OUT / "pruning"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def splits(options: argparse.Namespace) -> Any:
    """The images of the train split, augmented where they are trained on."""
    plain, augmented = _cifar.Samples(options.data, "train"), _cifar.Samples(options.data, "train", augmented=True)
    return _cifar.Splits(plain, train=augmented)


def context(options: argparse.Namespace, scratch: Path, seed: int) -> Any:
    from edgewright.passes.contract import Context

    return Context(splits(options), "classification", seed, scratch, lambda text: None)


def state_of(network: Any) -> Any:
    from edgewright.ir.state import InputSpec, ModelState

    return ModelState((InputSpec("image", (1, 3, 32, 32)),), module=network)


def correct(runner: Any, samples: _cifar.Samples, count: int) -> _measure.Numbers:
    return _measure.predictions(runner, samples.arrays(1, count)) == samples.labels[:count]


def accuracy(network: Any, samples: _cifar.Samples, count: int = 2000) -> float:
    import torch

    hits = []
    with torch.no_grad():
        for images, labels in samples.arrays(500, count):
            hits.append(network(torch.from_numpy(images)).argmax(1).numpy() == labels)
    return float(np.mean(np.concatenate(hits)))


def widths(network: Any) -> str:
    """The widths of the convolutions of each stage, those within the blocks after those between them; 0: no block."""

    def width(block: Any, layer: str) -> int:
        found = dict(block.named_children()).get(layer)
        return found.out_channels if found else 0

    stages = (network.layer1, network.layer2, network.layer3)
    inner = ["/".join(str(width(block, "conv1")) for block in stage) for stage in stages]
    outer = [max(width(block, "conv2") for block in stage) for stage in stages]
    return " ".join(f"{width}({own})" for width, own in zip(outer, inner, strict=True))


def macs(network: Any) -> float:
    import torch
    from edgewright.channels.costs import count_macs

    return count_macs(network, (torch.zeros(1, 3, 32, 32),))


def beside(one: Row, other: Row) -> tuple[str, str, bool]:
    """What may be said of `one` beside `other`: latency, accuracy, and whether it is not worse in both."""
    ratio, low, high = _measure.ratio(one.times, other.times)
    slower = low > 1 or ratio > LATENCY_SLACK
    differences = one.correct.mean(0) - other.correct.mean(0)
    errors = [float(np.std(differences) / np.sqrt(len(differences)))]
    seeds = one.correct.mean(1) - other.correct.mean(1)
    if len(seeds) > 1:
        errors.append(float(np.std(seeds, ddof=1) / np.sqrt(len(seeds))))
    difference, error = float(differences.mean()), max(errors)
    less_accurate = difference < -STANDARD_ERRORS * error
    return (
        f"{ratio:.3f} ({low:.3f} to {high:.3f})",
        f"{100 * difference:+.2f} +- {100 * error:.2f} points",
        not slower and not less_accurate,
    )


def write(rows: list[Row], ours: list[Row], theirs: list[Row], options: argparse.Namespace) -> None:
    """The tables, with what was done and the machine that they belong to."""
    lines = []
    for row in rows:
        ratio, low, high = _measure.ratio(row.times, rows[0].times)
        seeds = " ".join(f"{part:.2%}" for part in row.correct.mean(1))
        speed = [f"{np.median(row.times) / 1e6:.3f}", f"{ratio:.3f} ({low:.3f} to {high:.3f})"]
        at_once = "" if row.at_once is None else f"{row.at_once:.1%}"
        size = [f"{kib:.0f}" for kib in row.kib]
        figures = [f"{row.macs:.3f}", *size, *speed, at_once, seeds, f"{row.correct.mean():.2%}"]
        lines.append([row.who, row.how, row.widths, *figures])
    headers = ["by", "how", "widths: stage (within its blocks)", "MACs", "KiB", "by zlib", "ms", "of float's ms"]
    headers += ["top-1 unrecovered", "top-1 by seed", "top-1"]
    claims = []
    for one in ours:
        for other in theirs:
            latency, top1, is_fine = beside(one, other)
            claims.append([one.how, other.how, latency, top1, "not worse" if is_fine else "worse"])
    claim_headers = ["edgewright", "torch-pruning", "latency", "top-1, paired", "verdict"]
    text = (
        f"{NETWORK}, half its multiply-accumulates pruned (or {ZEROS:.0%} of its single weights),"
        f" {options.epochs:g} epochs of recovery on 10,000 images (AdamW, the same for all), INT8 as"
        f" {options.target} wants it; {options.images} test images; one thread, in turns."
        f"\n\n{_measure.table(headers, lines)}\n\nEdgewright beside torch-pruning (95 % interval of the"
        " latency ratio; standard error of the difference of top-1, the larger of that over images and that over"
        f" seeds):\n\n{_measure.table(claim_headers, claims)}"
    )
    stored = [
        {
            "by": row.who,
            "how": row.how,
            "widths": row.widths,
            "macs": row.macs,
            "kib": row.kib[0],
            "kib_compressed": row.kib[1],
            "top1_unrecovered": row.at_once,
            "ms": float(np.median(row.times)) / 1e6,
            "top1": row.correct.mean(1).tolist(),
        }
        for row in rows
    ]
    where = _measure.origin("onnxruntime", "torch", "torch-pruning")
    _measure.write("pruning", text, stored, where, quick=options.quick)


if __name__ == "__main__":
    main()
